// Sums with a fixed order: RMSNorm, the weights of an attention block, the merging of blocks, and
// sums over the vocabulary that have no order at all.
#ifndef NVIUM_NUMERICS_SUMS_H_
#define NVIUM_NUMERICS_SUMS_H_

#include "config.h"
#include "functions.h"

namespace nvium::numerics {

// Halving tree over Width slots (a power of two), in place: slot i takes slot i + Width/2, then
// i + Width/4, …, i + 1. The sum ends in slots[0].
template <int Width>
NVIUM_FN float halving_tree(float* slots) {
  constexpr int half = Width / 2;
  for (int i = 0; i < half; ++i) slots[i] = slots[i] + slots[i + half];
  if constexpr (half > 1) {
    return halving_tree<half>(slots);
  } else {
    return slots[0];
  }
}

constexpr int kNormLanes = 32;

// RMSNorm's sum of squares: element i goes to accumulator i mod 32 by an FMA, ascending, then a
// halving tree 16, 8, 4, 2, 1.
NVIUM_FN float sum_of_squares(const float* x, int count) {
  float lanes[kNormLanes];
  for (int lane = 0; lane < kNormLanes; ++lane) lanes[lane] = 0.0f;
  const int whole = count / kNormLanes * kNormLanes;
  for (int start = 0; start < whole; start += kNormLanes) {
    for (int lane = 0; lane < kNormLanes; ++lane) {
      lanes[lane] = fma(x[start + lane], x[start + lane], lanes[lane]);
    }
  }
  for (int lane = 0; lane < count - whole; ++lane) {
    lanes[lane] = fma(x[whole + lane], x[whole + lane], lanes[lane]);
  }
  return halving_tree<kNormLanes>(lanes);
}

// r = 1 / sqrt(ss / d + eps), each operation rounded; a normalised element is (x * r) * w.
NVIUM_FN float norm_scale(float ss, int d, float eps) {
  return 1.0f / sqrt(ss / static_cast<float>(d) + eps);
}

NVIUM_FN float normalised(float x, float r, float w) { return (x * r) * w; }

// Merging attention block b into the running (max, sum, out), blocks in ascending order. Block 0's
// own (max, sum, out) is the start.
struct Merge {
  float max;   // the new running maximum
  float keep;  // what the running sum and outputs are multiplied by
  float take;  // what the block's are multiplied by
};

NVIUM_FN Merge merge_blocks(float running_max, float block_max) {
  const float max = larger(running_max, block_max);
  return Merge{max, exp(running_max - max), exp(block_max - max)};
}

// For the sum and for every output element alike.
NVIUM_FN float merged(const Merge& merge, float running, float block) {
  return fma(block, merge.take, running * merge.keep);
}

// trunc(e * 2^40) for e in [0, 1]: what a token adds to a sum over the vocabulary. Such sums are
// integers, so no order of adding can show; 2^24 terms fit.
// The significand is shifted into place: a conversion from float to 64-bit integers is a function
// of the instruction set, and AVX2 has none.
NVIUM_FN uint64_t fixed_point(float e) {
  const uint32_t u = bits(e);
  const uint32_t exponent = u >> 23;
  const uint32_t significand = (u & 0x007fffffu) | (exponent == 0 ? 0u : 0x00800000u);
  const uint32_t shift = 127u - exponent;
  return (static_cast<uint64_t>(significand) << 17) >> (shift < 63u ? shift : 63u);
}

// A sum of fixed_point() values as a float, rounded once to nearest, ties to even.
NVIUM_FN float from_fixed(uint64_t sum) { return static_cast<float>(sum) * 0x1p-40f; }

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_SUMS_H_
