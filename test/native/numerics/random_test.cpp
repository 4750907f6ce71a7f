// Philox, the noise made from it, and the cascade's rule.
#include <cmath>
#include <cstdint>

#include "numerics/cascade.h"
#include "numerics/environment.h"
#include "numerics/noise.h"
#include "numerics/philox.h"
#include "testing.h"

namespace numerics = nvium::numerics;

namespace {

void check_words(const numerics::Words& words, uint32_t w0, uint32_t w1, uint32_t w2, uint32_t w3) {
  CHECK_EQ(words.w0, w0);
  CHECK_EQ(words.w1, w1);
  CHECK_EQ(words.w2, w2);
  CHECK_EQ(words.w3, w3);
}

// E as its definition reads, through the public logarithms.
float exponential_by_definition(uint32_t x) {
  if (x < 0x80000000u) return -numerics::log1p(-static_cast<float>((x + 0.5) * 0x1p-32));
  return -numerics::log(static_cast<float>((0x1p32 - x - 0.5) * 0x1p-32));
}

}  // namespace

// The published known answers of Random123 for philox4x32 with ten rounds.
TEST(philox_known_answers) {
  check_words(numerics::philox(0, 0, 0, 0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  const uint32_t ones = 0xffffffff;
  check_words(numerics::philox(ones, ones, ones, ones, ones, ones), 0x408f276d, 0x41c83b0e,
              0xa20bc7c6, 0x6d5451fd);
  check_words(
      numerics::philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0),
      0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
}

TEST(counter_and_key_order) {
  const numerics::Words words =
      numerics::random_words(0x299f31d0a4093822u, 0x03707344, 0x13198a2e,
                             static_cast<numerics::Purpose>(0x85a308d3u), 0x243f6a88);
  check_words(words, 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t expected[] = {words.w0, words.w1, words.w2, words.w3};
    CHECK_EQ(numerics::word(words, i), expected[i]);
  }
}

TEST(exponential_at_the_ends) {
  CHECK_EQ(numerics::exponential(0), 0x1p-33f);
  CHECK_EQ(numerics::exponential(0x7fffffff), 0x1.62e43p-1f);
  CHECK_EQ(numerics::exponential(0x80000000), 0x1.62e43p-1f);
  CHECK_EQ(numerics::exponential(0xffffffff), static_cast<float>(33 * std::log(2.0)));
  CHECK_EQ(numerics::gumbel(0), static_cast<float>(33 * std::log(2.0)));
}

TEST(exponential_is_its_definition) {
  numerics::with_flushing([] {
    for (uint64_t x = 0; x < 0x100000000; x += 4093) {
      const uint32_t word = static_cast<uint32_t>(x);
      CHECK_EQ(numerics::exponential(word), exponential_by_definition(word));
      CHECK_EQ(numerics::gumbel(word), -numerics::log(numerics::exponential(word)));
    }
    for (uint32_t x = 0; x < 100000; ++x) {
      for (uint32_t word : {x, 0x7fffffffu - x, 0x80000000u + x, 0xffffffffu - x}) {
        CHECK_EQ(numerics::exponential(word), exponential_by_definition(word));
      }
    }
  });
}

TEST(noise_is_never_zero_or_infinite) {
  float least = 1e9f, most = 0.0f, lowest = 1e9f, highest = -1e9f;
  const auto visit = [&](uint32_t x) {
    const float e = numerics::exponential(x);
    const float g = numerics::gumbel(x);
    least = e < least ? e : least;
    most = e > most ? e : most;
    lowest = g < lowest ? g : lowest;
    highest = g > highest ? g : highest;
  };
  for (uint64_t x = 0; x < 0x100000000; x += 2039) visit(static_cast<uint32_t>(x));
  for (uint32_t x = 0; x < 100000; ++x) {
    visit(x), visit(~x), visit(0x7fffffff - x), visit(0x80000000 + x);
  }
  CHECK_EQ(least, 0x1p-33f);
  CHECK(most > 22.8f && most < 22.9f);
  CHECK(lowest > -3.14f && lowest < -3.12f);
  CHECK(highest > 22.8f && highest < 22.9f);
}

// The law in both tails: counts of Gumbel noise beyond thresholds lie within five standard
// deviations of their expectation.
TEST(noise_has_the_right_tails) {
  const int draws = 4000000;
  const float thresholds[] = {-2.0f, -1.5f, 0.0f, 3.0f, 6.0f, 9.0f, 12.0f};
  int above[7] = {};
  numerics::with_flushing([&] {
    for (int block = 0; block < draws / 4; ++block) {
      const numerics::Words words = numerics::token_words(7, 0, 3, block);
      for (uint32_t i = 0; i < 4; ++i) {
        const float g = numerics::gumbel(numerics::word(words, i));
        for (int t = 0; t < 7; ++t) above[t] += g > thresholds[t];
      }
    }
  });
  for (int t = 0; t < 7; ++t) {
    const double p = -std::expm1(-std::exp(-static_cast<double>(thresholds[t])));
    CHECK(std::fabs(above[t] - draws * p) < 5 * std::sqrt(draws * p * (1 - p)) + 1);
  }
}

TEST(token_noise_is_one_word_of_a_block) {
  for (uint32_t token = 0; token < 64; ++token) {
    const numerics::Words words = numerics::token_words(99, 5, 17, token / 4);
    CHECK_EQ(numerics::token_noise(99, 5, 17, token),
             numerics::gumbel(numerics::word(words, token % 4)));
  }
}

TEST(cascade_leaves_by_the_integer_rule) {
  CHECK(!numerics::leaves(0xffffffff, 1.0f));
  CHECK(numerics::leaves(0, 0.0f));
  CHECK(numerics::leaves(0x80000000, 0.5f));
  CHECK(!numerics::leaves(0x7fffffff, 0.5f));
  CHECK(!numerics::leaves(0xfffffeff, 0x1.fffffep-1f));
  CHECK(numerics::leaves(0xffffff00, 0x1.fffffep-1f));
  CHECK(numerics::leaves(0, 0x1p-33f));
  CHECK_EQ(numerics::difference(1.0f, 4.0f, 2.0f), 1.5f);
  CHECK_EQ(numerics::stays(0.5f, 0.0f), 0.25f);
  CHECK(numerics::stays(1.0f, 30.0f) > 9.3e-14f && numerics::stays(1.0f, 30.0f) < 9.4e-14f);
  CHECK(numerics::leaves_greedily(0.0f, 1.0f));
  CHECK(!numerics::leaves_greedily(1.0f, 1.0f));
  CHECK_EQ(numerics::uniform(3, 2, 1),
           numerics::random_words(3, 2, 1, numerics::Purpose::cascade, 0).w0);
}
