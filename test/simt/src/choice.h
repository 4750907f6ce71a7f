// Choices where CUDA gives no order.
#pragma once

#include <bit>
#include <cstdint>

#include "simt/emulator.h"

namespace simt {

class Choice {
 public:
  void seed(uint64_t seed) { state_ = seed * 0x9e3779b97f4a7c15u + 88172645463325252u; }

  uint32_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return uint32_t(state_ >> 16);
  }
  uint32_t below(uint32_t n) { return next() % n; }

  // One of the set bits of `mask`, which is not zero; `after` is the one that ran last, or kNone.
  static constexpr int kNone = -1;
  int bit(Order order, uint32_t mask, int after = kNone) {
    switch (order) {
      case Order::forward: {
        const uint32_t higher = after >= 31 ? 0 : mask & (~0u << (after + 1));
        return std::countr_zero(higher ? higher : mask);
      }
      case Order::reverse: {
        const uint32_t lower = after == kNone ? mask : mask & ((1u << after) - 1);
        return 31 - std::countl_zero(lower ? lower : mask);
      }
      default:
        for (uint32_t n = below(uint32_t(std::popcount(mask))); n > 0; --n) mask &= mask - 1;
        return std::countr_zero(mask);
    }
  }

  // An index below `size`, which is not zero.
  uint32_t index(Order order, uint32_t size) {
    switch (order) {
      case Order::forward:
        return 0;
      case Order::reverse:
        return size - 1;
      default:
        return below(size);
    }
  }

 private:
  uint64_t state_ = 88172645463325252u;
};

}  // namespace simt
