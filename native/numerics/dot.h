// The dot product: the one definition that every matrix product of every backend reproduces.
//
// K is cut into chunks of 128. Inside a chunk one fp32 FMA chain runs from +0 over pairs, the odd
// element of a pair first. Chunk sums are added in ascending order to a total that starts at +0.
// docs/numerics.md says why. The functions below are the oracle of the tests.
#ifndef NVIUM_NUMERICS_DOT_H_
#define NVIUM_NUMERICS_DOT_H_

#include "config.h"
#include "types.h"

namespace nvium::numerics {

constexpr int kDotChunk = 128;

// Element types of a weight matrix: how an element is stored, how it widens, and how an activation
// becomes an operand beside it. Only bf16 weights round their activations.
struct Bf16 {
  using Storage = uint16_t;
  NVIUM_FN float widen(Storage h) { return bf16_to_float(h); }
  NVIUM_FN float operand(float x) { return round_to_bf16(x); }
};
struct F16 {
  using Storage = uint16_t;
  NVIUM_FN float widen(Storage h) { return f16_to_float(h); }
  NVIUM_FN float operand(float x) { return x; }
};
struct F32 {
  using Storage = float;
  NVIUM_FN float widen(Storage w) { return w; }
  NVIUM_FN float operand(float x) { return x; }
};

// fma(w, x, acc) for operands that are bf16 values, on targets without FMA hardware. The product of
// two bf16 values (8 bits of significand each) is exact in a double, and rounding the sum first to
// 53 and then to 24 bits is the same as rounding once: to land on a midpoint of floats by mistake,
// a sum would need a discarded part beyond bit 53, while one term has 16 bits and the other 24.
NVIUM_FN float fma_bf16(float w, float x, float acc) {
  return static_cast<float>(static_cast<double>(w) * x + acc);
}

// One step of the chain, as a type, so that dot() can be told which of the two equal ways to take.
struct FusedStep {
  NVIUM_FN float apply(float w, float x, float acc) { return fma(w, x, acc); }
};
struct WideStep {
  NVIUM_FN float apply(float w, float x, float acc) { return fma_bf16(w, x, acc); }
};

// The dot product of `count` elements: weight(k) and input(k) give the k-th operands as floats,
// widened and rounded already. Elements past an odd count are zero, which cannot show.
template <class Step = FusedStep, class Weight, class Input>
NVIUM_FN float dot(int count, const Weight& weight, const Input& input) {
  float total = 0.0f;
  for (int start = 0; start < count; start += kDotChunk) {
    const int end = count - start < kDotChunk ? count : start + kDotChunk;
    float sum = 0.0f;
    for (int k = start; k < end; k += 2) {
      if (k + 1 < end) sum = Step::apply(weight(k + 1), input(k + 1), sum);
      sum = Step::apply(weight(k), input(k), sum);
    }
    total += sum;
  }
  return total;
}

// The same over arrays: a row of a matrix of element type T, and activations not yet rounded.
template <class T, class Step = FusedStep>
NVIUM_FN float row_dot(int count, const typename T::Storage* weights, const float* inputs) {
  const auto weight = [weights](int k) { return T::widen(weights[k]); };
  const auto input = [inputs](int k) { return T::operand(inputs[k]); };
  return dot<Step>(count, weight, input);
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_DOT_H_
