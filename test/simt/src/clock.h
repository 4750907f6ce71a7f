// What one thread of a launch knows to have happened in others, through fences and atomics.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace simt {

class Clock {
 public:
  // Everything that `block` did in barrier intervals below `epoch`.
  void add_block(uint32_t block, uint32_t epoch) { add(key(block), epoch); }
  // Everything that one thread of it did before its tick `tick`.
  void add_thread(uint32_t block, uint32_t thread, uint32_t tick) {
    add(key(block) + 1 + thread, tick);
  }
  void merge(const Clock& other);

  bool covers(uint32_t block, uint32_t epoch, uint32_t thread, uint32_t tick) const {
    return value(key(block)) > epoch || value(key(block) + 1 + thread) > tick;
  }
  // The entries of one block alone.
  Clock only(uint32_t block) const;
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    uint64_t key;
    uint32_t value;
  };
  static uint64_t key(uint32_t block) { return uint64_t(block) << 11; }
  void add(uint64_t key, uint32_t value);
  uint32_t value(uint64_t key) const;

  std::vector<Entry> entries_;  // ascending
};

using ClockRef = std::shared_ptr<const Clock>;

// Clocks are shared by many threads and rarely differ.
void merge(ClockRef& into, const ClockRef& from);

}  // namespace simt
