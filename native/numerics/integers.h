// Matrices of small integers: how weights and activations become integers, and the dot of them. The
// sum of a group is exact, so it has no order; only the groups do (docs/numerics.md).
#ifndef NVIUM_NUMERICS_INTEGERS_H_
#define NVIUM_NUMERICS_INTEGERS_H_

#include "config.h"
#include "dot.h"
#include "functions.h"
#include "types.h"

namespace nvium::numerics {

// Elements of a group of weights, which share a scale, and the integers they may be. A chunk of the
// dot is whole groups.
struct Int8 {
  static constexpr int kGroup = 128, kLeast = -127, kMost = 127;
};
struct Int4 {
  static constexpr int kGroup = 32, kLeast = -8, kMost = 7;
};

// What the largest magnitude of a chunk of activations makes of it: integers are
// x * inverse rounded to the nearest, ties to even, each worth `step`.
struct Steps {
  float inverse;
  float step;
};

// The bits of |x|, whose order is that of the magnitudes, NaN above all.
NVIUM_FN uint32_t magnitude(float x) { return bits(x) & 0x7fffffffu; }

// `largest` is the largest magnitude() of the chunk. Below 127 * 2^-126 the step would be
// subnormal, and all is 0.
NVIUM_FN Steps steps_of(uint32_t largest) {
  const float a = from_bits(largest);
  if (largest >= 0x7f800000u) return {0.0f, from_bits(0x7fc00000u)};  // NaN spoils the row
  if (largest < bits(0x1.fcp-120f)) return {0.0f, 0.0f};
  return {127.0f / a, a / 127.0f};
}

// An activation's integer, in the low byte. (With what is not finite it is any.)
NVIUM_FN uint8_t activation_byte(float x, const Steps& steps) {
  return static_cast<uint8_t>(bits(x * steps.inverse + kRoundToInteger));
}

// The dot product of `count` elements: weight(k) and input(k) give integers, scale(g) and step(c)
// floats. What lies beyond the count is 0, which cannot show.
template <class T, class Weight, class Scale, class Input, class Step>
NVIUM_FN float integer_dot(int count, const Weight& weight, const Scale& scale, const Input& input,
                           const Step& step) {
  float total = 0.0f;
  for (int chunk = 0; chunk < count; chunk += kDotChunk) {
    const int end = count - chunk < kDotChunk ? count : chunk + kDotChunk;
    float sum = 0.0f;
    for (int group = chunk; group < end; group += T::kGroup) {
      int32_t products = 0;
      for (int k = group; k < end && k < group + T::kGroup; k++) products += weight(k) * input(k);
      sum = fma(static_cast<float>(products), scale(group / T::kGroup), sum);
    }
    total = fma(sum, step(chunk / kDotChunk), total);
  }
  return total;
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_INTEGERS_H_
