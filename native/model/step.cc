#include "step.h"

#include <algorithm>

#include "../numerics/cascade.h"
#include "../numerics/types.h"

namespace nvium {
namespace {

constexpr uint32_t kUndecided = UINT32_MAX;

// Tuning; no bit depends on these.
constexpr uint32_t kDecodeRows = 32;  // more rows of one sequence that wait are taken in pieces
constexpr uint32_t kPromptRows = 8;   // likewise rows of a prompt
constexpr uint32_t kHeadRows = 64;    // rows of logits there is room for

// A boundary is overdue when `max_pending` generated rows wait there as the step begins.
uint32_t deepest_overdue(const Request& request) {
  const Sequence& s = request.sequence;
  if (request.max_pending == UINT32_MAX) return 0;
  for (uint32_t m = uint32_t(s.frontiers.size()) - 1; m > 0; m--) {
    const uint32_t end = std::min(s.frontiers[m - 1], s.rows_given());
    if (s.generated_in(std::min(s.frontiers[m], end), end) >= request.max_pending) return m;
  }
  return 0;
}

bool leaves(const Plan& plan, Request& request, uint32_t uniform, float stay, float go) {
  const float temperature = request.law.router_temperature;
  if (temperature == 0) return numerics::leaves_greedily(stay, go);
  const float d = numerics::difference(stay, go, plan.router_temperature * temperature);
  request.remaining = numerics::stays(request.remaining, d);
  return numerics::leaves(uniform, request.remaining);
}

// Room for one more, growing as push_back does.
template <class T>
void make_room(std::vector<T>& v) {
  if (v.size() == v.capacity()) v.reserve(std::max<size_t>(16, 2 * v.size()));
}

Work difference(const Work& now, const Work& before, size_t sharers) {
  const double share = 1.0 / double(sharers);
  return {(now.layer_passes - before.layer_passes) * share, 0,
          (now.weight_bytes - before.weight_bytes) * share};
}

}  // namespace

bool Cascade::Climb::undecided() const { return exit == kUndecided; }

uint32_t Cascade::Climb::depth() const {
  const auto& f = sequence().frontiers;
  uint32_t m = 0;
  while (m < f.size() && f[m] == sequence().length) m++;
  return m;
}

uint32_t Cascade::Climb::waiting_end(uint32_t m) const {
  const Sequence& s = sequence();
  return m == 0 ? s.rows_given() : std::min(s.frontiers[m - 1], s.rows_given());
}

uint32_t Cascade::Climb::waiting(uint32_t m) const {
  const uint32_t end = waiting_end(m), frontier = sequence().frontiers[m];
  return end > frontier ? end - frontier : 0;
}

bool Cascade::Climb::bulky(uint32_t m) const {
  const Sequence& s = sequence();
  const uint32_t rows = waiting(m);
  if (rows == 0 || rows > kDecodeRows) return rows > 0;
  return rows - s.generated_in(s.frontiers[m], s.frontiers[m] + rows) > kPromptRows;
}

uint32_t Cascade::Climb::stays_before() const {
  const uint32_t segments = uint32_t(sequence().frontiers.size());
  if (!going() || !undecided()) return segments;
  if (!held) return bulky(depth()) ? depth() : segments;
  uint32_t m = 0;
  while (m <= overdue && waiting(m) == 0) m++;
  return m <= overdue ? m : segments;
}

bool Cascade::Climb::arrives(uint32_t m) const { return undecided() && !held && depth() == m; }

bool Cascade::over(const Limits& limits) const {
  return worked_ && std::chrono::steady_clock::now() >= limits.deadline;
}

void Cascade::run(std::span<Request> requests, const Limits& limits) {
  worked_ = served_ = false;
  try {
    while (true) {
      begin(requests);
      if (climbs_.empty()) return;
      if (over(limits)) {
        for (Climb& c : climbs_) c.request->end(Stop::deadline);
        return;
      }
      step(limits);
    }
  } catch (...) {
    for (Request& r : requests) {
      if (r.stop == Stop::none) r.end(Stop::failed);
    }
    throw;
  }
}

// The requests that go on, and what is overdue as the step begins.
void Cascade::begin(std::span<Request> requests) {
  const uint32_t last = model_.plan().segments() - 1;
  climbs_.clear();
  decoding_ = false;
  for (Request& r : requests) {
    if (r.stop != Stop::none) continue;
    Sequence& s = r.sequence;
    const bool flush = r.count == 0;
    if (!r.look()) continue;
    if (flush && s.frontiers.back() >= s.rows_given()) {
      r.end(Stop::count);
      continue;
    }
    if (!flush && s.length >= r.capacity) {
      r.end(Stop::capacity);
      continue;
    }
    // Room for what the step leaves: from its draw on nothing may fail until it is recorded.
    make_room(s.tokens);
    make_room(s.generated);
    make_room(r.steps);
    Climb c{.request = &r,
            .overdue = flush ? last : deepest_overdue(r),
            .held = flush,
            .crowded = false,
            .passing = false,
            .exit = kUndecided,
            .row = 0,
            .uniform = numerics::uniform(s.seed, s.stream, s.length)};
    for (uint32_t m = 0; m <= c.overdue && c.overdue > 0; m++) c.crowded |= c.bulky(m);
    decoding_ |= !c.held && !c.crowded && !c.bulky(c.depth());
    climbs_.push_back(c);
  }
  if (decoding_) {
    for (Climb& c : climbs_) c.held |= c.crowded;
  }
  const auto waits = [&](const Climb& c) { return c.stays_before() <= last; };
  const auto found = std::find_if(climbs_.begin(), climbs_.end(), waits);
  oldest_ = found == climbs_.end() ? nullptr : &*found;
}

void Cascade::step(const Limits& limits) {
  const uint32_t segments = model_.plan().segments(), count = uint32_t(climbs_.size());
  model_.reserve_exits(segments * count, std::min(count, kHeadRows));
  exit_rows_ = 0;
  bulk_left_ = double(limits.prompt_rows) * model_.plan().layers;
  for (uint32_t m = 0; m < segments; m++) {
    while (collect(m, limits)) pass(m);
  }
  draw();
}

// Who goes through segment m in its next pass, with which rows; nobody if none has to.
bool Cascade::collect(uint32_t m, const Limits& limits) {
  const Plan& plan = model_.plan();
  const uint32_t layers = plan.segment_end(m) - plan.segment_begin(m);
  advances_.clear(), passing_.clear();
  uint32_t rows = 0;
  const auto take = [&](Climb& c, uint32_t end) {
    const uint32_t begin = c.sequence().frontiers[m];
    const bool own = c.undecided() && end == c.sequence().length;
    advances_.push_back({&c.sequence(), begin, end, own ? exit_rows_++ : kNoExitRow});
    passing_.push_back(&c);
    c.passing = true;
    rows += end - begin;
  };
  for (Climb& c : climbs_) {
    c.passing = false;
    if (!c.going() || !c.request->look()) continue;
    const Sequence& s = c.sequence();
    const bool overdue = !c.undecided() && m <= c.overdue && s.frontiers[m] < s.length;
    if (!overdue && (!c.arrives(m) || c.bulky(m))) continue;
    if (rows + s.length - s.frontiers[m] <= Model::kPassRows) {
      take(c, s.length);
    } else if (rows == 0) {
      take(c, s.frontiers[m] + Model::kPassRows);
    }
  }
  // Rows of prompts, and whatever else waits in such numbers.
  const bool late = !decoding_ && over(limits);
  for (Climb& c : climbs_) {
    if (c.passing || !c.going()) continue;
    const bool arrives = c.arrives(m) && c.bulky(m);
    if (!arrives && !(c.held && m <= c.overdue)) continue;
    // Whoever has waited longest goes on in every call, however late it is.
    const bool first = &c == oldest_;
    if (late && (!first || served_)) continue;
    const uint32_t room = Model::kPassRows - rows;
    uint32_t some = std::min(c.waiting(m), room);
    if (decoding_) {
      const double left = bulk_left_ - (first ? 0 : kept_for_oldest(m));
      some = uint32_t(std::min<double>(some, left / layers));
    }
    if (some == 0) continue;
    const uint32_t end = c.sequence().frontiers[m] + some;
    take(c, end + (arrives && end == c.waiting_end(m) && room > some));
    served_ |= first;
    if (decoding_) bulk_left_ -= double(some) * layers;
  }
  if (advances_.empty()) return false;
  // The weights are read in any case: a few rows more cost no bytes.
  const uint32_t cheap = model_.backend().cheap_rows();
  for (Climb& c : climbs_) {
    if (rows >= cheap) break;
    if (c.passing || !c.going() || c.waiting(m) == 0) continue;
    take(c, c.sequence().frontiers[m] + std::min(c.waiting(m), cheap - rows));
  }
  return true;
}

// What of bulk_left_ is not for others in segment m: the oldest has yet to come to its own.
double Cascade::kept_for_oldest(uint32_t m) const {
  const Plan& plan = model_.plan();
  const uint32_t at = oldest_ == nullptr ? plan.segments() : oldest_->stays_before();
  if (at <= m || at == plan.segments()) return 0;
  const double layers = plan.segment_end(at) - plan.segment_begin(at);
  return std::min(bulk_left_, oldest_->waiting(at) * layers);
}

void Cascade::pass(uint32_t m) {
  const Plan& plan = model_.plan();
  const double layers = plan.segment_end(m) - plan.segment_begin(m);
  const Work before = model_.work();
  model_.pass(m, advances_);
  worked_ = true;
  const Work share = difference(model_.work(), before, advances_.size());
  arrived_.clear();
  for (size_t i = 0; i < advances_.size(); i++) {
    const Advance& a = advances_[i];
    Climb& c = *passing_[i];
    c.request->work += share;
    c.request->work.layer_rows += layers * (a.end - a.begin);
    if (!a.finite) {
      c.request->fail(Model::not_finite("segment", m));
    } else if (a.exit_row != kNoExitRow) {
      c.row = a.exit_row;
      arrived_.push_back(&c);
    }
  }
  // Neighbouring exit rows together; one that failed may have left a gap.
  for (size_t begin = 0, end = 0; begin < arrived_.size(); begin = end) {
    do end++;
    while (end < arrived_.size() && arrived_[end]->row == arrived_[end - 1]->row + 1);
    decide(m, std::span(arrived_).subspan(begin, end - begin));
  }
}

// Routes the rows, which lie side by side.
void Cascade::decide(uint32_t m, std::span<Climb* const> arrived) {
  const Plan& plan = model_.plan();
  const bool last = m + 1 == plan.segments();
  if (!last) {
    const Work before = model_.work();
    scores_.resize(2 * arrived.size());
    model_.route(m, model_.exit_row(arrived[0]->row), uint32_t(arrived.size()), scores_.data());
    const Work share = difference(model_.work(), before, arrived.size());
    for (Climb* c : arrived) c->request->work += share;
  }
  for (size_t i = 0; i < arrived.size(); i++) {
    Climb& c = *arrived[i];
    if (!last) {
      const float stay = scores_[2 * i], go = scores_[2 * i + 1];
      if (!numerics::is_finite(stay) || !numerics::is_finite(go)) {
        c.request->fail(Model::not_finite("router", m));
        continue;
      }
      if (!leaves(plan, *c.request, c.uniform, stay, go)) continue;
    }
    c.exit = m;
  }
}

// A token for everyone who has left, at whatever exit.
void Cascade::draw() {
  leaving_.clear();
  for (size_t i = 0; i < climbs_.size(); i++) {
    const Climb& c = climbs_[i];
    if (c.undecided() || !c.going()) continue;
    const Law& law = c.request->law;
    const Sequence& s = c.sequence();
    leaving_.push_back({.exit = c.exit,
                        .row = c.row,
                        .draw = {law.temperature, law.top_k, s.seed, s.stream, s.length},
                        .owner = uint32_t(i)});
  }
  if (leaving_.empty()) return;
  const Work before = model_.work();
  model_.emit(leaving_);
  const Work share = difference(model_.work(), before, leaving_.size());
  for (const Leaving& l : leaving_) {
    Climb& c = climbs_[l.owner];
    c.request->work += share;
    if (l.token == kNoToken) {
      c.request->fail(Model::not_finite("head", c.exit));
    } else {
      append(c, l.token);
    }
  }
}

void Cascade::append(const Climb& c, uint32_t drawn) {
  Request& r = *c.request;
  Sequence& s = r.sequence;
  const uint32_t token = r.force.value_or(drawn);
  s.tokens.push_back(token);
  s.generated.push_back(1);
  s.length++;
  r.steps.push_back({.token = token,
                     .drawn = drawn,
                     .exit = c.exit + 1,
                     .layers_run = model_.plan().segment_end(std::max(c.exit, c.overdue)),
                     .pending = s.frontiers.front() - s.frontiers.back(),
                     .work = std::exchange(r.work, {})});
  r.remaining = 1;
  const auto& stops = r.stop_tokens;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) {
    r.end(Stop::token);
  } else if (r.steps.size() == r.count) {
    r.end(Stop::count);
  }
}

}  // namespace nvium
