// Element types: bf16 and f16 as 16-bit patterns, and questions asked of a float's bits.
//
// All of it is integer arithmetic (f16 widening adds one exact subtraction), so the flushing mode
// of the processor never shows.
#ifndef NVIUM_NUMERICS_TYPES_H_
#define NVIUM_NUMERICS_TYPES_H_

#include "config.h"

namespace nvium::numerics {

// Exact.
NVIUM_FN float bf16_to_float(uint16_t h) { return from_bits(static_cast<uint32_t>(h) << 16); }

// Round to nearest, ties to even. Subnormal input becomes a signed zero, as DAZ makes it; a normal
// input never rounds to a subnormal, because both types have the same exponents. Too large a
// value becomes infinity, NaN stays NaN (quiet). The same as vcvtneps2bf16.
NVIUM_FN uint16_t bf16_from_float(float x) {
  const uint32_t u = bits(x);
  const uint32_t magnitude = u & 0x7fffffffu;
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40u;
  const uint32_t zero = (u >> 16) & 0x8000u;
  const uint32_t finite = magnitude < 0x00800000u ? zero : rounded;
  return static_cast<uint16_t>(magnitude > 0x7f800000u ? quiet : finite);
}

// A float rounded as a bf16 operand and widened again.
NVIUM_FN float round_to_bf16(float x) { return bf16_to_float(bf16_from_float(x)); }

// A subnormal bf16 becomes a zero of its sign; for weights when they are packed.
NVIUM_FN uint16_t flush_subnormal_bf16(uint16_t h) {
  return static_cast<uint16_t>((h & 0x7f80u) == 0 ? h & 0x8000u : h);
}

// Exact for every pattern, subnormals included.
// Adding 112 to the exponent moves a normal f16 to its place in f32. A subnormal gets 113, which
// makes it 2^-14 + its value, and 2^-14 is subtracted again: exact, with no subnormal f32 on the
// way.
NVIUM_FN float f16_to_float(uint16_t h) {
  const uint32_t sign = (static_cast<uint32_t>(h) & 0x8000u) << 16;
  const uint32_t magnitude = (static_cast<uint32_t>(h) & 0x7fffu) << 13;
  const uint32_t exponent = magnitude & 0x0f800000u;
  const uint32_t normal = magnitude + 0x38000000u;
  const uint32_t special = magnitude + 0x70000000u;
  const uint32_t subnormal = bits(from_bits(magnitude + 0x38800000u) - 0x1p-14f);
  const uint32_t finite = exponent == 0 ? subnormal : normal;
  return from_bits((exponent == 0x0f800000u ? special : finite) | sign);
}

// A subnormal float becomes a zero of its sign; for f32 weights when they are packed.
NVIUM_FN float flush_subnormal(float x) {
  const uint32_t u = bits(x);
  return from_bits((u & 0x7f800000u) == 0 ? u & 0x80000000u : u);
}

// By bits, so that no compiler option about NaN can remove the question.
NVIUM_FN bool is_finite(float x) { return (bits(x) & 0x7f800000u) != 0x7f800000u; }
NVIUM_FN bool is_finite_bf16(uint16_t h) { return (h & 0x7f80u) != 0x7f80u; }
NVIUM_FN bool is_finite_f16(uint16_t h) { return (h & 0x7c00u) != 0x7c00u; }

// A key with the order of the floats: a < b exactly if ordered(a) < ordered(b), and equal floats
// (both zeros) have equal keys. NaN of either sign lies outside the infinities.
NVIUM_FN uint32_t ordered(float x) {
  const uint32_t raw = bits(x);
  const uint32_t u = raw == 0x80000000u ? 0u : raw;
  return u ^ ((0u - (u >> 31)) | 0x80000000u);
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_TYPES_H_
