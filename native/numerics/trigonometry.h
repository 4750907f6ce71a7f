// Sine, cosine, power in double: what the rotary table needs, with the same bits everywhere.
//
// Not fast: the table is filled once. The series are Taylor's, long enough that the first term left
// out is below 2^-56 of the result.
#ifndef NVIUM_NUMERICS_TRIGONOMETRY_H_
#define NVIUM_NUMERICS_TRIGONOMETRY_H_

#include "config.h"

namespace nvium::numerics {

constexpr double kTwoPi = 0x1.921fb54442d18p+2;
// Adding it rounds a double below 2^51 to an integer, which the low bits of the sum then hold.
constexpr double kRoundDoubleToInteger = 0x1.8p+52;

// sin(r) for |r| <= pi/4 + a little.
NVIUM_FN double sin_of_reduced(double r) {
  const double z = r * r;
  double p = 1.0 / 355687428096000.0;
  p = fma(p, z, -1.0 / 1307674368000.0);
  p = fma(p, z, 1.0 / 6227020800.0);
  p = fma(p, z, -1.0 / 39916800.0);
  p = fma(p, z, 1.0 / 362880.0);
  p = fma(p, z, -1.0 / 5040.0);
  p = fma(p, z, 1.0 / 120.0);
  p = fma(p, z, -1.0 / 6.0);
  return fma(p * z, r, r);
}

// cos(r) for |r| <= pi/4 + a little.
NVIUM_FN double cos_of_reduced(double r) {
  const double z = r * r;
  double p = -1.0 / 6402373705728000.0;
  p = fma(p, z, 1.0 / 20922789888000.0);
  p = fma(p, z, -1.0 / 87178291200.0);
  p = fma(p, z, 1.0 / 479001600.0);
  p = fma(p, z, -1.0 / 3628800.0);
  p = fma(p, z, 1.0 / 40320.0);
  p = fma(p, z, -1.0 / 720.0);
  p = fma(p, z, 1.0 / 24.0);
  p = fma(p, z, -0.5);
  return fma(p, z, 1.0);
}

// sin(x + quarter * pi/2).
// x = n pi/2 + r by Cody and Waite's reduction: n times the first part of pi/2 cancels exactly in
// the FMA, the second part carries the next 53 bits. Valid for |x| <= 2^25.
NVIUM_FN double sin_shifted(double x, uint64_t quarter) {
  const double shifted = fma(x, 0x1.45f306dc9c883p-1, kRoundDoubleToInteger);
  const double n = shifted - kRoundDoubleToInteger;
  const double r = fma(-n, 0x1.1a62633145c07p-54, fma(-n, 0x1.921fb54442d18p+0, x));
  const uint64_t quadrant = bits(shifted) + quarter;
  const double value = (quadrant & 1u) == 0 ? sin_of_reduced(r) : cos_of_reduced(r);
  return from_bits(bits(value) ^ ((quadrant & 2u) << 62));
}

// Sine and cosine for |x| <= 2^25. Absolute error below 1.2e-16.
NVIUM_FN double sin(double x) { return sin_shifted(x, 0); }
NVIUM_FN double cos(double x) { return sin_shifted(x, 1); }

// log2(x) for positive normal x. Absolute error below 2^-52 max(1, |log2 x|).
// x = m 2^e with m in [2/3, 4/3); log m = 2 artanh(s), s = (m - 1) / (m + 1), |s| <= 1/5.
NVIUM_FN double log2(double x) {
  const uint64_t offset = bits(x) - 0x3fe5555555555555u;
  const double m = from_bits((offset & 0x000fffffffffffffu) + 0x3fe5555555555555u);
  // The exponent as a double: the biased one goes into the low bits of 2^52, which is subtracted.
  const double e =
      from_bits(0x4330000000000000u | ((offset + 0x3ff0000000000000u) >> 52)) - (0x1p+52 + 1023.0);
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double p = 1.0 / 25.0;
  p = fma(p, z, 1.0 / 23.0);
  p = fma(p, z, 1.0 / 21.0);
  p = fma(p, z, 1.0 / 19.0);
  p = fma(p, z, 1.0 / 17.0);
  p = fma(p, z, 1.0 / 15.0);
  p = fma(p, z, 1.0 / 13.0);
  p = fma(p, z, 1.0 / 11.0);
  p = fma(p, z, 1.0 / 9.0);
  p = fma(p, z, 1.0 / 7.0);
  p = fma(p, z, 1.0 / 5.0);
  p = fma(p, z, 1.0 / 3.0);
  const double artanh = fma(p * z, s, s);
  // 2 / ln 2 in two parts.
  return fma(artanh, 0x1.71547652b82fep+1, fma(artanh, 0x1.777d0ffda0d24p-55, e));
}

// 2^x for |x| <= 1000. Relative error below 2^-52. Whole powers are exact.
NVIUM_FN double exp2(double x) {
  const double shifted = x + kRoundDoubleToInteger;
  const double n = shifted - kRoundDoubleToInteger;
  const double r = (x - n) * 0x1.62e42fefa39efp-1;
  double p = 1.0 / 87178291200.0;
  p = fma(p, r, 1.0 / 6227020800.0);
  p = fma(p, r, 1.0 / 479001600.0);
  p = fma(p, r, 1.0 / 39916800.0);
  p = fma(p, r, 1.0 / 3628800.0);
  p = fma(p, r, 1.0 / 362880.0);
  p = fma(p, r, 1.0 / 40320.0);
  p = fma(p, r, 1.0 / 5040.0);
  p = fma(p, r, 1.0 / 720.0);
  p = fma(p, r, 1.0 / 120.0);
  p = fma(p, r, 1.0 / 24.0);
  p = fma(p, r, 1.0 / 6.0);
  p = fma(p, r, 0.5);
  p = fma(p, r, 1.0);
  p = fma(p, r, 1.0);
  return from_bits(bits(p) + (bits(shifted) << 52));
}

// base^exponent for a positive normal base. Relative error below
// 2^-52 (1 + |exponent log2 base|): 4e-15 at most over the frequencies of a rotary table.
NVIUM_FN double power(double base, double exponent) { return exp2(exponent * log2(base)); }

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_TRIGONOMETRY_H_
