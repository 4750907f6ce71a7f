#include "step.h"

#include <algorithm>

#include "../numerics/cascade.h"

namespace nvium {
namespace {

constexpr uint32_t kUndecided = UINT32_MAX;

// One sequence on its way up.
struct Climb {
  Sequence* sequence;
  const StepOptions* options;
  uint32_t top = 0;  // the deepest segment that must run whatever the routers say, 0-based
  uint32_t exit = kUndecided;  // segment the token left at, 0-based
  uint32_t token = 0;
  float remaining = 1;  // R: probability of having stayed so far
  uint32_t uniform;     // the cascade's draw for this position
};

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

bool leaves(Climb& climb, float stay, float go, float router_temp) {
  if (climb.options->router_temperature == 0) return numerics::leaves_greedily(stay, go);
  const float d = numerics::difference(stay, go, router_temp * climb.options->router_temperature);
  climb.remaining = numerics::stays(climb.remaining, d);
  return numerics::leaves(climb.uniform, climb.remaining);
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

// Moves rows `kept` (ascending) of the exit rows to the front.
void keep_rows(Model& model, std::span<const uint32_t> kept) {
  for (uint32_t i = 0; i < kept.size(); i++) model.move_exit_row(kept[i], i);
}

}  // namespace

void step(Model& model, std::span<Sequence> sequences, std::span<const StepOptions> options,
          const Control& control, std::span<StepResult> results) {
  const Plan& plan = model.plan();
  const uint32_t last = plan.segments() - 1;
  const LastTokenWaits waits{sequences};
  std::vector<Climb> climbs;
  for (size_t i = 0; i < sequences.size(); i++) {
    Sequence& s = sequences[i];
    // The new tokens are appended to all sequences or to none: room for them is made first.
    make_room(s.tokens);
    make_room(s.generated);
    Climb climb{&s, &options[i]};
    climb.top = deepest_overdue(s, options[i].max_pending);
    climb.uniform = numerics::uniform(s.seed, s.stream, s.length);
    climbs.push_back(climb);
  }

  std::vector<Climb*> undecided, leaving;
  std::vector<Advance> spans;
  std::vector<uint32_t> kept, tokens;
  std::vector<float> scores;
  std::vector<Draw> draws;
  for (uint32_t m = 0; m <= last; m++) {
    spans.clear(), undecided.clear(), kept.clear(), leaving.clear(), draws.clear();
    for (Climb& c : climbs) {
      if (c.exit != kUndecided && c.top < m) continue;
      if (c.exit == kUndecided) {
        undecided.push_back(&c);
        kept.push_back(uint32_t(spans.size()));
      }
      const Sequence& s = *c.sequence;
      spans.push_back({c.sequence, s.frontiers[m], m == 0 ? s.length : s.frontiers[m - 1]});
    }
    if (spans.empty()) break;
    model.advance(m, spans, control);
    if (undecided.empty()) continue;
    keep_rows(model, kept);

    kept.clear();
    if (m < last) {
      scores.resize(2 * undecided.size());
      model.route(m, model.exit_rows(), uint32_t(undecided.size()), scores.data());
    }
    for (uint32_t i = 0; i < undecided.size(); i++) {
      Climb& c = *undecided[i];
      if (m < last && !leaves(c, scores[2 * i], scores[2 * i + 1], plan.router_temperature)) {
        continue;
      }
      c.exit = m;
      leaving.push_back(&c);
      kept.push_back(i);
      draws.push_back({c.options->temperature, c.options->top_k, c.sequence->seed,
                       c.sequence->stream, c.sequence->length});
    }
    if (leaving.empty()) continue;
    keep_rows(model, kept);
    tokens.resize(leaving.size());
    model.emit(m, model.exit_rows(), draws, tokens.data());
    for (size_t i = 0; i < leaving.size(); i++) leaving[i]->token = tokens[i];
  }

  for (size_t i = 0; i < climbs.size(); i++) {
    const Climb& c = climbs[i];
    Sequence& s = *c.sequence;
    const uint32_t token = c.options->force.value_or(c.token);
    results[i] = {token, c.token, c.exit + 1, plan.segment_end(std::max(c.exit, c.top))};
    s.tokens.push_back(token);
    s.generated.push_back(1);
    s.length++;
  }
}

void flush(Model& model, std::span<Sequence> sequences, const Control& control) {
  std::vector<Advance> spans;
  for (uint32_t m = 0; m < model.plan().segments(); m++) {
    spans.clear();
    for (Sequence& s : sequences) {
      if (s.length == 0) continue;
      spans.push_back({&s, s.frontiers[m], m == 0 ? s.length - 1 : s.frontiers[m - 1]});
    }
    model.advance(m, spans, control);
  }
}

}  // namespace nvium
