// Many sequences in one call: each has the tokens, exits, keys and values it has alone, whoever is
// beside it, wherever a call ends and whatever becomes of the others.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "small_model.h"
#include "testing.h"

namespace {

using namespace nvium;
using namespace nvium::small;

constexpr auto kNow = std::chrono::steady_clock::time_point::min();
constexpr uint32_t kTokens = 14;  // drawn for each sequence

// What is asked for a sequence, and what it gives alone.
struct Text {
  std::vector<uint32_t> prompt;
  uint64_t seed;
  Law law = {};
  uint32_t max_pending = 15;
  std::vector<uint32_t> tokens = {}, exits = {};
  std::vector<std::byte> cache = {};

  uint32_t length() const { return uint32_t(prompt.size()) + kTokens; }
};

constexpr uint32_t kPrompts[] = {1, 5, 63, 64, 65, 2, 130, 33, 270, 17};
const Law kLaws[] = {{}, {0.7f, 5, 1}, {1, 0, 0}, {0, 0, 1.5f}};
constexpr uint32_t kPending[] = {15, 0, 3, UINT32_MAX, 1};

Request make_request(World& world, const Text& text, uint32_t tokens = kTokens) {
  Sequence s = world.sequence(text.prompt, text.seed);
  world.reserve({&s, 1}, tokens);
  Request r;
  r.sequence = std::move(s);
  r.law = text.law;
  r.max_pending = text.max_pending;
  r.capacity = uint32_t(text.prompt.size()) + tokens;
  return r;
}

// The same request again, with `count` tokens or a flush.
void ask(Request& r, uint32_t count) {
  r.count = count;
  r.stop = Stop::none;
  r.failure = {};
  r.steps.clear();
}

// As lib/cache leaves a sequence whose request ends while its row is under way.
void settle(Request& r) {
  r.remaining = 1;
  for (uint32_t& f : r.sequence.frontiers) f = std::min(f, r.sequence.rows_given());
}

std::vector<Text> make_texts(const Plan& plan, uint32_t count = 10) {
  World world(plan, 1, false);
  std::vector<Text> texts;
  for (uint32_t i = 0; i < count; i++) {
    Text text{.prompt = prompt(kPrompts[i % std::size(kPrompts)]),
              .seed = i,
              .law = kLaws[i % std::size(kLaws)],
              .max_pending = kPending[i % std::size(kPending)]};
    Request r = make_request(world, text);
    r.max_pending = 0;  // nothing ever waits
    while (r.sequence.length < text.length()) {
      ask(r, 1);
      world.run({&r, 1});
      text.exits.push_back(r.steps.at(0).exit);
    }
    ask(r, 0);
    world.run({&r, 1});
    text.tokens = r.sequence.tokens;
    text.cache = world.cache_bits(r.sequence);
    texts.push_back(std::move(text));
  }
  return texts;
}

const std::vector<Text>& texts() {
  static const std::vector<Text> made = make_texts(make_plan(StoredType::bf16));
  return made;
}

// A sequence among others.
struct Member {
  Request request;
  const Text* text;
  std::vector<uint32_t> exits;
  bool under_way = false;  // its last call ended by the deadline

  uint32_t length() const { return request.sequence.length; }
  bool complete() const { return length() == text->length(); }
};

std::vector<Member> make_members(World& world, const std::vector<Text>& texts, uint32_t count) {
  std::vector<Member> members;
  for (uint32_t i = 0; i < count; i++) {
    const Text& text = texts[i % texts.size()];
    members.push_back({make_request(world, text), &text, {}});
  }
  return members;
}

// Runs one call for some of the members, which are given back.
void run(World& world, std::span<Member*> members, const Limits& limits = {}) {
  std::vector<Request> requests;
  for (Member* m : members) requests.push_back(std::move(m->request));
  world.run(requests, limits);
  for (size_t i = 0; i < requests.size(); i++) {
    Member& m = *members[i];
    m.request = std::move(requests[i]);
    for (const StepResult& step : m.request.steps) m.exits.push_back(step.exit);
    m.under_way = m.request.stop == Stop::deadline;
  }
}

std::vector<Member*> all_of(std::vector<Member>& members) {
  std::vector<Member*> list;
  for (Member& m : members) list.push_back(&m);
  return list;
}

void check_call(const Request& r, const Limits& limits) {
  const Sequence& s = r.sequence;
  CHECK(r.count == 0 ? r.steps.empty() : r.steps.size() <= r.count);
  CHECK(s.length <= r.capacity);
  const auto stops = [&](uint32_t token) {
    return std::find(r.stop_tokens.begin(), r.stop_tokens.end(), token) != r.stop_tokens.end();
  };
  for (size_t i = 0; i < r.steps.size(); i++) {
    CHECK_EQ(stops(r.steps[i].token), r.stop == Stop::token && i + 1 == r.steps.size());
  }
  switch (r.stop) {
    case Stop::count:
      CHECK_EQ(r.steps.size(), size_t(r.count));
      CHECK(r.count > 0 || s.frontiers.back() >= s.rows_given());
      break;
    case Stop::token:
      CHECK(!r.steps.empty());
      break;
    case Stop::capacity:
      CHECK_EQ(s.length, r.capacity);
      break;
    case Stop::deadline:
      CHECK(limits.deadline == kNow);
      break;
    default:
      CHECK(false);
  }
  CHECK(s.frontiers[0] <= (r.stop == Stop::deadline ? s.length : s.rows_given()));
  for (size_t m = 1; m < s.frontiers.size(); m++) CHECK(s.frontiers[m] <= s.frontiers[m - 1]);
}

// All at full depth, then what they are must be what they are alone.
void check_all(World& world, std::vector<Member>& members) {
  std::vector<Member*> all = all_of(members);
  for (Member* m : all) {
    if (m->under_way) settle(m->request);
    m->request.stop_tokens.clear();
    ask(m->request, 0);
  }
  run(world, all);
  for (const Member& m : members) {
    CHECK(m.request.sequence.tokens == m.text->tokens);
    CHECK(m.exits == m.text->exits);
    CHECK(world.cache_bits(m.request.sequence) == m.text->cache);
  }
}

// Steps of all together until every text is complete.
void complete(World& world, std::vector<Member>& members, uint32_t count = 1) {
  while (true) {
    std::vector<Member*> going;
    for (Member& m : members) {
      if (!m.complete()) going.push_back(&m);
    }
    if (going.empty()) return check_all(world, members);
    for (Member* m : going) {
      if (m->under_way) settle(m->request);
      ask(m->request, count);
    }
    run(world, going);
    for (const Member* m : going) check_call(m->request, {});
  }
}

// Random calls: some join, some leave, now with time and now without, for a token or for several,
// with a stop token or a flush between. Returns how often a row was half way up when a call ended.
uint32_t at_random(World& world, std::vector<Member>& members, uint32_t seed) {
  std::mt19937 engine(seed);
  const auto below = [&](uint32_t n) { return uint32_t(engine() % n); };
  uint32_t ended_under_way = 0, calls = 0;
  while (std::any_of(members.begin(), members.end(), [](auto& m) { return !m.complete(); })) {
    if (calls++ == 5000) {
      CHECK(false);
      break;
    }
    Limits limits;
    constexpr uint32_t kRows[] = {1, 3, 32, 1000};
    limits.prompt_rows = kRows[below(4)];
    if (below(8) > 0) limits.deadline = kNow;
    std::vector<Member*> some;
    for (Member& m : members) {
      if (below(3) == 0) continue;
      const bool leaves = below(6) == 0;
      if (!m.under_way || leaves) {
        if (m.under_way) settle(m.request);
        m.request.stop_tokens.clear();
        if (below(4) == 0 && !m.complete()) {
          const uint32_t ahead = std::min(m.length() + below(4), m.text->length() - 1);
          m.request.stop_tokens = {m.text->tokens[ahead]};
        }
        ask(m.request, below(8) == 0 ? 0 : 1 + below(6));
      } else {
        ask(m.request, m.request.count);
      }
      some.push_back(&m);
    }
    run(world, some, limits);
    for (const Member* m : some) {
      check_call(m->request, limits);
      ended_under_way += m->under_way && m->request.sequence.frontiers[0] == m->length();
    }
  }
  check_all(world, members);
  return ended_under_way;
}

// Every exit's head for itself, or one for all, or no adapters before them.
Plan with_own_heads() {
  Plan plan = make_plan(StoredType::f32);
  const TensorPlan head = plan.tensors[plan.final.head];
  for (ExitPlan& exit : plan.exits) {
    exit.outlet.head = TensorIndex(plan.tensors.size());
    plan.tensors.push_back(head);
    plan.tensors.back().offset = exit.outlet.head;
  }
  return plan;
}

Plan with_one_head() {
  Plan plan = make_plan(StoredType::f32);
  plan.final.head = plan.embedding;
  return plan;
}

Plan without_adapters() {
  Plan plan = with_one_head();
  for (ExitPlan& exit : plan.exits) exit.outlet.adapter = {};
  return plan;
}

// Draws a step of many makes, and how many tokens came out of them.
struct Draws {
  size_t passes = 0, rows = 0;
};

Draws draws_of_a_step(const Plan& plan, uint32_t sequences) {
  World world(plan, 1, false);
  std::vector<Request> requests;
  for (uint32_t i = 0; i < sequences; i++) {
    requests.push_back(make_request(world, {.prompt = prompt(2 + i % 5), .seed = i}));
    ask(requests.back(), 0);
  }
  world.run(requests);
  Draws draws;
  world.spy.drawn = [&](std::span<const Draw> list, uint32_t*) {
    draws.passes++;
    draws.rows += list.size();
  };
  for (Request& r : requests) ask(r, 1);
  world.run(requests);
  std::vector<uint32_t> seen(plan.segments());
  for (const Request& r : requests) seen[r.steps.at(0).exit - 1]++;
  for (const uint32_t count : seen) CHECK(count > 0);
  return draws;
}

// Spoils what attention makes of positions from `from` on, and what it has written for them.
void spoil(const Attention& a, uint32_t from) {
  for (const Span& span : a.spans) {
    if (span.end <= from) continue;
    a.output[size_t(span.first_row) * a.shape.query_width()] =
        std::numeric_limits<float>::infinity();
    const uint32_t p = span.end - 1;
    std::byte* values =
        span.blocks[p / kBlockPositions] + a.layer * a.shape.layer_bytes() + a.shape.key_bytes();
    reinterpret_cast<uint16_t*>(values)[tile_index(a.shape.type, 0, p % kBlockPositions)] = 0x7fc0;
  }
}

}  // namespace

TEST(sequences_of_a_batch_have_the_bits_they_have_alone) {
  for (const uint32_t threads : {1u, 2u}) {
    for (const uint32_t size : {1u, 2u, 3u, 8u, 33u}) {
      World world(make_plan(StoredType::bf16), threads, false);
      std::vector<Member> members = make_members(world, texts(), size);
      complete(world, members, threads == 1 ? 1 : 5);
    }
  }
}

TEST(joins_leaves_and_deadlines_change_no_bit) {
  uint32_t under_way = 0;
  for (const uint32_t size : {1u, 2u, 3u, 8u, 33u}) {
    for (uint32_t seed = 0; seed < 3; seed++) {
      World world(make_plan(StoredType::bf16), 1 + seed % 2, false);
      std::vector<Member> members = make_members(world, texts(), size);
      under_way += at_random(world, members, 100 * size + seed);
    }
  }
  CHECK(under_way > 0);
}

TEST(more_sequences_than_rows_of_a_pass_change_no_bit) {
  World world(make_plan(StoredType::bf16), 2, false);
  std::vector<Member> members = make_members(world, texts(), Model::kPassRows + 44);
  complete(world, members, 3);
}

TEST(models_with_other_outlets_change_no_bit) {
  for (const Plan& plan : {with_own_heads(), with_one_head(), without_adapters()}) {
    const std::vector<Text> own = make_texts(plan);
    World world(plan, 2, false);
    std::vector<Member> members = make_members(world, own, 13);
    at_random(world, members, 7);
  }
}

TEST(heads_that_share_a_matrix_take_tokens_of_all_their_exits_in_one_pass) {
  for (const uint32_t sequences : {20u, 33u}) {
    const Draws two = draws_of_a_step(make_plan(StoredType::f32), sequences);
    const Draws one = draws_of_a_step(with_one_head(), sequences);
    const Draws own = draws_of_a_step(with_own_heads(), sequences);
    for (const Draws& draws : {two, one, own}) CHECK_EQ(draws.rows, size_t(sequences));
    CHECK_EQ(two.passes, 2u);  // that of the last exit is another
    CHECK_EQ(one.passes, 1u);
    CHECK_EQ(own.passes, 3u);
  }
}

TEST(a_call_without_time_does_something_and_leaves_the_rest_to_the_next) {
  World world(make_plan(StoredType::bf16), 1, false);
  std::vector<Member> members = make_members(world, texts(), 10);
  std::vector<Member*> all = all_of(members);
  for (Member* m : all) ask(m->request, 1);
  while (!all.empty()) {
    const auto positions = [&] {
      uint64_t sum = 0;
      for (const Member& m : members) {
        for (const uint32_t f : m.request.sequence.frontiers) sum += f;
        sum += m.length();
      }
      return sum;
    };
    const uint64_t before = positions();
    for (Member* m : all) ask(m->request, 1);
    run(world, all, {.prompt_rows = 4, .deadline = kNow});
    CHECK(positions() > before);
    std::erase_if(all, [](const Member* m) { return !m->under_way; });
  }
  for (const Member& m : members) CHECK_EQ(m.exits.size(), 1u);
  complete(world, members);
}

// Steps of sequences that decode, a call each without time, and prompts among them, oldest first.
// Returns calls until the first of the prompts has its token.
uint32_t calls_until_a_token(uint32_t decoding, bool more_arrive) {
  constexpr uint32_t kRows = 32, kMost = 60;
  World world(make_plan(StoredType::bf16), 1, false);
  // Everybody goes all the way up.
  world.spy.routed = [](const Routing& routing) {
    for (uint32_t i = 0; i < routing.rows; i++) routing.logits[2 * i] = 1000;
  };
  const auto open = [&](uint32_t length, uint64_t seed) {
    return make_request(world, {.prompt = prompt(length), .seed = seed}, 2 * kMost);
  };
  std::vector<Request> requests;
  for (uint32_t i = 0; i < decoding; i++) requests.push_back(open(2, i));
  for (Request& r : requests) ask(r, 1);
  world.run(requests);
  requests.insert(requests.begin(), open(900, 77));
  for (uint32_t call = 1; call <= kMost; call++) {
    for (size_t i = 0; i < requests.size(); i++) {
      const bool decodes = !requests[i].steps.empty();
      CHECK(call == 1 || decodes || requests[i].sequence.length >= 300);
      ask(requests[i], 1);
    }
    if (more_arrive && call % 4 == 0) {
      requests.push_back(open(300, 100 + call));
      ask(requests.back(), 1);
    }
    const double before = world.model().work().layer_rows;
    world.run(requests, {.prompt_rows = kRows, .deadline = kNow});
    // No more rows than may be taken, those of the decoding ones and those that ride along.
    const double rows = (world.model().work().layer_rows - before) / world.plan().layers;
    CHECK(rows <= kRows + decoding + 8);
    for (const Request& r : requests) CHECK(r.sequence.length >= 300 || r.steps.size() == 1);
    if (!requests.front().steps.empty()) return call;
  }
  return UINT32_MAX;
}

TEST(a_long_prompt_goes_on_in_every_call_and_holds_nobody_up) {
  for (const uint32_t decoding : {1u, 9u}) {
    for (const bool more_arrive : {false, true}) {
      const uint32_t calls = calls_until_a_token(decoding, more_arrive);
      CHECK(calls >= 900 / (32 + 8));
      CHECK(calls <= 40);
    }
  }
}

TEST(sequences_are_charged_together_what_was_read) {
  World world(make_plan(StoredType::bf16), 1, false);
  std::vector<Member> members = make_members(world, texts(), 7);
  std::vector<Member*> all = all_of(members);
  const Work before = world.model().work();
  Work charged;
  for (const uint32_t count : {1u, 5u, 0u}) {
    for (Member* m : all) ask(m->request, count);
    run(world, all, {.prompt_rows = 8});
    for (const Member* m : all) {
      for (const StepResult& step : m->request.steps) charged += step.work;
    }
  }
  for (const Member* m : all) charged += m->request.work;
  const Work& now = world.model().work();
  const auto close = [](double a, double b) { return std::abs(a - b) < 1e-9 * b; };
  CHECK_EQ(charged.layer_rows, now.layer_rows - before.layer_rows);
  CHECK(close(charged.layer_passes, now.layer_passes - before.layer_passes));
  CHECK(close(charged.weight_bytes, now.weight_bytes - before.weight_bytes));
}

TEST(an_abort_of_one_at_any_operation_leaves_the_others_alone) {
  int aborted = 0;
  for (int at = 0;; at += 17) {
    World world(make_plan(StoredType::bf16), 1, false);
    std::vector<Member> members = make_members(world, texts(), 5);
    std::vector<Member*> all = all_of(members);
    int32_t word = 0;
    int operations = 0;
    members[2].request.control = Control(&word, nullptr, nullptr);
    world.spy.before = [&] { word |= operations++ == at; };
    for (Member* m : all) ask(m->request, 4);
    run(world, all, {.prompt_rows = 8});
    world.spy.before = nullptr;
    for (size_t i = 0; i < members.size(); i++) {
      if (i != 2) CHECK(members[i].request.stop == Stop::count);
    }
    const bool stopped = members[2].request.stop == Stop::aborted;
    members[2].request.control = {};
    aborted += stopped;
    complete(world, members);
    if (word == 0) break;
  }
  CHECK(aborted > 5);
}

TEST(values_that_are_not_finite_end_their_own_sequence_only) {
  for (const uint32_t segment : {0u, 1u, 2u}) {
    World world(make_plan(StoredType::bf16), 1, false);
    std::vector<Member> members = make_members(world, texts(), 8);  // the longest prompt: 130
    std::vector<Member*> all = all_of(members);
    Member& victim = members[6];
    world.spy.attended = [&](const Attention& a) {
      if (a.layer == world.plan().segment_begin(segment)) spoil(a, 120);
    };
    for (Member* m : all) ask(m->request, 5);
    if (segment == 2) ask(victim.request, 0);  // through all segments
    run(world, all);
    world.spy.attended = nullptr;
    for (const Member* m : all) {
      CHECK(m->request.stop == (m == &victim ? Stop::failed : Stop::count));
      CHECK_EQ(m->request.failure.code, std::string(m == &victim ? "ERR_NVIUM_NON_FINITE" : ""));
    }
    CHECK(victim.request.sequence.frontiers[segment] <= 120);
    complete(world, members);
  }
}

TEST(a_router_that_gives_no_number_ends_one_sequence_and_so_does_a_head) {
  for (const bool head : {false, true}) {
    World world(make_plan(StoredType::bf16), 1, false);
    std::vector<Member> members = make_members(world, texts(), 8);
    std::vector<Member*> all = all_of(members);
    int calls = 0;
    if (head) {
      world.spy.drawn = [&](std::span<const Draw> list, uint32_t* tokens) {
        for (size_t i = 0; i < list.size(); i++) {
          if (list[i].seed == 3) tokens[i] = kNoToken;
        }
      };
    } else {
      world.spy.routed = [&](const Routing& routing) {
        if (calls++ == 2) routing.logits[2 * (routing.rows - 1)] = std::nanf("");
      };
    }
    for (Member* m : all) ask(m->request, 4);
    run(world, all);
    world.spy.drawn = nullptr, world.spy.routed = nullptr;
    int failed = 0;
    for (const Member* m : all) {
      if (m->request.stop == Stop::count) continue;
      failed++;
      CHECK(m->request.stop == Stop::failed);
      CHECK_EQ(m->request.failure.code, std::string("ERR_NVIUM_NON_FINITE"));
      CHECK(!head || m->text->seed == 3);
    }
    CHECK_EQ(failed, 1);
    complete(world, members);
  }
}

TEST(what_ends_a_call_leaves_all_as_after_their_last_whole_step) {
  int failed = 0, kept = 0;
  for (int at = 0;; at += 23) {
    World world(make_plan(StoredType::bf16), 1, false);
    std::vector<Member> members = make_members(world, texts(), 5);
    std::vector<Request> requests;
    for (Member& m : members) {
      ask(m.request, 4);
      requests.push_back(std::move(m.request));
    }
    int operations = 0;
    bool thrown = false;
    world.spy.before = [&] {
      if (operations++ == at) throw std::bad_alloc();
    };
    try {
      world.run(requests, {.prompt_rows = 16});
    } catch (const std::bad_alloc&) {
      thrown = true;
    }
    world.spy.before = nullptr;
    for (size_t i = 0; i < members.size(); i++) {
      Request& r = requests[i];
      CHECK(r.stop == Stop::count || (thrown && r.stop == Stop::failed));
      CHECK_EQ(r.sequence.length, members[i].text->prompt.size() + r.steps.size());
      CHECK(r.sequence.frontiers[0] <= r.sequence.rows_given());
      for (const StepResult& step : r.steps) members[i].exits.push_back(step.exit);
      kept += int(r.steps.size());
      members[i].request = std::move(r);
    }
    complete(world, members);
    if (!thrown) break;
    failed++;
  }
  CHECK(failed > 5 && kept > 5);
}

TEST(memory_that_one_request_cannot_have_is_its_own_failure) {
  World world(make_plan(StoredType::bf16), 1, false);
  Call call;
  std::vector<Member> members = make_members(world, texts(), 3);
  for (Member& m : members) call.requests.push_back(std::move(m.request));
  const std::vector<uint32_t> tokens(20'000, 7);
  Sequence large = world.sequence(tokens, 5);
  for (uint32_t b = 0; b < ceil_div(uint32_t(tokens.size()), kBlockPositions) + 1; b++) {
    large.cache.block.push_back(int32_t(1000 + b));
    large.cache.spare.push_back(kNoBlock);
  }
  large.boundary.assign(2, large.cache);
  Request greedy;
  greedy.sequence = std::move(large);
  call.requests.insert(call.requests.begin() + 1, std::move(greedy));
  for (Request& r : call.requests) ask(r, 2);
  call.prompt_rows = 32;
  call.budget = std::chrono::hours(1);
  world.spy.limit = world.spy.held + (size_t(8) << 20);
  world.run(call);
  CHECK(call.requests[1].stop == Stop::failed);
  CHECK_EQ(call.requests[1].failure.code, std::string("ERR_NVIUM_OUT_OF_MEMORY"));
  call.requests.erase(call.requests.begin() + 1);
  for (size_t i = 0; i < members.size(); i++) {
    CHECK(call.requests[i].stop == Stop::count);
    for (const StepResult& step : call.requests[i].steps) members[i].exits.push_back(step.exit);
    members[i].request = std::move(call.requests[i]);
  }
  complete(world, members);
}
