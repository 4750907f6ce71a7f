// The law of the draws, over prepared logits: a million a case through the kernels of every
// instruction set, with seeds 0 … n - 1. Beside them samplers that are wrong on purpose, which the
// same statistics must refuse.
//
// NVIUM_LAW_FACTOR asks for so many times the draws.
#include <cinttypes>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "cpu/instruction_sets.h"
#include "law/statistics.h"
#include "numerics/cascade.h"
#include "numerics/environment.h"
#include "numerics/noise.h"
#include "testing.h"

using namespace nvium;
using law::Bins;
using law::kAlpha;

namespace {

// Every draw of this file: one of these seeds, this stream, and this position or the next.
constexpr uint64_t kFirstSeed = 0;
constexpr uint32_t kStream = 0, kPosition = 1000;

// Draws of a wrong sampler, which is refused long before a million.
constexpr uint64_t kMutantDraws = 20000;

uint64_t draws() {
  const char* factor = std::getenv("NVIUM_LAW_FACTOR");
  return 1000000 * (factor == nullptr ? 1 : std::strtoull(factor, nullptr, 10));
}

// Without FMA instructions a draw is a hundred times as slow; that the tokens are the same is
// tested elsewhere.
uint64_t draws_of(const cpu::Kernels& kernels, uint64_t all) {
  return std::string(kernels.name) == "portable" ? all / 20 : all;
}

// What decides a token: logits of routers and heads, as a model would have given them.
struct Prepared {
  uint32_t vocab = 200;
  std::vector<std::pair<float, float>> routers = {{0.3f, -0.5f}, {-0.2f, 0.4f}};  // continue, exit
  float router_temperature = 1;
  float temperature = 1;
  uint32_t top_k = 0;
  std::vector<std::vector<float>> logits;        // of each exit
  std::vector<std::vector<uint32_t>> kept = {};  // with top_k: the tokens that are left, ascending

  Prepared(float router_temperature, float temperature, uint32_t top_k)
      : router_temperature(router_temperature), temperature(temperature), top_k(top_k) {
    for (uint32_t exit = 0; exit < exits(); exit++) {
      std::vector<float> values(vocab);
      for (uint32_t v = 0; v < vocab; v++) {
        // Somewhat normal, of deviation 1.4: probabilities over four orders of magnitude.
        const numerics::Words w = numerics::philox(v, exit, 7, 7, 7, 7);
        values[v] = (float(w.w0) + float(w.w1) - float(w.w2) - float(w.w3)) * 0x1.4p-31f;
      }
      std::vector<uint32_t> order(vocab);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](uint32_t a, uint32_t b) { return values[a] > values[b]; });
      order.resize(top_k == 0 ? vocab : top_k);
      std::sort(order.begin(), order.end());
      logits.push_back(std::move(values));
      kept.push_back(std::move(order));
    }
  }

  uint32_t exits() const { return uint32_t(routers.size()) + 1; }

  // p_k π_k(v), in double, at exit * vocab + v.
  std::vector<double> law() const {
    std::vector<double> cells(exits() * vocab);
    double stayed = 1;
    for (uint32_t exit = 0; exit < exits(); exit++) {
      double leave = 1;
      if (exit < routers.size()) {
        const auto [stay, go] = routers[exit];
        leave = 1 / (1 + std::exp((double(stay) - go) / router_temperature));
      }
      double sum = 0;
      for (const uint32_t v : kept[exit]) sum += std::exp(double(logits[exit][v]) / temperature);
      for (const uint32_t v : kept[exit]) {
        cells[exit * vocab + v] =
            stayed * leave * std::exp(double(logits[exit][v]) / temperature) / sum;
      }
      stayed *= 1 - leave;
    }
    return cells;
  }
};

struct Outcome {
  uint32_t exit, token;
  bool operator==(const Outcome&) const = default;
};

uint32_t leave_at(const Prepared& p, uint32_t x) {
  float remaining = 1;
  for (uint32_t exit = 0; exit < p.routers.size(); exit++) {
    const auto [stay, go] = p.routers[exit];
    remaining = numerics::stays(remaining, numerics::difference(stay, go, p.router_temperature));
    if (numerics::leaves(x, remaining)) return exit;
  }
  return uint32_t(p.routers.size());
}

// The product's own way: the cascade of native/numerics and the kernels.
Outcome product(const cpu::Kernels& kernels, const Prepared& p, uint64_t seed, uint32_t position) {
  const uint32_t exit = leave_at(p, numerics::uniform(seed, kStream, position));
  const Draw draw{p.temperature, p.top_k, seed, kStream, position};
  const float* logits = p.logits[exit].data();
  const cpu::Best best = p.top_k == 0 ? kernels.draw(logits, draw, 0, p.vocab)
                                      : kernels.draw_kept(logits, draw, p.kept[exit].data(),
                                                          uint32_t(p.kept[exit].size()));
  return {exit, best.token};
}

// Ways to be wrong.
enum class Mutant {
  none,
  no_position,             // the key holds no position: every token gets the same noise
  one_uniform,             // the uniform that chose the exit chooses the token too, by inversion
  noise_divided,           // the temperature divides logit and noise: it is without effect
  temperature_on_mixture,  // the temperature acts on the mixture, not on the exit reached
  temperature_on_routers,  // the head's temperature divides the routers' logits as well
};

template <Mutant mutant>
class Sampler {
 public:
  explicit Sampler(const Prepared& p) : p_(p), routers_(p), joint_(p.law()), mixture_(p.vocab) {
    if (mutant == Mutant::temperature_on_routers) routers_.router_temperature *= p.temperature;
    for (size_t i = 0; i < joint_.size(); i++) mixture_[i % p.vocab] += joint_[i];
  }

  Outcome operator()(uint64_t seed, uint32_t position) const {
    if (mutant == Mutant::no_position) position = 0;
    const uint32_t x = numerics::uniform(seed, kStream, position);
    const uint32_t exit = leave_at(routers_, x);
    if (mutant == Mutant::one_uniform) return {exit, inverse(exit, x * 0x1p-32)};
    cpu::Best best{-numerics::kInfinity, 0};
    for (const uint32_t v : p_.kept[exit]) {
      const float noise = numerics::token_noise(seed, kStream, position, v);
      float score = p_.logits[exit][v] / p_.temperature + noise;
      if (mutant == Mutant::noise_divided) score = (p_.logits[exit][v] + noise) / p_.temperature;
      if (mutant == Mutant::temperature_on_mixture) {
        score = float(std::log(mixture_[v])) / p_.temperature + noise;
      }
      if (score > best.score) best = {score, v};
    }
    return {exit, best.token};
  }

 private:
  // The token where the exit's distribution function passes u.
  uint32_t inverse(uint32_t exit, double u) const {
    const double* law = &joint_[exit * p_.vocab];
    double left = u * std::accumulate(law, law + p_.vocab, 0.0);
    uint32_t token = 0;
    while (token + 1 < p_.vocab && left >= law[token]) left -= law[token++];
    return token;
  }

  const Prepared& p_;
  Prepared routers_;
  std::vector<double> joint_, mixture_;
};

struct Verdict {
  double exit_and_token, token, pair;  // p-values
  double least() const { return std::min({exit_and_token, token, pair}); }
};

// Draws two consecutive tokens for each seed and tests (exit, token) of the first, the first token
// under the mixture, and the pair of tokens. The second token has the law of the first here,
// whatever that was, so the pair's law is a product.
template <class Draws>
Verdict judge(const Prepared& p, uint64_t count, const Draws& sampler) {
  const std::vector<double> joint = p.law();
  std::vector<uint32_t> exit_of(joint.size());
  std::vector<double> tokens(p.vocab);
  for (size_t i = 0; i < joint.size(); i++) {
    exit_of[i] = uint32_t(i) / p.vocab;
    tokens[i % p.vocab] += joint[i];
  }
  const std::vector<uint32_t> no_groups(p.vocab);
  const Bins eighths(tokens, no_groups, 8);
  std::vector<double> pairs(size_t(p.vocab) * p.vocab);
  std::vector<uint32_t> eighth(pairs.size());
  for (uint32_t a = 0; a < p.vocab; a++) {
    for (uint32_t b = 0; b < p.vocab; b++) {
      pairs[a * p.vocab + b] = tokens[a] * tokens[b];
      eighth[a * p.vocab + b] = eighths.of(a);
    }
  }
  Bins exit_and_token(joint, exit_of, 100), token(tokens, no_groups, 100), pair(pairs, eighth, 128);
  for (uint64_t seed = kFirstSeed; seed < kFirstSeed + count; seed++) {
    const Outcome a = sampler(seed, kPosition), b = sampler(seed, kPosition + 1);
    exit_and_token.count(a.exit * p.vocab + a.token);
    token.count(a.token);
    pair.count(a.token * p.vocab + b.token);
  }
  return {exit_and_token.p_value(), token.p_value(), pair.p_value()};
}

void print(const char* name, uint64_t count, const Verdict& v) {
  std::printf("  %-24s %8" PRIu64 " draws: p = %.2g (exit, token), %.2g token, %.2g pair\n", name,
              count, v.exit_and_token, v.token, v.pair);
}

void every_set_draws_from(const Prepared& p) {
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    const uint64_t count = draws_of(*kernels, draws());
    numerics::with_flushing([&] {
      const Verdict verdict = judge(p, count, [&](uint64_t seed, uint32_t position) {
        return product(*kernels, p, seed, position);
      });
      print(kernels->name, count, verdict);
      CHECK(verdict.least() > kAlpha);
    });
  }
}

template <Mutant mutant>
Verdict judge_mutant(const char* name, const Prepared& p) {
  Verdict verdict;
  numerics::with_flushing([&] { verdict = judge(p, kMutantDraws, Sampler<mutant>(p)); });
  print(name, kMutantDraws, verdict);
  return verdict;
}

const Prepared kExact(1, 1, 0), kTempered(2, 0.7f, 0), kTopTokens(1, 0.7f, 20);

}  // namespace

TEST(the_tail_of_chi_square) {
  // From tables, and with two degrees of freedom e^(-x / 2).
  CHECK(std::fabs(law::chi_square_tail(3.841458820694124, 1) - 0.05) < 1e-12);
  CHECK(std::fabs(law::chi_square_tail(124.34211340400407, 100) - 0.05) < 1e-10);
  CHECK(std::fabs(law::chi_square_tail(50, 2) / std::exp(-25) - 1) < 1e-10);
  CHECK(std::fabs(law::chi_square_tail(1, 2) - std::exp(-0.5)) < 1e-12);
  CHECK_EQ(law::chi_square_tail(0, 5), 1.0);
}

TEST(bins_hold_equal_shares_and_keep_groups_apart) {
  std::vector<double> law;
  std::vector<uint32_t> group;
  for (uint32_t i = 0; i < 1000; i++) law.push_back(1 + i % 7), group.push_back(i / 400);
  const Bins bins(law, group, 50);
  CHECK(bins.size() > 40 && bins.size() <= 50);
  for (uint32_t i = 0; i < 1000; i++) {
    for (uint32_t j = 0; j < i; j++) CHECK(bins.of(i) != bins.of(j) || group[i] == group[j]);
  }
}

TEST(draws_follow_the_mixture) { every_set_draws_from(kExact); }
TEST(tempered_draws_follow_the_tempered_exits) { every_set_draws_from(kTempered); }
TEST(draws_among_the_top_tokens_follow_their_law) { every_set_draws_from(kTopTokens); }

TEST(the_samplers_of_this_test_are_the_product_where_nothing_is_changed) {
  for (const Prepared* p : {&kExact, &kTempered, &kTopTokens}) {
    const Sampler<Mutant::none> unchanged(*p);
    numerics::with_flushing([&] {
      for (uint64_t seed = 0; seed < 2000; seed++) {
        CHECK(unchanged(seed, kPosition) ==
              product(*cpu::available_kernels().front(), *p, seed, kPosition));
      }
    });
  }
  CHECK(judge_mutant<Mutant::none>("unchanged", kExact).least() > kAlpha);
  CHECK(judge_mutant<Mutant::none>("unchanged, tempered", kTempered).least() > kAlpha);
}

TEST(noise_without_a_position_is_refused) {
  const Verdict verdict = judge_mutant<Mutant::no_position>("no position", kExact);
  CHECK(verdict.pair < kAlpha);
  // One token at a time nothing is wrong with it.
  CHECK(verdict.exit_and_token > kAlpha);
}

TEST(one_uniform_for_exit_and_token_is_refused) {
  CHECK(judge_mutant<Mutant::one_uniform>("one uniform", kExact).exit_and_token < kAlpha);
}

TEST(a_temperature_in_the_wrong_place_is_refused) {
  CHECK(judge_mutant<Mutant::noise_divided>("noise divided", kTempered).token < kAlpha);
  CHECK(judge_mutant<Mutant::temperature_on_mixture>("on the mixture", kTempered).token < kAlpha);
  CHECK(judge_mutant<Mutant::temperature_on_routers>("on the routers", kTempered).exit_and_token <
        kAlpha);
}

// One token has all but 2e-4 of the probability, 31999 share the rest.
TEST(the_rarest_of_32000_tokens_are_as_rare_as_they_should_be) {
  const uint32_t vocab = 32000, peak = 1717;
  const double rare = 2e-4;
  std::vector<float> logits(vocab, 0.0f);
  logits[peak] = float(std::log((1 - rare) / rare * (vocab - 1)));
  const uint64_t all = draws() / 32;

  std::vector<uint32_t> tokens;  // of the first instruction set
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    const bool first = tokens.empty();
    const uint64_t count = first ? all : draws_of(*kernels, all / 8);
    uint64_t rarities = 0;
    numerics::with_flushing([&] {
      for (uint64_t i = 0; i < count; i++) {
        const Draw draw{.seed = kFirstSeed + i, .stream = kStream, .position = kPosition};
        const uint32_t token = kernels->draw(logits.data(), draw, 0, vocab).token;
        if (first) tokens.push_back(token);
        CHECK_EQ(token, tokens[i]);
        rarities += token != peak;
      }
    });
    if (!first) continue;
    const double p = law::p_value({count - rarities, rarities}, {1 - rare, rare});
    std::printf("  %-24s %8" PRIu64 " draws, %" PRIu64 " of rare tokens, expected %.1f: p = %.2g\n",
                kernels->name, count, rarities, rare * double(count), p);
    CHECK(p > kAlpha);
  }

  // The usual shortcut: -log(-log(u)), u = x / 2^32 as a float, which is 1 for the last 128 words.
  // Of tokens with equal logits the winner has the largest word by the shortcut, the smallest one
  // by the exact noise; so two words decide whether the peak is drawn.
  const auto shortcut = [](uint32_t x) {
    return -numerics::log(-numerics::log(float(x) * 0x1p-32f));
  };
  uint64_t rarities = 0, different = 0;
  numerics::with_flushing([&] {
    for (uint64_t i = 0; i < all; i++) {
      uint32_t least = UINT32_MAX, most = 0, of_peak = 0;
      for (uint32_t block = 0; block < vocab / 4; block++) {
        const numerics::Words words =
            numerics::token_words(kFirstSeed + i, kStream, kPosition, block);
        for (uint32_t w = 0; w < 4; w++) {
          const uint32_t x = numerics::word(words, w);
          const bool is_peak = 4 * block + w == peak;
          of_peak = is_peak ? x : of_peak;
          least = is_peak || x > least ? least : x;
          most = is_peak || x < most ? most : x;
        }
      }
      const bool is_rare = numerics::gumbel(least) > logits[peak] + numerics::gumbel(of_peak);
      different += is_rare != (tokens[i] != peak);
      rarities += shortcut(most) > logits[peak] + shortcut(of_peak);
    }
  });
  CHECK_EQ(different, 0u);
  const double p = law::p_value({all - rarities, rarities}, {1 - rare, rare});
  std::printf("  %-24s %8" PRIu64 " draws, %" PRIu64 " of rare tokens: p = %.2g\n",
              "the float shortcut", all, rarities, p);
  CHECK(p < kAlpha);
}
