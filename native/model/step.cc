#include "step.h"

#include <algorithm>

#include "../numerics/cascade.h"

namespace nvium {
namespace {

constexpr uint32_t kUndecided = UINT32_MAX;

// A boundary is overdue when `max_pending` generated rows wait there as the step begins.
uint32_t deepest_overdue(const Sequence& s, uint32_t max_pending) {
  for (uint32_t m = uint32_t(s.frontiers.size()) - 1; m > 0; m--) {
    if (max_pending != UINT32_MAX &&
        s.generated_in(s.frontiers[m], s.frontiers[m - 1]) >= max_pending) {
      return m;
    }
  }
  return 0;
}

// However a step ends, the last token of every sequence is the next step's row: n - 1 >= f_1. A
// step that failed may have taken it through some segments; it goes through them again and writes
// the same.
struct LastTokenWaits {
  std::span<Sequence> sequences;

  ~LastTokenWaits() {
    for (Sequence& s : sequences) {
      for (uint32_t& f : s.frontiers) f = std::min(f, std::max(s.length, 1u) - 1);
    }
  }
};

// Room for one more, growing as push_back does.
template <class T>
void make_room(std::vector<T>& v) {
  if (v.size() == v.capacity()) v.reserve(std::max<size_t>(16, 2 * v.size()));
}

}  // namespace

bool Cascade::leaves(Climb& climb, float stay, float go) const {
  const float temperature = climb.options->router_temperature;
  if (temperature == 0) return numerics::leaves_greedily(stay, go);
  const float d = numerics::difference(stay, go, model_.plan().router_temperature * temperature);
  climb.remaining = numerics::stays(climb.remaining, d);
  return numerics::leaves(climb.uniform, climb.remaining);
}

// Moves the exit rows kept_ (ascending) to the front.
void Cascade::keep_rows() {
  for (uint32_t i = 0; i < kept_.size(); i++) model_.move_exit_row(kept_[i], i);
}

void Cascade::step(std::span<Sequence> sequences, std::span<const StepOptions> options,
                   const Control& control, std::span<StepResult> results) {
  const Plan& plan = model_.plan();
  const uint32_t last = plan.segments() - 1;
  const LastTokenWaits waits{sequences};
  climbs_.clear();
  for (size_t i = 0; i < sequences.size(); i++) {
    Sequence& s = sequences[i];
    // The new tokens are appended to all sequences or to none: room for them is made first.
    make_room(s.tokens);
    make_room(s.generated);
    climbs_.push_back({.sequence = &s,
                       .options = &options[i],
                       .top = deepest_overdue(s, options[i].max_pending),
                       .exit = kUndecided,
                       .token = 0,
                       .remaining = 1,
                       .uniform = numerics::uniform(s.seed, s.stream, s.length)});
  }

  for (uint32_t m = 0; m <= last; m++) {
    spans_.clear(), undecided_.clear(), kept_.clear(), leaving_.clear(), draws_.clear();
    for (Climb& c : climbs_) {
      if (c.exit != kUndecided && c.top < m) continue;
      if (c.exit == kUndecided) {
        undecided_.push_back(&c);
        kept_.push_back(uint32_t(spans_.size()));
      }
      const Sequence& s = *c.sequence;
      spans_.push_back({c.sequence, s.frontiers[m], m == 0 ? s.length : s.frontiers[m - 1]});
    }
    if (spans_.empty()) break;
    model_.advance(m, spans_, control);
    if (undecided_.empty()) continue;
    keep_rows();

    kept_.clear();
    if (m < last) {
      scores_.resize(2 * undecided_.size());
      model_.route(m, model_.exit_rows(), uint32_t(undecided_.size()), scores_.data());
    }
    for (uint32_t i = 0; i < undecided_.size(); i++) {
      Climb& c = *undecided_[i];
      if (m < last && !leaves(c, scores_[2 * i], scores_[2 * i + 1])) {
        continue;
      }
      c.exit = m;
      leaving_.push_back(&c);
      kept_.push_back(i);
      draws_.push_back({c.options->temperature, c.options->top_k, c.sequence->seed,
                        c.sequence->stream, c.sequence->length});
    }
    if (leaving_.empty()) continue;
    keep_rows();
    tokens_.resize(leaving_.size());
    model_.emit(m, model_.exit_rows(), draws_, tokens_.data());
    for (size_t i = 0; i < leaving_.size(); i++) leaving_[i]->token = tokens_[i];
  }

  for (size_t i = 0; i < climbs_.size(); i++) {
    const Climb& c = climbs_[i];
    Sequence& s = *c.sequence;
    const uint32_t token = c.options->force.value_or(c.token);
    results[i] = {token, c.token, c.exit + 1, plan.segment_end(std::max(c.exit, c.top))};
    s.tokens.push_back(token);
    s.generated.push_back(1);
    s.length++;
  }
}

void Cascade::flush(std::span<Sequence> sequences, const Control& control) {
  for (uint32_t m = 0; m < model_.plan().segments(); m++) {
    spans_.clear();
    for (Sequence& s : sequences) {
      if (s.length == 0) continue;
      spans_.push_back({&s, s.frontiers[m], m == 0 ? s.length - 1 : s.frontiers[m - 1]});
    }
    model_.advance(m, spans_, control);
  }
}

}  // namespace nvium
