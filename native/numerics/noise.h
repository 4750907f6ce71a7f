// Exponential and Gumbel noise from 32 random bits, for drawing tokens.
#ifndef NVIUM_NUMERICS_NOISE_H_
#define NVIUM_NUMERICS_NOISE_H_

#include "config.h"
#include "functions.h"
#include "philox.h"

namespace nvium::numerics {

// E with the standard exponential law: in [2^-33, 23), never 0, never infinite.
//
// The upper half of the draws is measured from the other end, so that both tails keep full
// precision: for x < 2^31, E = -log1p(-u) with u = (x + 1/2) / 2^32; else E = -log(v) with
// v = (2^32 - x - 1/2) / 2^32. Both u and v are an odd integer times 2^-33, rounded once. The two
// cases share one evaluation of the logarithm and give the bits of log1p() and log().
// Error against the exact E: at most 1.8 ULP, most of it from rounding u or v.
NVIUM_FN float exponential(uint32_t x) {
  const bool small = x < 0x80000000u;
  const uint32_t odd = small ? 2u * x + 1u : ~(2u * x);
  const float w = static_cast<float>(odd) * 0x1p-33f;
  const float argument = small ? 1.0f - w : w;
  const uint32_t exponent = logarithm_exponent(argument);
  const float scaled = from_bits(bits(small ? -w : w) - (exponent << 23));
  const float rest = small ? from_bits(0x3f800000u - (exponent << 23)) - 1.0f : -1.0f;
  return -logarithm(exponent, scaled + rest);
}

// Standard Gumbel noise -log(E): finite for every x, from -3.14 to 22.9. Absolute error below 1e-6.
NVIUM_FN float gumbel(uint32_t x) { return -log_of_normal(exponential(x)); }

// The noise of four tokens, 4 * block … 4 * block + 3, from one Philox call.
NVIUM_FN Words token_words(uint64_t seed, uint32_t stream, uint32_t position, uint32_t block) {
  return random_words(seed, stream, position, Purpose::token, block);
}

// The Gumbel noise of one token at one position: the same whichever exit the token leaves at.
NVIUM_FN float token_noise(uint64_t seed, uint32_t stream, uint32_t position, uint32_t token) {
  return gumbel(word(token_words(seed, stream, position, token / 4), token % 4));
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_NOISE_H_
