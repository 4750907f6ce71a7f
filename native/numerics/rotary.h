// Rotary embedding: the frequency table and the rotation.
#ifndef NVIUM_NUMERICS_ROTARY_H_
#define NVIUM_NUMERICS_ROTARY_H_

#include "config.h"
#include "trigonometry.h"

namespace nvium::numerics {

enum class RotaryKind : uint32_t { standard = 0, linear = 1, llama3 = 2 };

// As in a checkpoint's rope_scaling; `standard` reads none of the numbers, `linear` the factor.
struct RotaryScaling {
  RotaryKind kind = RotaryKind::standard;
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_max_position = 8192.0;
};

// Radians per position of pair i (0 <= i < head_dim / 2): theta^(-2i / head_dim), scaled. In
// double. The llama3 formula is that of the Llama 3.1 release: long wavelengths are divided by the
// factor, short ones kept, and those between blended linearly in original / wavelength.
NVIUM_FN double inverse_frequency(int i, int head_dim, double theta, const RotaryScaling& scaling) {
  const double inverse = power(theta, static_cast<double>(-2 * i) / head_dim);
  if (scaling.kind == RotaryKind::standard) return inverse;
  const double divided = inverse / scaling.factor;
  if (scaling.kind == RotaryKind::linear) return divided;
  const double original = scaling.original_max_position;
  const double wavelength = kTwoPi / inverse;
  if (wavelength > original / scaling.low_freq_factor) return divided;
  if (wavelength < original / scaling.high_freq_factor) return inverse;
  const double smooth = (original / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0 - smooth) * divided + smooth * inverse;
}

struct Rotation {
  float cos, sin;
};

// The table's entry for a position: angle in double, sine and cosine rounded once to float.
NVIUM_FN Rotation rotation(uint32_t position, double inverse) {
  const double angle = static_cast<double>(position) * inverse;
  return Rotation{static_cast<float>(cos(angle)), static_cast<float>(sin(angle))};
}

struct Pair {
  float lo, hi;
};

// Rotates elements i and i + head_dim / 2 of a head (the half-split layout of Hugging Face).
NVIUM_FN Pair rotate(float lo, float hi, float cos, float sin) {
  return Pair{fma(-hi, sin, lo * cos), fma(lo, sin, hi * cos)};
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_ROTARY_H_
