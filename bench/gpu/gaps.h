// What of a step is not kernels.
#pragma once

#include <string>

#include "decoder.h"

namespace nvium::bench {

// The time of a step beside the kernels in it, each kind run again by itself without pause.
inline void gaps(Device& device, Decoder& d) {
  constexpr uint32_t kStream = 0;
  const uint32_t steps = device.quick ? 1 : 32;
  Recorder& recorder = d.recorder();
  const auto run = [&] {
    Tally tally;
    d.begin(kStream);
    for (uint32_t i = 0; i < steps; i++) d.step(tally);
  };
  run();
  std::vector<double> times, waited;
  for (int round = 0; round < device.rounds(7); round++) {
    const double before = recorder.waited;
    times.push_back(device.time(run).done / steps);
    waited.push_back((recorder.waited - before) / steps);
  }
  const uint64_t waits = recorder.waits;
  const auto kinds = recorder.record(run);
  const double waits_a_step = double(recorder.waits - waits) / steps;
  double sum = 0, issuing = 0;
  for (const auto& [kind, calls] : kinds) {
    const Timing t = device.time(5, [&calls = calls] {
      for (const auto& call : calls) call();
    });
    sum += t.done / steps;
    issuing += t.issued / steps;
    device.report.add("kinds", Row()
                                   .add("model", d.name())
                                   .add("kind", kind)
                                   .add("callsAStep", double(calls.size()) / steps)
                                   .add("usAStep", t.done / steps * 1e6));
  }
  const double step = median(times);
  device.report.add("steps", Row()
                                 .add("model", d.name())
                                 .add("us", step * 1e6)
                                 .add("kernelsUs", sum * 1e6)
                                 .add("gaps", 1 - sum / step)
                                 .add("waits", waits_a_step)
                                 .add("hostHeldUs", median(waited) * 1e6)
                                 .add("issuingUs", issuing * 1e6));
  device.report.target(std::string(d.name()) + ": launch gaps, of a step", 1 - sum / step,
                       "<=", 0.10);
  d.begin(kStream);
}

}  // namespace nvium::bench
