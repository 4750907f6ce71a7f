// From logits to tokens and laws.
#pragma once

#include "../../numerics/noise.h"
#include "../../numerics/sums.h"
#include "../../numerics/types.h"
#include "../kernels.h"
#include "largest.h"

namespace nvium::cpu {
namespace {

inline bool better(float score, uint32_t token, const Best& best) {
  return score > best.score || (score == best.score && token < best.token);
}

// The largest of scores[0 … count), lowest index first, against what was found before.
inline void take_best(const float* scores, uint32_t count, uint32_t first, Best* best) {
  const float most = largest(scores, count);
  if (!(most > best->score)) return;  // ties go to the earlier token
  for (uint32_t i = 0; i < count; i++) {
    if (scores[i] == most) {
      *best = {most, first + i};
      return;
    }
  }
}

constexpr float kLowest = -__builtin_inff();

Best draw_range(const float* logits, const Draw& draw, uint32_t first, uint32_t last) {
  Best best{kLowest, kNoToken};
  float scores[kDrawTokens];
  for (uint32_t begin = first; begin < last; begin += kDrawTokens) {
    const uint32_t count = last - begin < kDrawTokens ? last - begin : kDrawTokens;
    const float* row = logits + (begin - first);
    if (draw.temperature == 0) {
      take_best(row, count, begin, &best);
      continue;
    }
    uint32_t words[kDrawTokens];
    for (uint32_t b = 0; b < kDrawTokens / 4; b++) {
      const numerics::Words w =
          numerics::token_words(draw.seed, draw.stream, draw.position, begin / 4 + b);
      words[4 * b] = w.w0;
      words[4 * b + 1] = w.w1;
      words[4 * b + 2] = w.w2;
      words[4 * b + 3] = w.w3;
    }
    for (uint32_t i = 0; i < kDrawTokens; i++) scores[i] = numerics::gumbel(words[i]);
    for (uint32_t i = 0; i < count; i++) scores[i] += row[i] / draw.temperature;
    take_best(scores, count, begin, &best);
  }
  return best;
}

Best draw_kept(const float* logits, const Draw& draw, const uint32_t* kept, uint32_t count) {
  Best best{kLowest, kNoToken};
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t token = kept[i];
    const float score = logits[token] / draw.temperature +
                        numerics::token_noise(draw.seed, draw.stream, draw.position, token);
    if (better(score, token, best)) best = {score, token};
  }
  return best;
}

uint64_t fixed_sum(const float* values, size_t count, float maximum) {
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i++)
    sum += numerics::fixed_point(numerics::exp(values[i] - maximum));
  return sum;
}

// Tokens the mixture is computed for together, so that the loops over them are the inner ones.
constexpr uint32_t kMixTokens = 64;

void mix_range(const float* const* logits, const float* log_exit, const float* log_norm,
               uint32_t exits, uint32_t first, uint32_t last, float* output) {
  for (uint32_t begin = first; begin < last; begin += kMixTokens) {
    const uint32_t count = last - begin < kMixTokens ? last - begin : kMixTokens;
    float most[kMixTokens], sum[kMixTokens] = {}, terms[kMixTokens];
    const auto set_terms = [&](uint32_t k) {
      const float* row = logits[k] + begin;
      const float shift = log_exit[k], norm = log_norm[k];
      for (uint32_t i = 0; i < count; i++) terms[i] = shift + (row[i] - norm);
    };
    for (uint32_t k = 0; k < exits; k++) {
      set_terms(k);
      for (uint32_t i = 0; i < count; i++) {
        most[i] = k == 0 ? terms[i] : numerics::larger(most[i], terms[i]);
      }
    }
    for (uint32_t k = 0; k < exits; k++) {
      set_terms(k);
      for (uint32_t i = 0; i < count; i++) sum[i] += numerics::exp(terms[i] - most[i]);
    }
    for (uint32_t i = 0; i < count; i++) output[begin + i] = most[i] + numerics::log(sum[i]);
  }
}

bool all_finite(const float* values, size_t count) {
  uint32_t bad = 0;
  for (size_t i = 0; i < count; i++) {
    bad |= uint32_t(!numerics::is_finite(values[i]));
  }
  return bad == 0;
}

}  // namespace
}  // namespace nvium::cpu
