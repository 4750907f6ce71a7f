// Conversions between element types, over every 16-bit pattern.
#include "numerics/types.h"

#include <cmath>
#include <cstdint>

#include "numerics/environment.h"
#include "testing.h"

namespace numerics = nvium::numerics;

namespace {

// The value of an f16 pattern, from the definition of the format.
double f16_value(uint32_t h) {
  const double sign = h & 0x8000 ? -1.0 : 1.0;
  const int exponent = h >> 10 & 31;
  const int mantissa = h & 1023;
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

}  // namespace

TEST(f16_widens_exactly) {
  numerics::with_flushing([] {
    for (uint32_t h = 0; h < 65536; ++h) {
      const float got = numerics::f16_to_float(static_cast<uint16_t>(h));
      CHECK_EQ(numerics::is_finite_f16(static_cast<uint16_t>(h)), numerics::is_finite(got));
      if ((h & 0x7c00) == 0x7c00) {
        CHECK(h & 0x3ff ? got != got : std::isinf(got));
      } else {
        CHECK_EQ(static_cast<double>(got), f16_value(h));
      }
      CHECK_EQ(numerics::bits(got) >> 31, h >> 15);
    }
  });
}

TEST(bf16_round_trip) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const uint16_t pattern = static_cast<uint16_t>(h);
    const float wide = numerics::bf16_to_float(pattern);
    CHECK_EQ(numerics::bits(wide), h << 16);
    const uint16_t back = numerics::bf16_from_float(wide);
    const uint32_t magnitude = h & 0x7fff;
    if (magnitude > 0x7f80) {
      CHECK_EQ(back, static_cast<uint16_t>(h | 0x40));
    } else {
      CHECK_EQ(back, static_cast<uint16_t>(magnitude < 0x80 ? h & 0x8000 : h));
      CHECK_EQ(back, numerics::flush_subnormal_bf16(pattern));
    }
    CHECK_EQ(numerics::is_finite_bf16(pattern), magnitude < 0x7f80);
  }
}

TEST(bf16_rounds_to_nearest_even) {
  for (uint32_t h = 0x0080; h < 0x7f80; ++h) {
    const uint32_t here = h << 16;
    const uint32_t even = h + (h & 1);
    CHECK_EQ(numerics::bf16_from_float(numerics::from_bits(here + 0x7fff)), h);
    CHECK_EQ(numerics::bf16_from_float(numerics::from_bits(here + 0x8000)), even);
    CHECK_EQ(numerics::bf16_from_float(numerics::from_bits(here + 0x8001)), h + 1);
    CHECK_EQ(numerics::bf16_from_float(numerics::from_bits(here + 0x80008000u)), even | 0x8000);
  }
}

TEST(subnormals_become_signed_zeros) {
  for (uint32_t u = 1; u < 0x00800000; u += 997) {
    CHECK_EQ(numerics::bits(numerics::flush_subnormal(numerics::from_bits(u))), 0u);
    CHECK_EQ(numerics::bits(numerics::flush_subnormal(numerics::from_bits(u | 0x80000000u))),
             0x80000000u);
    CHECK_EQ(numerics::bf16_from_float(numerics::from_bits(u)), 0);
  }
  CHECK_EQ(numerics::flush_subnormal(-0x1p-126f), -0x1p-126f);
  CHECK_EQ(numerics::bf16_from_float(numerics::from_bits(0x807fffffu)), 0x8000);
}

TEST(finite_by_bits) {
  CHECK(numerics::is_finite(0.0f));
  CHECK(numerics::is_finite(-3.4e38f));
  CHECK(!numerics::is_finite(__builtin_inff()));
  CHECK(!numerics::is_finite(-__builtin_inff()));
  CHECK(!numerics::is_finite(__builtin_nanf("")));
}

TEST(ordered_keys) {
  const float inf = __builtin_inff();
  const float ascending[] = {-inf,      -3e38f, -1.5f, -1.0f, -0x1p-126f, 0.0f,
                             0x1p-126f, 1.0f,   1.5f,  3e38f, inf};
  for (int i = 0; i + 1 < 11; ++i) {
    CHECK(numerics::ordered(ascending[i]) < numerics::ordered(ascending[i + 1]));
  }
  CHECK_EQ(numerics::ordered(-0.0f), numerics::ordered(0.0f));
  uint32_t last = 0;
  for (uint32_t u = 0; u < 0x7f800000; u += 1013) {
    const uint32_t key = numerics::ordered(numerics::from_bits(u));
    CHECK(u == 0 || key > last);
    last = key;
  }
}
