// The schedules in which every test of the emulator runs.
#pragma once

#include <string>

#include "simt/emulator.h"

struct Schedule {
  const char* name;
  simt::Order order;
  uint64_t seed;
};

constexpr Schedule kSchedules[] = {
    {"forward", simt::Order::forward, 1},           {"reverse", simt::Order::reverse, 1},
    {"random 1", simt::Order::random, 1},           {"random 2", simt::Order::random, 2},
    {"random 3", simt::Order::random, 3},           {"adversarial 1", simt::Order::adversarial, 1},
    {"adversarial 2", simt::Order::adversarial, 2}, {"adversarial 3", simt::Order::adversarial, 3},
};

inline void use(const Schedule& schedule) {
  simt::config().order = schedule.order;
  simt::config().seed = schedule.seed;
  simt::reset();
}

// Counts what passed and failed, and says so at the end.
class Tally {
 public:
  void check(bool passed, const std::string& what) {
    ++(passed ? passed_ : failed_);
    if (!passed) std::printf("FAILED %s\n", what.c_str());
  }
  int finish() const {
    std::printf("%d passed, %d failed\n", passed_, failed_);
    return failed_ > 0;
  }

 private:
  int passed_ = 0, failed_ = 0;
};
