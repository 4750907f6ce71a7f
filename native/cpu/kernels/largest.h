// The largest of a run of values. Its order cannot show, so lanes take turns and the compiler has
// vectors of them.
#pragma once

#include "../../numerics/config.h"
#include "../kernels.h"

namespace nvium::cpu {
namespace {

inline float largest(const float* values, size_t count) {
  constexpr size_t kLanes = 32;
  float lanes[kLanes];
  for (size_t j = 0; j < kLanes; j++) lanes[j] = values[j < count ? j : 0];
  size_t i = kLanes;
  for (; i + kLanes <= count; i += kLanes) {
    for (size_t j = 0; j < kLanes; j++) lanes[j] = numerics::larger(lanes[j], values[i + j]);
  }
  for (; i < count; i++) lanes[0] = numerics::larger(lanes[0], values[i]);
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t j = 0; j < half; j++) lanes[j] = numerics::larger(lanes[j], lanes[j + half]);
  }
  return lanes[0];
}

}  // namespace
}  // namespace nvium::cpu
