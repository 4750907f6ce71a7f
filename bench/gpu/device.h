// A device under measurement: its clock, its copy rate, memory full of numbers.
#pragma once

#include <algorithm>
#include <chrono>
#include <vector>

#include "native/backend.h"
#include "native/numerics/philox.h"
#include "native/numerics/types.h"
#include "report.h"

namespace nvium::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Seconds until work was issued, and until the device was done with it.
struct Timing {
  double issued, done;
};

class Device {
 public:
  // `quick`: everything once, over as little memory as can be.
  Device(Backend& backend, Report& report, bool quick)
      : backend(backend), report(report), quick(quick), flag_(backend, 4) {
    backend.zero(flag_.data(), 4);
    measure_copy();
  }

  // Again at the end of a part: it tells whether the device changed under it.
  void measure_copy() {
    const size_t bytes = size_t(quick ? 1 : 256) << 20;
    const uint32_t times = quick ? 1 : 8;
    Buffer from = random(bytes), to(backend, bytes);
    const auto copy = [&] {
      for (uint32_t i = 0; i < times; i++) backend.copy(to.data(), from.data(), bytes);
    };
    // An idle device needs a moment until its clocks are up.
    const double begin = now();
    do time(copy);
    while (!quick && now() - begin < 0.3);
    const double rate = 2.0 * double(bytes) * times / time(9, copy).done;
    if (copy_rate == 0) copy_rate = rate;
    report.add("copy", Row().add("bytes", bytes).add("GBps", rate / 1e9));
  }

  int rounds(int usual) const { return quick ? 1 : usual; }

  template <class Work>
  Timing time(const Work& work) {
    uint32_t word;
    backend.read(&word, flag_.data(), 4);
    const double begin = now();
    work();
    const double issued = now() - begin;
    backend.read(&word, flag_.data(), 4);
    return {issued, now() - begin};
  }

  // Medians over some rounds.
  template <class Work>
  Timing time(int usual_rounds, const Work& work) {
    std::vector<double> issued, done;
    for (int i = 0; i < rounds(usual_rounds); i++) {
      const Timing t = time(work);
      issued.push_back(t.issued);
      done.push_back(t.done);
    }
    return {median(issued), median(done)};
  }

  // bf16 of mixed sign below 1/20: zeros would cost a device less power.
  Buffer random(size_t bytes) {
    Buffer buffer(backend, bytes);
    std::vector<uint16_t> some(std::min<size_t>(bytes / 2, size_t(1) << 20));
    for (size_t i = 0; i < some.size(); i++) {
      const uint32_t word = numerics::philox(uint32_t(i), 0, 0, 0, 5, 6).w0;
      some[i] = numerics::bf16_from_float(float(int32_t(word)) * 0x1p-31f * 0.05f);
    }
    backend.write(buffer.data(), some.data(), some.size() * 2);
    for (size_t have = some.size() * 2; have < bytes; have *= 2) {
      backend.copy(buffer.data() + have, buffer.data(), std::min(have, bytes - have));
    }
    return buffer;
  }

  Backend& backend;
  Report& report;
  const bool quick;
  double copy_rate = 0;  // of the first copy, bytes a second, those read and those written

 private:
  Buffer flag_;
};

}  // namespace nvium::bench
