// The double functions behind the rotary table, and the table's frequencies.
#include "numerics/rotary.h"

#include <cmath>
#include <cstdint>
#include <cstdio>

#include "testing.h"

namespace numerics = nvium::numerics;

namespace {

constexpr long double kPi = 3.14159265358979323846264338327950288L;

}  // namespace

TEST(sine_and_cosine) {
  long double worst = 0;
  const auto visit = [&](double x) {
    const long double sine = numerics::sin(x) - std::sin(static_cast<long double>(x));
    const long double cosine = numerics::cos(x) - std::cos(static_cast<long double>(x));
    worst = std::fmax(worst, std::fmax(std::fabs(sine), std::fabs(cosine)));
  };
  for (int i = 0; i < 200000; ++i) visit(i * 83.9 + 1e-5 * i);
  for (int i = 0; i < 200000; ++i) visit(i * 0x1p-14);
  for (int i = 0; i < 100000; ++i) visit(static_cast<double>(i * 107 * kPi / 2));
  for (int i = 0; i < 100000; ++i) visit(-i * 101.1);
  std::printf("  worst absolute error %.3Lg\n", worst);
  CHECK(worst < 1.3e-16L);
  CHECK_EQ(numerics::sin(0.0), 0.0);
  CHECK_EQ(numerics::cos(0.0), 1.0);
}

TEST(powers) {
  long double worst = 0;
  for (double theta : {1.0, 1.5, 10000.0, 100000.0, 500000.0, 1000000.0, 1e9}) {
    for (int dim : {32, 64, 80, 96, 128, 256}) {
      for (int i = 0; i < dim / 2; ++i) {
        const double exponent = -2.0 * i / dim;
        const long double want =
            std::pow(static_cast<long double>(theta), static_cast<long double>(exponent));
        worst = std::fmax(worst, std::fabs(numerics::power(theta, exponent) / want - 1));
      }
    }
  }
  std::printf("  worst relative error %.3Lg\n", worst);
  CHECK(worst < 5e-15L);
  CHECK_EQ(numerics::power(10000.0, 0.0), 1.0);
  CHECK_EQ(numerics::power(65536.0, -0.5), 1.0 / 256);
  CHECK_EQ(numerics::log2(1.0), 0.0);
  CHECK_EQ(numerics::log2(0.25), -2.0);
  CHECK_EQ(numerics::exp2(-10.0), 0x1p-10);
}

TEST(frequencies) {
  numerics::RotaryScaling scaling;
  CHECK_EQ(numerics::inverse_frequency(0, 64, 10000.0, scaling), 1.0);
  CHECK(std::fabs(numerics::inverse_frequency(16, 64, 10000.0, scaling) - 0.01) < 1e-16);
  scaling.kind = numerics::RotaryKind::linear;
  scaling.factor = 4.0;
  CHECK_EQ(numerics::inverse_frequency(0, 64, 10000.0, scaling), 0.25);
}

// Llama 3.1's own settings: short wavelengths kept, long ones divided, a monotone blend between.
TEST(llama3_frequencies) {
  const numerics::RotaryScaling plain;
  const numerics::RotaryScaling scaled{numerics::RotaryKind::llama3, 8.0, 1.0, 4.0, 8192.0};
  double last = 1.0;
  int blended = 0;
  for (int i = 0; i < 64; ++i) {
    const double inverse = numerics::inverse_frequency(i, 128, 500000.0, plain);
    const double got = numerics::inverse_frequency(i, 128, 500000.0, scaled);
    const double wavelength = 2 * M_PI / inverse;
    if (wavelength < 8192.0 / 4) {
      CHECK_EQ(got, inverse);
    } else if (wavelength > 8192.0) {
      CHECK_EQ(got, inverse / 8);
    } else {
      CHECK(got < inverse && got > inverse / 8);
      ++blended;
    }
    CHECK(i == 0 || got < last);
    last = got;
  }
  CHECK(blended > 3);
}

TEST(rotation_of_a_pair) {
  const numerics::Rotation table = numerics::rotation(3, 0.5);
  CHECK_EQ(table.cos, static_cast<float>(std::cos(1.5L)));
  CHECK_EQ(table.sin, static_cast<float>(std::sin(1.5L)));
  const numerics::Pair pair = numerics::rotate(2.0f, 3.0f, table.cos, table.sin);
  CHECK_EQ(pair.lo, std::fma(-3.0f, table.sin, 2.0f * table.cos));
  CHECK_EQ(pair.hi, std::fma(2.0f, table.sin, 3.0f * table.cos));
}
