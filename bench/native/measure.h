// Measuring on a machine whose memory changes speed by the second: every figure is a ratio to
// something timed beside it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "native/cpu/team.h"

namespace nvium::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class Work>
double seconds(const Work& work) {
  const double begin = now();
  work();
  return now() - begin;
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Reads memory once with plain loads, a share a thread: what any computation over it can reach.
// Bytes a second.
class Probe {
 public:
  Probe(cpu::Team& team, const std::byte* memory, size_t bytes)
      : team_(team), memory_(memory), bytes_(bytes / 64 / kUnits * 64 * kUnits) {}

  double rate() const {
    return double(bytes_) / seconds([&] {
             const size_t unit = bytes_ / kUnits;
             team_.run(kUnits, [&](uint32_t begin, uint32_t end, uint32_t id) {
               sums_[id * 8] = read(memory_ + begin * unit, (end - begin) * unit / 64);
             });
           });
  }

 private:
  static constexpr uint32_t kUnits = 1024;

  using Line [[gnu::vector_size(64), gnu::may_alias]] = uint64_t;

  __attribute__((noinline, target_clones("avx512f", "avx2", "default"))) static uint64_t read(
      const std::byte* at, size_t lines) {
    Line even{}, odd{};
    for (size_t i = 0; i + 2 <= lines; i += 2) {
      even ^= *reinterpret_cast<const Line*>(at + i * 64);
      odd ^= *reinterpret_cast<const Line*>(at + i * 64 + 64);
    }
    even ^= odd;
    return even[0] ^ even[1] ^ even[2] ^ even[3] ^ even[4] ^ even[5] ^ even[6] ^ even[7];
  }

  cpu::Team& team_;
  const std::byte* memory_;
  size_t bytes_;
  mutable volatile uint64_t sums_[256 * 8] = {};
};

// Times work between two probes. Where they differ by more than a tenth the machine changed under
// it: such a measurement counts only when there is no other.
class Paired {
 public:
  explicit Paired(const Probe& probe) : probe_(probe), before_(probe.rate()) {}

  struct Sample {
    double seconds = 0;
    double rate = 0;  // of the probes beside it, bytes a second
    bool steady = false;
  };

  template <class Work>
  Sample time(const Work& work) {
    Sample sample;
    sample.seconds = seconds(work);
    const double after = probe_.rate();
    sample.rate = (before_ + after) / 2;
    sample.steady = std::abs(before_ - after) < 0.1 * sample.rate;
    before_ = after;
    return sample;
  }

 private:
  const Probe& probe_;
  double before_;
};

inline int steady(const std::vector<Paired::Sample>& samples) {
  return int(std::count_if(samples.begin(), samples.end(),
                           [](const Paired::Sample& sample) { return sample.steady; }));
}

// The median of what `value(sample, index)` gives for the steady samples, or for all where none is.
template <class Value>
double median_of(const std::vector<Paired::Sample>& samples, const Value& value) {
  std::vector<double> steady, all;
  for (size_t i = 0; i < samples.size(); i++) {
    all.push_back(value(samples[i], i));
    if (samples[i].steady) steady.push_back(all.back());
  }
  return median(steady.empty() ? all : steady);
}

}  // namespace nvium::bench
