// Runs a computation on the CPU backend and on the CUDA backend, and compares every byte that comes
// out. Against the emulator it does so in every schedule, and no checker may report anything.
#pragma once

#include <cstdlib>
#include <string>

#include "../../cuda/cuda_backend.h"
#include "../../cuda/query.h"
#include "cpu/cpu_backend.h"
#include "error.h"
#include "testing.h"
#include "values.h"
#if defined(NVIUM_SIMT)
#include "simt/emulator.h"
#endif

namespace equality {

struct Schedule {
  const char* name;
  int order;
  uint64_t seed;
  bool dependent = true;  // launches may begin early
};

// In plain builds of the emulator and on a GPU there is one.
inline std::vector<Schedule> schedules(bool all) {
#if defined(NVIUM_SIMT_CHECKED)
  using simt::Order;
  std::vector<Schedule> list{{"forward", int(Order::forward), 1, false},
                             {"adversarial", int(Order::adversarial), 1}};
  if (all) {
    list.push_back({"reverse", int(Order::reverse), 1});
    list.push_back({"random", int(Order::random), 2, false});
    list.push_back({"forward and early", int(Order::forward), 2});
    list.push_back({"adversarial again", int(Order::adversarial), 3});
  }
  return list;
#else
  (void)all;
  return {{"", 0, 1}, {"in order", 0, 1, false}};
#endif
}

inline void begin(const Schedule& schedule) {
#if defined(NVIUM_SIMT)
  simt::reset();
  simt::config().order = simt::Order(schedule.order);
  simt::config().seed = schedule.seed;
#else
  (void)schedule;
#endif
}

inline void end(const Schedule& schedule, const std::string& what) {
#if defined(NVIUM_SIMT)
  simt::report_leaks();
  for (const simt::Report& report : simt::take_reports()) {
    testing::fail(what.c_str(), 0, std::string(schedule.name) + ": " + simt::to_string(report));
  }
#else
  (void)schedule, (void)what;
#endif
}

// The device that a model would run on.
inline int device() {
  const CudaState state = cuda::query();
  const CudaDevice* chosen = state.chosen();
  return chosen != nullptr ? chosen->ordinal : 0;
}

// NVIUM_TEST_PROCESSORS: grids as for a device of so many multiprocessors, so that a GPU takes the
// ways through a kernel that it would not take with its own.
inline cuda::CudaOptions options(const Schedule& schedule) {
  cuda::CudaOptions options{.dependent = schedule.dependent};
  if (const char* processors = std::getenv("NVIUM_TEST_PROCESSORS")) {
    options.processors = uint32_t(std::atoi(processors));
  }
  return options;
}

// `compute(backend)` gives bytes; it is called inside enter(). Where they differ from the CPU's
// `differ(schedule, expected, found)` is called.
template <class Compute, class Differ>
void on_both(const std::string& what, const Compute& compute, bool all_schedules,
             const Differ& differ) {
  Bytes expected;
  {
    cpu::CpuBackend backend({1, false, "portable"});
    backend.enter([&] { expected = compute(static_cast<Backend&>(backend)); });
  }
  for (const Schedule& schedule : schedules(all_schedules)) {
    begin(schedule);
    Bytes found;
    try {
      cuda::CudaBackend backend(device(), options(schedule));
      backend.enter([&] { found = compute(static_cast<Backend&>(backend)); });
    } catch (const Failure& failure) {
      testing::fail(what.c_str(), 0, failure.code + ": " + failure.message);
    }
    end(schedule, what);
    if (found != expected) differ(schedule, expected, found);
  }
}

template <class Compute>
void same_on_both(const std::string& what, const Compute& compute, bool all_schedules = false) {
  on_both(what, compute, all_schedules,
          [&](const Schedule& schedule, const Bytes& expected, const Bytes& found) {
            size_t first = 0, wrong = 0;
            for (size_t i = 0; i < std::min(found.size(), expected.size()); i++) {
              if (found[i] == expected[i]) continue;
              if (wrong++ == 0) first = i;
            }
            testing::fail(what.c_str(), 0,
                          std::string(schedule.name) + ": " + std::to_string(wrong) + " of " +
                              std::to_string(expected.size()) + " bytes differ, the first at " +
                              std::to_string(first) + " (" + std::to_string(found.size()) +
                              " found)");
          });
}

// For what docs/numerics.md does not promise: says how many of the floats differ, and is content.
template <class Compute>
void told_on_both(const std::string& what, const Compute& compute) {
  size_t wrong = 0, count = 0;
  on_both(
      what,
      [&](Backend& backend) {
        const Bytes bytes = compute(backend);
        count = bytes.size() / 4;
        return bytes;
      },
      false,
      [&](const Schedule&, const Bytes& expected, const Bytes& found) {
        if (found.size() != expected.size()) testing::fail(what.c_str(), 0, "other sizes");
        wrong = 0;
        for (size_t i = 0; i + 4 <= std::min(found.size(), expected.size()); i += 4) {
          wrong += std::memcmp(&found[i], &expected[i], 4) != 0;
        }
      });
  std::printf("note %s: %zu of %zu values differ from the CPU, nothing is promised\n", what.c_str(),
              wrong, count);
}

}  // namespace equality
