// The largest of a run of values. Its order cannot show, so lanes take turns and the compiler has
// vectors of them.
#pragma once

#include "../../numerics/config.h"
#include "../kernels.h"

namespace nvium::cpu {
namespace {

template <size_t Width>
inline float largest_of(float* lanes) {
  constexpr size_t half = Width / 2;
  for (size_t j = 0; j < half; j++) lanes[j] = numerics::larger(lanes[j], lanes[j + half]);
  if constexpr (half > 1) {
    return largest_of<half>(lanes);
  } else {
    return lanes[0];
  }
}

inline float largest(const float* values, size_t count) {
  constexpr size_t kLanes = 32;
  float lanes[kLanes];
  for (size_t j = 0; j < kLanes; j++) lanes[j] = values[j < count ? j : 0];
  size_t i = kLanes;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t j = 0; j < kLanes; j++) lanes[j] = numerics::larger(lanes[j], values[i + j]);
  }
  for (; i < count; i++) lanes[0] = numerics::larger(lanes[0], values[i]);
  return largest_of<kLanes>(lanes);
}

}  // namespace
}  // namespace nvium::cpu
