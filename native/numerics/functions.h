// Elementary functions of a float: exp, log, log1p, erf, sigmoid, log_sigmoid, SiLU and GELU.
//
// From FMA, addition, multiplication, division and integer operations only; branch-free, so loops
// over them vectorise. No intermediate of a finite result is subnormal except where it is added to
// something that swallows it, so the bits do not depend on how a processor treats subnormals.
//
// Errors are in units in the last place of the exact result, measured over every float of the range
// by test/native/numerics/functions_test.cpp. The polynomials are our own minimax fits (Remez,
// coefficients then rounded to float one after the other); their errors are at most 2^-27 of the
// result.
#ifndef NVIUM_NUMERICS_FUNCTIONS_H_
#define NVIUM_NUMERICS_FUNCTIONS_H_

#include "config.h"

namespace nvium::numerics {

constexpr float kLog2E = 0x1.715476p+0f;
constexpr float kLn2 = 0x1.62e43p-1f;
// ln 2 in two parts; the first has few enough bits that a whole number up to 2^10 times it is
// exact.
constexpr float kLn2High = 0x1.62e4p-1f;
constexpr float kLn2Low = 0x1.7f7d1cp-20f;
// Adding it rounds a float below 2^22 to an integer, which the low bits of the sum then hold.
constexpr float kRoundToInteger = 0x1.8p+23f;
constexpr float kInfinity = __builtin_inff();

// exp(x + low) for a small correction `low`; see exp() for the range.
// x = n ln 2 + r with |r| <= ln 2 / 2; 2^n is added to the exponent of the polynomial's value.
NVIUM_FN float exp_of_sum(float x, float low) {
  const float shifted = fma(x, kLog2E, kRoundToInteger);
  const float n = shifted - kRoundToInteger;
  const float r = fma(-n, kLn2Low, fma(-n, kLn2High, x) + low);
  float p = 0x1.6ab6b4p-10f;
  p = fma(p, r, 0x1.123d5cp-7f);
  p = fma(p, r, 0x1.55585ap-5f);
  p = fma(p, r, 0x1.55548cp-3f);
  p = fma(p, r, 0x1.fffffcp-2f);
  p = fma(p, r, 1.0f);
  p = fma(p, r, 1.0f);
  // Outside the range the scaled bits mean nothing, and a select replaces them. The thresholds are
  // the last floats whose exponential is below 2^128 and the first whose is at least 2^-126.
  const float scaled = from_bits(bits(p) + (bits(shifted) << 23));
  const float in_range = x < -0x1.5d589ep+6f ? 0.0f : scaled;
  return x <= 0x1.62e42ep+6f ? in_range : x + kInfinity;
}

// e^x. Error at most 0.892 ULP. exp(0) = 1; results below 2^-126 (x < -87.3365) are +0, from
// x = 88.7229 on +inf; NaN stays NaN.
NVIUM_FN float exp(float x) { return exp_of_sum(x, 0.0f); }

// The exponent e, as an int32 in a uint32, of a positive normal x = m * 2^e with m in [3/4, 3/2).
NVIUM_FN uint32_t logarithm_exponent(float x) {
  return static_cast<uint32_t>(static_cast<int32_t>(bits(x) - 0x3f400000u) >> 23);
}

// log((1 + f) * 2^e) for f in [-1/4, 1/2] (a rounding more does no harm).
// log(1 + f) = f + f^2 (f P(f) - 1/2); e ln 2 is added last, by an FMA with ln 2 in one part, whose
// own error is 0.05 ULP of the product.
NVIUM_FN float logarithm(uint32_t e, float f) {
  float p = -0x1.716d94p-5f;
  p = fma(p, f, 0x1.ac995ap-4f);
  p = fma(p, f, -0x1.0d841ep-3f);
  p = fma(p, f, 0x1.28813ap-3f);
  p = fma(p, f, -0x1.54f040p-3f);
  p = fma(p, f, 0x1.996a00p-3f);
  p = fma(p, f, -0x1.000040p-2f);
  p = fma(p, f, 0x1.5555a2p-2f);
  p = fma(p, f, -0.5f);
  const float r = fma(p, f * f, f);
  return fma(static_cast<float>(static_cast<int32_t>(e)), kLn2, r);
}

// log(x) for positive normal x, without the special cases.
NVIUM_FN float log_of_normal(float x) {
  const uint32_t e = logarithm_exponent(x);
  return logarithm(e, from_bits(bits(x) - (e << 23)) - 1.0f);
}

// Natural logarithm. Error at most 0.931 ULP. log(1) = +0; zeros and subnormals give -inf, negative
// numbers NaN, +inf itself, NaN stays NaN.
NVIUM_FN float log(float x) {
  const float result = log_of_normal(x);
  const float positive = x < kInfinity ? result : x;
  const float at_least_zero = (bits(x) & 0x7fffffffu) < 0x00800000u ? -kInfinity : positive;
  const bool negative = bits(x) > 0x80000000u && (bits(x) & 0x7fffffffu) >= 0x00800000u;
  return negative ? __builtin_nanf("") : at_least_zero;
}

// log1p(x) for -1 < x < inf, without the special cases.
// With e the exponent of 1 + x, f = (1 + x) 2^-e - 1 = x 2^-e + (2^-e - 1). Scaling x is exact, and
// so are the term in parentheses, until 2^-e stops mattering, and, with m in [3/4, 3/2), the sum of
// the two (by Sterbenz' lemma). Near 0, f is x. For positive x the exponent is that of the float
// below 1 + x, because 1 + x may have been rounded up to 3/2, where the lemma begins to hold.
NVIUM_FN float log1p_of_normal(float x) {
  const uint32_t positive = 1u - (bits(x) >> 31);
  const uint32_t e = logarithm_exponent(from_bits(bits(1.0f + x) - positive));
  const float scaled = from_bits(bits(x) - (e << 23));
  const float power = from_bits(0x3f800000u - (e << 23));
  const float rest = static_cast<int32_t>(e) > 64 ? -1.0f : power - 1.0f;
  return logarithm(e, scaled + rest);
}

// log(1 + x). Error at most 0.931 ULP. log1p(-1) = -inf, below NaN, +inf itself, NaN stays NaN.
NVIUM_FN float log1p(float x) {
  const float result = log1p_of_normal(x);
  const float finite = x < kInfinity ? result : x;
  const float above = x == -1.0f ? -kInfinity : finite;
  return x < -1.0f ? __builtin_nanf("") : above;
}

// Mills' ratio of the normal law is M(a) = Phi(-a) / e^(-a^2 / 2). This is the smooth and slow
// (a + k) M(a), k = kMillsShift, for t = (a - k) / (a + k) and 0 <= a <= 13.
constexpr float kMillsShift = 0x1.b5p+1f;
NVIUM_FN float scaled_mills_ratio(float t) {
  float p = 0x1.19022cp-13f;
  p = fma(p, t, 0x1.77c612p-12f);
  p = fma(p, t, -0x1.8a578ep-11f);
  p = fma(p, t, -0x1.50752ap-9f);
  p = fma(p, t, 0x1.eb8458p-8f);
  p = fma(p, t, 0x1.7323ccp-7f);
  p = fma(p, t, -0x1.a98802p-4f);
  p = fma(p, t, 0x1.34f9f8p-2f);
  p = fma(p, t, -0x1.1d3158p-1f);
  return fma(p, t, 0x1.7bfb9cp-1f);
}

// The error function. Error at most 1.317 ULP. Odd, erf(±inf) = ±1.
// Below 1, x + x P(x^2); from there on 1 - 2 Phi(-x sqrt 2) through Mills' ratio.
NVIUM_FN float erf(float x) {
  const float a = from_bits(bits(x) & 0x7fffffffu);
  const float z = a * a;
  float p = 0x1.4771fep-14f;
  p = fma(p, z, -0x1.a3515ep-11f);
  p = fma(p, z, 0x1.53f224p-8f);
  p = fma(p, z, -0x1.b7f71ap-6f);
  p = fma(p, z, 0x1.ce2ce6p-4f);
  p = fma(p, z, -0x1.81273ep-2f);
  p = fma(p, z, 0x1.06eba8p-3f);
  const float near = fma(a, p, a);
  const float b = (a < 4.0f ? a : 4.0f);
  const float square = b * b;
  const float scale = 1.0f / fma(b, 0x1.6a09e6p+0f, kMillsShift);
  const float tail = scaled_mills_ratio(fma(-2.0f * kMillsShift, scale, 1.0f)) * scale;
  const float far = fma(-2.0f * tail, exp_of_sum(-square, -fma(b, b, -square)), 1.0f);
  const float magnitude = a < 1.0f ? near : far;
  return from_bits(bits(x == x ? magnitude : x) | (bits(x) & 0x80000000u));
}

// 1 / (1 + e^-x), accurate relative to itself at both ends: for negative x it is e^x / (1 + e^x),
// so sigmoid(-x) is the complement of sigmoid(x), never 1 minus a rounded number.
// Error at most 2.402 ULP; +0 for x < -87.3365.
NVIUM_FN float sigmoid(float x) {
  const float e = exp(from_bits(bits(x) | 0x80000000u));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// log(sigmoid(x)) = min(x, 0) - log1p(e^-|x|). Error at most 1.654 ULP; 0 for x > 87.3365.
// The first select is written so that NaN passes, here and in gelu().
NVIUM_FN float log_sigmoid(float x) {
  const float e = exp(from_bits(bits(x) | 0x80000000u));
  return (x > 0.0f ? 0.0f : x) - log1p_of_normal(e);
}

// x * sigmoid(x) = x / (1 + e^-x). Error at most 2.394 ULP; -0 for x < -88.7229 (where the exact
// value is above -3e-37).
NVIUM_FN float silu(float x) { return x / (1.0f + exp(-x)); }

// x * Phi(x) = 0.5 x (1 + erf(x / sqrt 2)), the exact GELU. Error at most 3.869 ULP for x >= -13,
// the far negative tail included; 0 below (where the exact value is above -1e-37). Inputs below
// 2^-122 in magnitude may give 0 or x instead of x / 2.
//
// It is max(x, 0) - |x| Phi(-|x|), with Phi(-a) = e^(-a^2 / 2) times Mills' ratio, and the exponent
// in two parts because one float of it would be off by up to 2^-18.
NVIUM_FN float gelu(float x) {
  const float magnitude = from_bits(bits(x) & 0x7fffffffu);
  const float a = magnitude < 13.0f ? magnitude : 13.0f;
  const float half = 0.5f * a;
  const float square = half * a;
  const float share = a / (a + kMillsShift);
  const float ratio = share * scaled_mills_ratio(fma(2.0f, share, -1.0f));
  const float e = exp_of_sum(-square, -fma(half, a, -square));
  const float tail = ratio * e;
  const float kept = magnitude > 13.0f ? 0.0f : tail;
  return (x < 0.0f ? 0.0f : x) - kept;
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_FUNCTIONS_H_
