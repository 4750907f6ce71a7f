#include "evaluate.h"

#include "../numerics/cascade.h"
#include "../numerics/functions.h"
#include "../numerics/types.h"

namespace nvium {
namespace {

// log p_k and p_k of one row, from its router differences d_1 … d_{N-1} (SPEC §5.2).
void exit_law(const float* d, uint32_t exits, float* log_p, float* p) {
  float stay = 0, remaining = 1;
  for (uint32_t k = 0; k + 1 < exits; k++) {
    log_p[k] = numerics::log_sigmoid(d[k]) + stay;
    stay += numerics::log_sigmoid(-d[k]);
    p[k] = remaining * numerics::sigmoid(d[k]);
    remaining = numerics::stays(remaining, d[k]);
  }
  log_p[exits - 1] = stay;
  p[exits - 1] = remaining;
}

}  // namespace

void evaluate(Model& model, Sequence& sequence, const Control& control, const Evaluation& out) {
  const Plan& plan = model.plan();
  Backend& backend = model.backend();
  const uint32_t exits = plan.segments(), vocab = plan.vocab_size, total = sequence.length;
  const bool wants_logits = out.exit_logits != nullptr || out.mixture_log_probs != nullptr;
  model.reserve_exits(kEvaluateRows, kEvaluateRows);
  Buffer logits(backend, wants_logits ? size_t(exits) * kEvaluateRows * vocab * sizeof(float) : 0);
  Buffer mixture(backend, out.mixture_log_probs != nullptr
                              ? size_t(kEvaluateRows) * vocab * sizeof(float)
                              : 0);
  std::vector<std::byte*> blocks;
  model.add_blocks(sequence, blocks);
  for (uint32_t begin = 0; begin < total; begin += kEvaluateRows) {
    control.check();
    const uint32_t rows = std::min(kEvaluateRows, total - begin);
    const Span span{begin, begin + rows, 0, blocks.data()};
    model.embed(std::span(sequence.tokens).subspan(begin, rows));
    std::vector<float> differences(rows * (exits - 1)), scores(2 * rows);
    for (uint32_t m = 0; m < exits; m++) {
      model.run_segment(m, {&span, 1}, rows);
      if (m + 1 < exits) {
        model.route(m, model.hidden(), rows, scores.data());
        for (const float score : scores) {
          if (!numerics::is_finite(score)) throw Model::not_finite("router", m);
        }
        for (uint32_t r = 0; r < rows; r++) {
          differences[r * (exits - 1) + m] =
              numerics::difference(scores[2 * r], scores[2 * r + 1], plan.router_temperature);
        }
      }
      if (!wants_logits) continue;
      float* to = logits.floats() + size_t(m) * rows * vocab;
      model.logits(m, model.hidden(), rows, to);
      if (out.exit_logits != nullptr) {
        backend.read(out.exit_logits + (size_t(m) * total + begin) * vocab, to,
                     size_t(rows) * vocab * sizeof(float));
      }
    }
    std::vector<float> log_p(size_t(exits) * rows), row_log_p(exits), row_p(exits);
    for (uint32_t r = 0; r < rows; r++) {
      exit_law(differences.data() + r * (exits - 1), exits, row_log_p.data(), row_p.data());
      for (uint32_t k = 0; k < exits; k++) {
        log_p[k * rows + r] = row_log_p[k];
        if (out.exit_probs != nullptr) {
          out.exit_probs[(size_t(begin) + r) * exits + k] = row_p[k];
        }
      }
    }
    if (out.mixture_log_probs == nullptr) continue;
    backend.mix({exits, rows, vocab, logits.floats(), log_p.data(), mixture.floats()});
    backend.read(out.mixture_log_probs + size_t(begin) * vocab, mixture.data(),
                 size_t(rows) * vocab * sizeof(float));
  }
}

}  // namespace nvium
