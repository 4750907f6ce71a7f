// Errors of the elementary functions against a reference, over floats of every exponent.
//
// The reference is the C library in double: its error is some 10^-9 of a float's last place. Every
// 509th float is tried; NVIUM_TEST_STRIDE=1 tries them all, which is how the documented errors
// were measured.
#include "numerics/functions.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "numerics/environment.h"
#include "testing.h"

namespace numerics = nvium::numerics;

namespace {

constexpr float kInf = __builtin_inff();

uint32_t stride() {
  const char* text = std::getenv("NVIUM_TEST_STRIDE");
  const long value = text ? std::atol(text) : 0;
  return value > 0 ? static_cast<uint32_t>(value) : 509;
}

// |got - want| in units of the last place that a float near `want` has.
double ulps(float got, double want) {
  if (!std::isfinite(got)) return 1e9;
  int exponent;
  std::frexp(want, &exponent);
  return std::fabs(got - want) / std::ldexp(1.0, exponent - 24);
}

struct Worst {
  double error = 0;
  float at = 0;
};

// The worst error for x in [low, high] whose exact result is a normal float; tiny |x| left out.
template <class Function, class Reference>
Worst worst_error(Function function, Reference reference, float low, float high, float tiny) {
  Worst worst;
  const uint32_t step = stride();
  numerics::with_flushing([&] {
    for (uint32_t sign = 0; sign < 2; ++sign) {
      for (uint32_t u = 0x00800000; u < 0x7f800000; u += step) {
        const float x = numerics::from_bits(u | sign << 31);
        if (!(x >= low && x <= high) || std::fabs(x) < tiny) continue;
        const double want = reference(static_cast<double>(x));
        if (std::fabs(want) < 0x1p-126) continue;
        const double error = ulps(function(x), want);
        if (error > worst.error) worst = {error, x};
      }
    }
  });
  return worst;
}

void check_error(const char* name, const Worst& worst, double bound) {
  std::printf("  %-12s %.4f ULP at %a\n", name, worst.error, worst.at);
  CHECK(worst.error > 0.3);  // less would mean that nothing was measured
  CHECK(worst.error < bound);
}

#define CHECK_ERROR(name, bound, reference, low, high)                                         \
  check_error(#name,                                                                           \
              worst_error([](float x) { return numerics::name(x); }, reference, low, high, 0), \
              bound)

bool is_nan(float x) { return x != x; }
bool is_positive_zero(float x) { return numerics::bits(x) == 0; }
bool is_negative_zero(float x) { return numerics::bits(x) == 0x80000000u; }

}  // namespace

TEST(errors) {
  CHECK_ERROR(
      exp, 0.9, [](double x) { return std::exp(x); }, -87.3365f, 88.7228f);
  CHECK_ERROR(
      log, 0.94, [](double x) { return std::log(x); }, 0x1p-126f, 3.4e38f);
  CHECK_ERROR(
      log1p, 0.94, [](double x) { return std::log1p(x); }, -0x1.fffffep-1f, 3.4e38f);
  CHECK_ERROR(
      erf, 1.32, [](double x) { return std::erf(x); }, -3.4e38f, 3.4e38f);
  CHECK_ERROR(
      sigmoid, 2.41, [](double x) { return 1 / (1 + std::exp(-x)); }, -87.3365f, 3.4e38f);
  CHECK_ERROR(
      log_sigmoid, 1.66,
      [](double x) { return (x < 0 ? x : 0) - std::log1p(std::exp(-std::fabs(x))); }, -3.4e38f,
      87.336f);
  CHECK_ERROR(
      silu, 2.4, [](double x) { return x / (1 + std::exp(-x)); }, -88.7228f, 3.4e38f);
  const Worst gelu = worst_error([](float x) { return numerics::gelu(x); },
                                 [](double x) { return x * 0.5 * std::erfc(-x * M_SQRT1_2); },
                                 -13.0f, 3.4e38f, 0x1p-122f);
  check_error("gelu", gelu, 3.9);
}

TEST(exp_special_values) {
  CHECK_EQ(numerics::exp(0.0f), 1.0f);
  CHECK_EQ(numerics::exp(-0.0f), 1.0f);
  CHECK(is_positive_zero(numerics::exp(-kInf)));
  CHECK(is_positive_zero(numerics::exp(-3e38f)));
  CHECK(is_positive_zero(numerics::exp(-87.33655f)));
  CHECK(numerics::exp(-87.33654f) >= 0x1p-126f);
  CHECK(numerics::exp(88.72283f) < kInf);
  CHECK_EQ(numerics::exp(88.72284f), kInf);
  CHECK_EQ(numerics::exp(3e38f), kInf);
  CHECK_EQ(numerics::exp(kInf), kInf);
}

// What the fixed-point sums and the merging of attention blocks rely on.
TEST(exp_of_negatives_is_at_most_one) {
  bool holds = true;
  for (uint32_t u = 0x80000000; u < 0xff800000; u += 257) {
    holds &= numerics::exp(numerics::from_bits(u)) <= 1.0f;
  }
  CHECK(holds);
}

TEST(log_special_values) {
  CHECK(is_positive_zero(numerics::log(1.0f)));
  CHECK_EQ(numerics::log(0.0f), -kInf);
  CHECK_EQ(numerics::log(-0.0f), -kInf);
  CHECK_EQ(numerics::log(numerics::from_bits(0x007fffffu)), -kInf);
  CHECK_EQ(numerics::log(numerics::from_bits(0x807fffffu)), -kInf);
  CHECK_EQ(numerics::log(kInf), kInf);
  CHECK(is_nan(numerics::log(-1.0f)));
  CHECK(is_nan(numerics::log(-0x1p-126f)));
  CHECK(is_nan(numerics::log(-kInf)));
}

TEST(log1p_special_values) {
  CHECK_EQ(numerics::log1p(0.0f), 0.0f);
  CHECK_EQ(numerics::log1p(0x1p-126f), 0x1p-126f);
  CHECK_EQ(numerics::log1p(-0x1p-100f), -0x1p-100f);
  CHECK_EQ(numerics::log1p(-1.0f), -kInf);
  CHECK_EQ(numerics::log1p(kInf), kInf);
  CHECK(is_nan(numerics::log1p(-1.5f)));
  CHECK(is_nan(numerics::log1p(-kInf)));
}

TEST(erf_special_values) {
  CHECK(is_positive_zero(numerics::erf(0.0f)));
  CHECK(is_negative_zero(numerics::erf(-0.0f)));
  CHECK_EQ(numerics::erf(kInf), 1.0f);
  CHECK_EQ(numerics::erf(-kInf), -1.0f);
  CHECK_EQ(numerics::erf(3e38f), 1.0f);
  CHECK_EQ(numerics::erf(-0.7f), -numerics::erf(0.7f));
}

TEST(sigmoids_far_out) {
  CHECK_EQ(numerics::sigmoid(0.0f), 0.5f);
  CHECK_EQ(numerics::sigmoid(100.0f), 1.0f);
  CHECK(numerics::sigmoid(-40.0f) > 4.2e-18f && numerics::sigmoid(-40.0f) < 4.3e-18f);
  CHECK(is_positive_zero(numerics::sigmoid(-1e30f)));
  CHECK_EQ(numerics::log_sigmoid(-1000.0f), -1000.0f);
  CHECK_EQ(numerics::log_sigmoid(1000.0f), 0.0f);
  CHECK(numerics::log_sigmoid(40.0f) < -4.2e-18f && numerics::log_sigmoid(40.0f) > -4.3e-18f);
}

TEST(activations_far_out) {
  CHECK_EQ(numerics::silu(0.0f), 0.0f);
  CHECK_EQ(numerics::silu(1e30f), 1e30f);
  CHECK(is_negative_zero(numerics::silu(-1e30f)));
  CHECK_EQ(numerics::gelu(0.0f), 0.0f);
  CHECK_EQ(numerics::gelu(1e30f), 1e30f);
  CHECK_EQ(numerics::gelu(-1e30f), 0.0f);
  CHECK_EQ(numerics::gelu(-13.5f), 0.0f);
  CHECK(numerics::gelu(-12.9f) < 0.0f);
}

TEST(nan_passes_through) {
  for (const float nan : {__builtin_nanf(""), -__builtin_nanf("")}) {
    CHECK(is_nan(numerics::exp(nan)));
    CHECK(is_nan(numerics::log(nan)));
    CHECK(is_nan(numerics::log1p(nan)));
    CHECK(is_nan(numerics::erf(nan)));
    CHECK(is_nan(numerics::sigmoid(nan)));
    CHECK(is_nan(numerics::log_sigmoid(nan)));
    CHECK(is_nan(numerics::silu(nan)));
    CHECK(is_nan(numerics::gelu(nan)));
  }
}
