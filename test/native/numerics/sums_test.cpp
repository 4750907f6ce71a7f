// The dot product and the sums whose order is fixed.
#include "numerics/sums.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "numerics/dot.h"
#include "numerics/environment.h"
#include "numerics/philox.h"
#include "testing.h"

namespace numerics = nvium::numerics;

namespace {

// Random bits in sequence.
class Source {
 public:
  explicit Source(uint64_t seed) : seed_(seed) {}
  uint32_t next() {
    if (used_ == 4) {
      words_ = numerics::philox(block_++, 0, 0, 0, static_cast<uint32_t>(seed_), 0);
      used_ = 0;
    }
    return numerics::word(words_, used_++);
  }
  // A float with a random significand and an exponent in [low, high].
  float number(int low, int high) {
    const uint32_t u = next();
    const uint32_t exponent = 127 + low + next() % static_cast<uint32_t>(high - low + 1);
    return numerics::from_bits((u & 0x807fffffu) | exponent << 23);
  }

 private:
  uint64_t seed_;
  uint32_t block_ = 0;
  uint32_t used_ = 4;
  numerics::Words words_{};
};

std::vector<float> numbers(int count, uint64_t seed) {
  Source source(seed);
  std::vector<float> all(count);
  for (float& x : all) x = source.number(-3, 1);
  return all;
}

float dot(const std::vector<float>& w, const std::vector<float>& x) {
  return numerics::row_dot<numerics::F32>(static_cast<int>(w.size()), w.data(), x.data());
}

}  // namespace

// The order, spelled out with other words than the implementation's.
TEST(dot_order) {
  for (int count : {1, 2, 3, 127, 128, 129, 256, 300, 1000}) {
    const std::vector<float> w = numbers(count, 1), x = numbers(count, 2);
    std::vector<float> chunks((count + 127) / 128, 0.0f);
    for (int pair = 0; pair < (count + 1) / 2; ++pair) {
      float& sum = chunks[pair / 64];
      for (int k : {2 * pair + 1, 2 * pair}) {
        if (k < count) sum = std::fma(w[k], x[k], sum);
      }
    }
    float total = 0.0f;
    for (float sum : chunks) total = total + sum;
    CHECK_EQ(numerics::bits(dot(w, x)), numerics::bits(total));
    const auto weight = [&](int k) { return w[k]; };
    const auto input = [&](int k) { return x[k]; };
    CHECK_EQ(numerics::dot(count, weight, input), total);
  }
}

TEST(dot_zero_padding_is_invisible) {
  numerics::with_flushing([] {
    for (int count : {0, 1, 5, 127, 130, 255}) {
      std::vector<float> w = numbers(count, 3), x = numbers(count, 4);
      const uint32_t expected = numerics::bits(dot(w, x));
      for (int padded = count; padded < count + 300; padded += 1) {
        w.resize(padded, padded % 2 ? 3.0f : -3.0f);
        x.resize(padded, padded % 3 ? 0.0f : -0.0f);
        CHECK_EQ(numerics::bits(dot(w, x)), expected);
      }
    }
  });
}

TEST(dot_never_gives_negative_zero) {
  numerics::with_flushing([] {
    const uint32_t zero = 0;
    CHECK_EQ(numerics::bits(dot({}, {})), zero);
    CHECK_EQ(numerics::bits(dot({-1.0f}, {0.0f})), zero);
    CHECK_EQ(numerics::bits(dot({1.0f, -1.0f}, {1.0f, 1.0f})), zero);
    CHECK_EQ(numerics::bits(dot({-0x1p-100f}, {0x1p-100f})), zero);
    CHECK_EQ(numerics::bits(dot({1.0f, -0x1p-100f}, {-0.0f, 0x1p-100f})), zero);
  });
}

TEST(dot_rounds_activations_only_beside_bf16) {
  const float x[] = {1.0f + 0x1p-20f};
  const uint16_t bf16_one[] = {0x3f80}, f16_one[] = {0x3c00};
  const float f32_one[] = {1.0f};
  CHECK_EQ(numerics::row_dot<numerics::Bf16>(1, bf16_one, x), 1.0f);
  CHECK_EQ(numerics::row_dot<numerics::F16>(1, f16_one, x), x[0]);
  CHECK_EQ(numerics::row_dot<numerics::F32>(1, f32_one, x), x[0]);
}

// Random products, then the cases made to expose a double rounding: the accumulator and the product
// at every distance, with significands next to a midpoint.
TEST(bf16_step_without_fma_is_the_same) {
  numerics::with_flushing([] {
    Source source(5);
    for (int i = 0; i < 2000000; ++i) {
      const float w = numerics::round_to_bf16(source.number(-8, 7));
      const float x = numerics::round_to_bf16(source.number(-8, 7));
      const float acc = source.number(-40, 40);
      CHECK_EQ(numerics::bits(numerics::fma_bf16(w, x, acc)),
               numerics::bits(numerics::fma(w, x, acc)));
    }
    const uint32_t significands[] = {0x000000, 0x000001, 0x000002, 0x7fffff, 0x7ffffe,
                                     0x400000, 0x400001, 0x3fffff, 0x555555, 0x2aaaaa};
    for (int gap = -60; gap <= 60; ++gap) {
      for (uint32_t bits_of_acc : significands) {
        const uint32_t exponent = static_cast<uint32_t>(127 + gap) << 23;
        for (uint32_t m = 0; m < 128; ++m) {
          for (uint32_t n = m; n < 128; n += 3) {
            const float w = numerics::from_bits(0x3f800000u | m << 16);
            const float x = numerics::from_bits(0x3f800000u | n << 16);
            for (uint32_t sign : {0u, 0x80000000u}) {
              const float acc = numerics::from_bits(sign | exponent | bits_of_acc);
              CHECK_EQ(numerics::bits(numerics::fma_bf16(w, x, acc)),
                       numerics::bits(numerics::fma(w, x, acc)));
            }
          }
        }
      }
    }
  });
}

TEST(wide_step_dot_is_the_same) {
  Source source(6);
  for (int count : {2, 64, 129, 1024}) {
    std::vector<uint16_t> w(count);
    std::vector<float> x(count);
    for (uint16_t& h : w) h = numerics::bf16_from_float(source.number(-6, 0));
    for (float& value : x) value = source.number(-4, 3);
    const float fused = numerics::row_dot<numerics::Bf16>(count, w.data(), x.data());
    const float wide =
        numerics::row_dot<numerics::Bf16, numerics::WideStep>(count, w.data(), x.data());
    CHECK_EQ(numerics::bits(fused), numerics::bits(wide));
  }
}

TEST(sum_of_squares_order) {
  for (int count : {1, 31, 32, 33, 100, 576}) {
    const std::vector<float> x = numbers(count, 8);
    float lanes[32] = {};
    for (int i = 0; i < count; ++i) lanes[i % 32] = std::fma(x[i], x[i], lanes[i % 32]);
    for (int half : {16, 8, 4, 2, 1}) {
      for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
    }
    CHECK_EQ(numerics::sum_of_squares(x.data(), count), lanes[0]);
  }
  CHECK_EQ(numerics::norm_scale(64.0f, 4, 0.0f), 0.25f);
  CHECK_EQ(numerics::norm_scale(0.0f, 4, 0x1p-20f), 1024.0f);
}

TEST(halving_tree_order) {
  float slots[64], copy[64];
  const std::vector<float> x = numbers(64, 9);
  for (int i = 0; i < 64; ++i) slots[i] = copy[i] = x[i];
  const auto tree = [&](auto&& self, int first, int step) -> float {
    return step == 64 ? copy[first]
                      : self(self, first, 2 * step) + self(self, first + step, 2 * step);
  };
  CHECK_EQ(numerics::halving_tree<64>(slots), tree(tree, 0, 1));
}

TEST(merging_attention_blocks) {
  const numerics::Merge up = numerics::merge_blocks(1.0f, 3.0f);
  CHECK_EQ(up.max, 3.0f);
  CHECK_EQ(up.keep, numerics::exp(-2.0f));
  CHECK_EQ(up.take, 1.0f);
  CHECK_EQ(numerics::merged(up, 5.0f, 7.0f), std::fma(7.0f, up.take, 5.0f * up.keep));
  const numerics::Merge far = numerics::merge_blocks(1.0f, -1000.0f);
  CHECK_EQ(numerics::merged(far, 5.0f, 7.0f), 5.0f);
}

TEST(fixed_point_truncates) {
  CHECK_EQ(numerics::fixed_point(0.0f), 0u);
  CHECK_EQ(numerics::fixed_point(1.0f), uint64_t{1} << 40);
  CHECK_EQ(numerics::fixed_point(0x1p-40f), 1u);
  CHECK_EQ(numerics::fixed_point(0x1.fffffep-41f), 0u);
  CHECK_EQ(numerics::fixed_point(0x1p-126f), 0u);
  for (uint32_t u = 0; u <= 0x3f800000; u += 509) {
    const float e = numerics::from_bits(u);
    CHECK_EQ(numerics::fixed_point(e), static_cast<uint64_t>(static_cast<double>(e) * 0x1p40));
  }
}

TEST(from_fixed_rounds_once) {
  CHECK_EQ(numerics::from_fixed(0), 0.0f);
  CHECK_EQ(numerics::from_fixed(uint64_t{1} << 40), 1.0f);
  CHECK_EQ(numerics::from_fixed(0x1000001), 0x1p-16f);                 // a tie, to even
  CHECK_EQ(numerics::from_fixed(0x1000003), 0x1.000004p-16f);          // a tie, to even
  CHECK_EQ(numerics::from_fixed(0x8000008000000001), 0x1.000002p23f);  // just above a tie
  CHECK_EQ(numerics::from_fixed(0x8000008000000000), 0x1p23f);
  CHECK_EQ(numerics::from_fixed(~uint64_t{0}), 0x1p24f);
}

TEST(flushing_is_set_and_restored) {
  const auto mode = numerics::floating_mode();
  volatile float tiny = 0x1p-126f;
  float flushed = 1.0f;
  numerics::with_flushing([&] { flushed = tiny * 0.5f; });
  CHECK_EQ(flushed, 0.0f);
  CHECK_EQ(numerics::floating_mode(), mode);
  const float kept = tiny * 0.5f;
  CHECK(kept != 0.0f);
  try {
    numerics::with_flushing([] { throw 1; });
  } catch (int) {
  }
  CHECK_EQ(numerics::floating_mode(), mode);
}
