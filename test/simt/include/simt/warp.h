// Shuffles, votes and reductions of a warp, and the barriers, under their CUDA names.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "simt/runtime.h"

namespace simt {

template <class T>
T undefined_value() {
  T value;
  std::memset(static_cast<void*>(&value), 0xfe, sizeof value);
  if constexpr (std::is_same_v<T, float>) value = std::bit_cast<float>(kPoisonNan);
  return value;
}

enum class Shuffle { index, up, down, exclusive_or };

template <Shuffle kKind, class T>
T shuffle(unsigned mask, T value, int arg, int width, const Place& place) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
  struct Deposit {
    T value;
    int arg, width;
    T result;
  } mine{value, arg, width, value};
  collective(
      mask, &mine,
      [](void** deposits, unsigned lanes) {
        for (int i = 0; i < int(kWarpSize); ++i) {
          if (!(lanes >> i & 1)) continue;
          auto& me = *static_cast<Deposit*>(deposits[i]);
          const int first = i & ~(me.width - 1), last = first + me.width - 1;
          int source = i;
          if (kKind == Shuffle::index) source = first + (me.arg & (me.width - 1));
          if (kKind == Shuffle::up && i - me.arg >= first) source = i - me.arg;
          if (kKind == Shuffle::down && i + me.arg <= last) source = i + me.arg;
          if (kKind == Shuffle::exclusive_or && (i ^ me.arg) <= last) source = i ^ me.arg;
          me.result = lanes >> source & 1 ? static_cast<Deposit*>(deposits[source])->value
                                          : undefined_value<T>();
        }
      },
      Collective::exchange, place);
  return mine.result;
}

template <class T, class F>
T warp_reduce(unsigned mask, T value, F, const Place& place) {
  struct Deposit {
    T value, result;
  } mine{value, value};
  collective(
      mask, &mine,
      [](void** deposits, unsigned lanes) {
        bool first = true;
        T result{};
        for (unsigned i = 0; i < kWarpSize; ++i) {
          if (!(lanes >> i & 1)) continue;
          const T v = static_cast<Deposit*>(deposits[i])->value;
          result = first ? v : F{}(result, v);
          first = false;
        }
        for (unsigned i = 0; i < kWarpSize; ++i)
          if (lanes >> i & 1) static_cast<Deposit*>(deposits[i])->result = result;
      },
      Collective::exchange, place);
  return mine.result;
}

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Min {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};
struct And {
  template <class T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};

}  // namespace simt

#define SIMT_PLACE ::simt::Place place = ::simt::Place::current()

inline void __syncthreads(SIMT_PLACE) { simt::block_barrier(false, place); }
inline int __syncthreads_count(int predicate, SIMT_PLACE) {
  return simt::block_barrier(predicate != 0, place);
}
inline int __syncthreads_or(int predicate, SIMT_PLACE) {
  return simt::block_barrier(predicate != 0, place) != 0;
}
inline int __syncthreads_and(int predicate, SIMT_PLACE) {
  return simt::block_barrier(predicate == 0, place) == 0;
}
inline void __syncwarp(unsigned mask = simt::kFullMask, SIMT_PLACE) {
  simt::collective(
      mask, nullptr, [](void**, unsigned) {}, simt::Collective::sync, place);
}
inline unsigned __activemask() { return simt::active_lanes(); }
inline void __nanosleep(unsigned) { simt::pause(); }
inline void __trap(SIMT_PLACE) { simt::trap("__trap", place); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_PLACE) {
  return simt::shuffle<simt::Shuffle::index>(mask, value, source, width, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_PLACE) {
  return simt::shuffle<simt::Shuffle::up>(mask, value, int(delta), width, place);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SIMT_PLACE) {
  return simt::shuffle<simt::Shuffle::down>(mask, value, int(delta), width, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32, SIMT_PLACE) {
  return simt::shuffle<simt::Shuffle::exclusive_or>(mask, value, lane_mask, width, place);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, SIMT_PLACE) {
  return simt::warp_reduce(mask, predicate ? 1u << simt::lane_index() : 0u, simt::Or{}, place);
}
inline int __any_sync(unsigned mask, int predicate, SIMT_PLACE) {
  return __ballot_sync(mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SIMT_PLACE) {
  return __ballot_sync(mask, !predicate, place) == 0;
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value, SIMT_PLACE) {
  unsigned same = 0;
  for (unsigned i = 0; i < simt::kWarpSize; ++i)
    if (mask >> i & 1) same |= unsigned(__shfl_sync(mask, value, int(i), 32, place) == value) << i;
  return same;
}

inline unsigned __reduce_add_sync(unsigned mask, unsigned value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Add{}, place);
}
inline int __reduce_add_sync(unsigned mask, int value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Add{}, place);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Max{}, place);
}
inline int __reduce_max_sync(unsigned mask, int value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Max{}, place);
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Min{}, place);
}
inline int __reduce_min_sync(unsigned mask, int value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Min{}, place);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::And{}, place);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Or{}, place);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value, SIMT_PLACE) {
  return simt::warp_reduce(mask, value, simt::Xor{}, place);
}
