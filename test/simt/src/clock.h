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
  // Everything that one warp of it did before it synchronised for the `warp_epoch`-th time.
  void add_warp(uint32_t block, uint32_t warp, uint32_t warp_epoch) {
    add(key(block) + kWarps + warp, warp_epoch);
  }
  void merge(const Clock& other);

  // When something happened: in which interval of its block and warp, and at which tick.
  struct Moment {
    uint32_t block, epoch, warp, warp_epoch, thread, tick;
  };
  bool covers(const Moment& m) const {
    const uint64_t k = key(m.block);
    return value(k) > m.epoch || value(k + kWarps + m.warp) > m.warp_epoch ||
           value(k + 1 + m.thread) > m.tick;
  }
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    uint64_t key;
    uint32_t value;
  };
  static constexpr uint64_t kWarps = 1 + 1024;  // keys of a block: itself, its threads, its warps
  static uint64_t key(uint32_t block) { return uint64_t(block) << 11; }
  void add(uint64_t key, uint32_t value);
  uint32_t value(uint64_t key) const;

  std::vector<Entry> entries_;  // ascending
};

using ClockRef = std::shared_ptr<const Clock>;

// Clocks are shared by many threads and rarely differ.
void merge(ClockRef& into, const ClockRef& from);

}  // namespace simt
