// What of a step is not kernels.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "decoder.h"
#include "trace.h"

namespace nvium::bench {

inline constexpr uint32_t kStream = 0;

inline uint32_t steps_of(const Device& device) { return device.quick ? 1 : 32; }

inline void take_steps(Decoder& d, uint32_t steps) {
  Tally tally;
  d.begin(kStream);
  for (uint32_t i = 0; i < steps; i++) d.step(tally);
}

// The time of a step beside the kernels in it, each kind run again by itself without pause. What
// the device needs between two kernels of a kind counts as theirs. Gives the seconds of a step.
inline double replay(Device& device, Decoder& d) {
  const uint32_t steps = steps_of(device);
  Recorder& recorder = d.recorder();
  const auto run = [&] { take_steps(d, steps); };
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
                                 .add("kindsUs", sum * 1e6)
                                 .add("gaps", 1 - sum / step)
                                 .add("waits", waits_a_step)
                                 .add("hostHeldUs", median(waited) * 1e6)
                                 .add("issuingUs", issuing * 1e6));
  return step;
}

// The same steps as the device itself counted. Tracing costs the host time but not the kernels, so
// they are compared with a step of `seconds` that was not traced.
inline void count_gaps(Device& device, Decoder& d, double seconds) {
  const uint32_t steps = steps_of(device);
  const Trace traced = trace([&] { device.time([&] { take_steps(d, steps); }); });
  if (!traced.missing.empty()) {
    device.report.add("gaps", Row().add("model", d.name()).add("missing", traced.missing));
    return;
  }
  std::map<std::string, std::pair<uint64_t, uint64_t>> kernels;  // calls, nanoseconds
  for (const Interval& interval : traced.intervals) {
    auto& [calls, time] = kernels[interval.name];
    calls++;
    time += interval.end - interval.begin;
  }
  for (const auto& [name, cost] : kernels) {
    device.report.add("traced", Row()
                                    .add("model", d.name())
                                    .add("kernel", name)
                                    .add("callsAStep", double(cost.first) / steps)
                                    .add("usAStep", double(cost.second) / steps / 1e3));
  }
  const double running = double(busy(traced.intervals)) / steps / 1e9;
  device.report.add("gaps", Row()
                                .add("model", d.name())
                                .add("us", seconds * 1e6)
                                .add("busyUs", running * 1e6)
                                .add("gaps", 1 - running / seconds));
  device.report.target(std::string(d.name()) + ": launch gaps, of a step", 1 - running / seconds,
                       "<=", 0.10);
}

}  // namespace nvium::bench
