// The model over its CPU backend without Node: deferral, chunks, threads and neighbours change
// nothing.
#include <string>

#include "small_model.h"
#include "testing.h"

namespace {

using namespace nvium;
using namespace nvium::small;

constexpr uint32_t kPrompt = 270, kLength = 300;

// How a model's matrices are stored and held.
struct Types {
  StoredType stored;
  Matrices held = Matrices::as_stored;
};

World world_of(const Types& types, uint32_t threads) {
  return World(make_plan(types.stored, types.held), threads, false);
}

Trace reference(const Types& types) {
  World world = world_of(types, 1);
  Sequence s = world.sequence(prompt(kPrompt), 11);
  StepOptions eager;
  eager.max_pending = 0;
  return finish(world, s, kLength, eager);
}

const Types kTypes[] = {{StoredType::bf16},
                        {StoredType::f16},
                        {StoredType::f32},
                        {StoredType::bf16, Matrices::int8},
                        {StoredType::f32, Matrices::int4}};

}  // namespace

TEST(tokens_leave_at_every_exit) {
  for (const Types& type : kTypes) {
    std::vector<uint32_t> seen(3);
    for (const uint32_t exit : reference(type).exits) seen[exit - 1]++;
    for (const uint32_t count : seen) CHECK(count > 2);
  }
}

TEST(deferral_and_threads_change_no_bit) {
  for (const Types& type : kTypes) {
    const Trace expected = reference(type);
    for (const uint32_t threads : {1u, 2u, 3u}) {
      World world = world_of(type, threads);
      for (const uint32_t pending : {1u, 4u, UINT32_MAX}) {
        Sequence s = world.sequence(prompt(kPrompt), 11);
        StepOptions options;
        options.max_pending = pending;
        CHECK(finish(world, s, kLength, options) == expected);
      }
    }
  }
}

TEST(the_chunks_of_a_prompt_change_no_bit) {
  const std::vector<uint32_t> all = prompt(kPrompt);
  const Trace expected = reference({StoredType::bf16});
  World world(StoredType::bf16, 2);
  for (const uint32_t chunk : {1u, 7u, 64u, 255u}) {
    Sequence s = world.sequence({}, 11);
    for (uint32_t at = 0; at < kPrompt; at += chunk) {
      world.append(s, {all.begin() + at, all.begin() + std::min(kPrompt, at + chunk)});
      if (at % 2 == 0) world.flush(s);
    }
    CHECK(finish(world, s, kLength) == expected);
  }
}

TEST(sequences_of_one_call_do_not_see_each_other) {
  World world(StoredType::f32, 2);
  std::vector<Trace> alone;
  std::vector<Sequence> together;
  for (uint32_t i = 0; i < 4; i++) {
    Sequence s = world.sequence(prompt(1 + i * 90), i);
    together.push_back(s);
    alone.push_back(finish(world, s, s.length + 20));
  }
  const std::vector<StepOptions> options(together.size());
  std::vector<StepResult> results(together.size());
  for (int i = 0; i < 20; i++) world.step(together, options, results);
  for (size_t i = 0; i < together.size(); i++) {
    world.flush(together[i]);
    CHECK(together[i].tokens == alone[i].tokens);
    CHECK(world.cache_bits(together[i]) == alone[i].cache);
  }
}

TEST(a_fork_copies_what_it_writes) {
  World world(StoredType::bf16, 2);
  Sequence a = world.sequence(prompt(100), 11);
  for (int i = 0; i < 10; i++) world.step(a);
  Sequence b = world.fork(a), c = world.fork(a);
  c.stream = 1;
  // The parent's own writes come last: it has no spares, so the others must have copied by then.
  const Trace of_b = finish(world, b, 140);
  const Trace of_c = finish(world, c, 140);
  const Trace of_a = finish(world, a, 140);
  CHECK(of_b == of_a);
  CHECK(of_c.tokens != of_a.tokens);
}

TEST(evaluating_gives_the_same_bits_on_any_number_of_threads) {
  const std::vector<uint32_t> tokens = prompt(kPrompt);
  for (const Types& type : kTypes) {
    World one = world_of(type, 1), three = world_of(type, 3);
    CHECK(one.evaluate(tokens) == three.evaluate(tokens));
  }
}

TEST(a_job_stops_between_chunks_and_goes_on_later) {
  const Trace expected = reference({StoredType::bf16});
  // A source of aborts: the control's word is set, so the first check ends the job.
  int32_t abort = 1;
  const Control control(&abort, nullptr, nullptr);
  World world(StoredType::bf16, 2);
  Sequence s = world.sequence(prompt(kPrompt), 11);
  int aborted = 0;
  try {
    world.flush(s, control);
  } catch (const Aborted&) {
    aborted++;
  }
  CHECK_EQ(s.frontiers[0], 0u);
  try {
    world.evaluate(prompt(10), control);
  } catch (const Aborted&) {
    aborted++;
  }
  CHECK_EQ(aborted, 2);
  CHECK(finish(world, s, kLength) == expected);
}
