// Whatever fails, fails with an error that says so, nothing leaks, and what is computed afterwards
// has the bits it would have had.
#include "faults.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <limits>

#include "native/cpu/memory.h"
#include "small_model.h"
#include "testing.h"

namespace {

using namespace nvium;
using namespace nvium::small;

constexpr uint32_t kPrompt = 70, kLength = 84;

// How something ended: by itself, with one of the errors promised for it, or with any other.
enum class End { done, out_of_memory, io, aborted, other };

template <class Work>
End end_of(const Work& work) {
  try {
    work();
    return End::done;
  } catch (const std::bad_alloc&) {
    return End::out_of_memory;
  } catch (const Failure& failure) {
    if (failure.code == "ERR_NVIUM_OUT_OF_MEMORY") return End::out_of_memory;
    if (failure.code == "ERR_NVIUM_IO") return End::io;
    return End::other;
  } catch (const Aborted&) {
    return End::aborted;
  } catch (...) {
    return End::other;
  }
}

void report(const char* what, int count) { std::printf("  %s: %d\n", what, count); }

// Calls attempt(n, forever) with the n-th allocation inside failing, for every n there is; attempt
// returns whether one failed.
template <class Attempt>
void each_allocation(const char* what, const Attempt& attempt) {
  int survived = 0;
  for (const bool forever : {false, true}) {
    for (int64_t n = 0;; n++) {
      const int64_t before = faults::live();
      const bool failed = attempt(n, forever);
      CHECK_EQ(faults::live(), before);
      if (!failed) break;
      survived++;
    }
  }
  CHECK(survived > 10);
  report(what, survived);
}

// Runs `work` with faults armed and checks that a fault is reported as what it is.
template <class Work>
bool with_fault(int64_t n, bool forever, const Work& work) {
  faults::arm(n, forever);
  const End end = end_of(work);
  const bool fired = faults::disarm();
  CHECK(end == (fired ? End::out_of_memory : End::done));
  return fired;
}

Trace reference(StoredType type, uint32_t length = kLength) {
  World world(type);
  Sequence s = world.sequence(prompt(kPrompt), 11);
  return finish(world, s, length);
}

// As lib/cache cuts a sequence.
void truncate(Sequence& s, uint32_t length) {
  s.length = length;
  s.tokens.resize(length);
  s.generated.resize(length);
  for (uint32_t& f : s.frontiers) f = std::min(f, length - 1);
}

bool invariant(const Sequence& s) {
  bool holds = s.tokens.size() == s.length && s.generated.size() == s.length;
  for (size_t m = 0; m < s.frontiers.size(); m++) {
    holds &= s.frontiers[m] <= (m == 0 ? s.length - 1 : s.frontiers[m - 1]);
  }
  return holds;
}

// Values that are not finite in the slots an attention wrote, as a computation gone wrong leaves.
void poison(const Attention& a) {
  for (const Span& span : a.spans) {
    for (uint32_t p = span.begin; p < span.end; p++) {
      std::byte* values =
          span.blocks[p / kBlockPositions] + a.layer * a.shape.layer_bytes() + a.shape.key_bytes();
      const size_t at = tile_index(a.shape.type, 0, p % kBlockPositions);
      if (a.shape.type == CacheType::bf16) {
        reinterpret_cast<uint16_t*>(values)[at] = 0x7fc0;
      } else {
        reinterpret_cast<float*>(values)[at] = std::numeric_limits<float>::quiet_NaN();
      }
    }
  }
}

// The plan of a file with the made-up weights, and the file.
Plan write_file(const std::string& path) {
  Plan plan = make_plan(StoredType::f32);
  std::ofstream file(path, std::ios::binary);
  Source source;
  uint64_t offset = 0;
  for (TensorPlan& tensor : plan.tensors) {
    std::vector<std::byte> bytes(tensor.bytes());
    source.read(tensor, 0, tensor.rows, bytes.data());
    file.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
    tensor.offset = offset;
    offset += bytes.size();
  }
  plan.files = {path};
  return plan;
}

}  // namespace

TEST(every_allocation_of_a_load_fails_once) {
  const Plan plan = make_plan(StoredType::bf16);
  { World world(plan, 1, false); }  // what is made once a process is made
  for (const uint32_t threads : {1u, 2u}) {
    each_allocation("allocations of a load", [&](int64_t n, bool forever) {
      return with_fault(n, forever, [&] { World world(plan, threads, true); });
    });
  }
}

// Decoding the same again, over boundaries that are overdue and others, with memory as it was.
TEST(a_step_like_one_before_allocates_nothing) {
  for (const uint32_t threads : {1u, 2u}) {
    World world(make_plan(StoredType::bf16), threads, false);
    std::vector<Sequence> sequences;
    for (uint32_t i = 0; i < 3; i++) sequences.push_back(world.sequence(prompt(kPrompt + i), i));
    const std::vector<StepOptions> options{{.max_pending = 2}, {.top_k = 5}, {.temperature = 0}};
    world.reserve(sequences, 40);
    Cascade cascade(world.model());
    std::vector<Request> requests = make_requests(sequences, options, 1);
    for (const bool again : {false, true}) {
      for (Request& r : requests) truncate(r.sequence, kPrompt);
      world.enter([&] {
        for (uint32_t i = 0; i < 40; i++) {
          for (Request& r : requests) {
            r.stop = Stop::none;
            r.steps.clear();
          }
          if (again) faults::arm(0, true);
          const End end = end_of([&] { cascade.run(requests, {}); });
          CHECK(!faults::disarm());
          CHECK(end == End::done);
          for (const Request& r : requests) CHECK(r.stop == Stop::count);
        }
      });
    }
  }
}

TEST(every_allocation_of_a_step_fails_once) {
  for (const StoredType type : {StoredType::bf16, StoredType::f32}) {
    const Trace expected = reference(type);
    each_allocation("allocations of two steps", [&](int64_t n, bool forever) {
      World world(type);
      Sequence s = world.sequence(prompt(kPrompt), 11);
      const bool failed = with_fault(n, forever, [&] {
        world.step(s);
        world.step(s);
      });
      CHECK(invariant(s));
      CHECK(finish(world, s, kLength) == expected);
      return failed;
    });
  }
}

TEST(a_call_of_several_sequences_that_fails_gives_none_of_them_a_token) {
  const Trace expected = reference(StoredType::bf16);
  each_allocation("allocations of a step of three", [&](int64_t n, bool forever) {
    World world(StoredType::bf16);
    std::vector<Sequence> sequences(3, world.sequence(prompt(kPrompt), 11));
    const std::vector<StepOptions> options(3);
    std::vector<StepResult> results(3);
    const bool failed = with_fault(n, forever, [&] { world.step(sequences, options, results); });
    for (Sequence& s : sequences) {
      CHECK_EQ(s.length, kPrompt + !failed);
      CHECK(invariant(s));
      CHECK(finish(world, s, kLength) == expected);
    }
    return failed;
  });
}

TEST(every_allocation_of_a_step_behind_a_fork_fails_once) {
  const Trace expected = reference(StoredType::bf16);
  each_allocation("allocations behind a fork", [&](int64_t n, bool forever) {
    World world(StoredType::bf16);
    Sequence parent = world.sequence(prompt(kPrompt), 11);
    for (int i = 0; i < 3; i++) world.step(parent);
    Sequence child = world.fork(parent);
    const bool failed = with_fault(n, forever, [&] {
      world.step(child);
      world.flush(child);
    });
    CHECK(invariant(child));
    CHECK(finish(world, child, kLength) == expected);
    CHECK(finish(world, parent, kLength) == expected);
    return failed;
  });
}

TEST(every_allocation_of_an_evaluation_fails_once) {
  const std::vector<uint32_t> tokens = prompt(40);
  World untouched(StoredType::bf16);
  const std::vector<float> expected = untouched.evaluate(tokens);
  each_allocation("allocations of an evaluation", [&](int64_t n, bool forever) {
    World world(StoredType::bf16);
    const bool failed = with_fault(n, forever, [&] { world.evaluate(tokens); });
    CHECK(world.evaluate(tokens) == expected);
    return failed;
  });
}

TEST(memory_that_cannot_be_mapped_is_an_error) {
  faults::refuse_mappings = true;
  CHECK(end_of([] { cpu::release(cpu::allocate(size_t(64) << 20), size_t(64) << 20); }) ==
        End::out_of_memory);
  faults::refuse_mappings = false;
  CHECK(end_of([] { cpu::release(cpu::allocate(size_t(64) << 20), size_t(64) << 20); }) ==
        End::done);
  CHECK(end_of([] { cpu::allocate(SIZE_MAX - 7); }) == End::out_of_memory);
}

// --- memory that is refused for good ---

namespace {

uint64_t total(const Memory& m) { return m.weights + m.cache + m.boundary + m.workspace; }

}  // namespace

// Wherever the limit lies: in the keys and values, in the rows that wait, in the rotary table.
TEST(a_reservation_beyond_the_limit_leaves_nothing_and_calls_below_it_go_on) {
  const Trace expected = reference(StoredType::bf16);
  World world(StoredType::bf16);
  Sequence s = world.sequence(prompt(kPrompt), 11);
  Sequence large = world.sequence(std::vector<uint32_t>(100'000, 7), 1);
  world.step(s);
  const uint64_t before = total(world.model().memory());
  int refused = 0;
  for (size_t more = 0;; more += size_t(8) << 20) {
    world.spy.limit = world.spy.held + more;
    const End end = end_of([&] { world.reserve({&large, 1}, 0); });
    if (end == End::done) break;
    refused++;
    CHECK(end == End::out_of_memory);
    CHECK_EQ(total(world.model().memory()), before);
    if (s.length < kLength) world.step(s);
  }
  CHECK(refused > 10);
  world.spy.limit = SIZE_MAX;
  CHECK(finish(world, s, kLength) == expected);
  report("refusals for good", refused);
}

TEST(an_abort_while_memory_is_made_leaves_nothing) {
  const Trace expected = reference(StoredType::bf16);
  World world(StoredType::bf16);
  Sequence s = world.sequence(prompt(kPrompt), 11);
  world.step(s);
  const uint64_t before = total(world.model().memory());
  int aborted = 0;
  for (int at = 0;; at += 5) {
    Sequence large = world.sequence(std::vector<uint32_t>(20'000, 7), 1);
    int32_t abort = 0;
    int calls = 0;
    const Control control(&abort, nullptr, nullptr);
    world.spy.before = [&] { abort |= calls++ == at; };
    const End end = end_of([&] { world.reserve({&large, 1}, 0, control); });
    world.spy.before = nullptr;
    if (end == End::done) break;
    CHECK(end == End::aborted);
    CHECK_EQ(total(world.model().memory()), before);
    aborted++;
  }
  CHECK(aborted > 20);
  CHECK(finish(world, s, kLength) == expected);
  report("aborts of a reservation", aborted);
}

TEST(trimming_gives_back_what_no_used_block_lies_in) {
  const Trace expected = reference(StoredType::bf16);
  World world(StoredType::bf16);
  // One on either side of a large one.
  Sequence first = world.sequence(prompt(kPrompt), 11);
  Sequence large = world.sequence(std::vector<uint32_t>(20'000, 7), 1);
  Sequence last = first;
  for (Sequence* s : {&first, &large, &last}) world.reserve({s, 1}, kLength - kPrompt);
  world.step(first);
  world.step(last);
  std::vector<uint8_t> cache, boundary;
  const auto use = [](std::vector<uint8_t>& used, const BlockTable& table) {
    for (const int32_t block : table.block) {
      used.resize(std::max(used.size(), size_t(block) + 1));
      used[size_t(block)] = 1;
    }
  };
  for (const Sequence* s : {&first, &last}) {
    use(cache, s->cache);
    for (const BlockTable& table : s->boundary) use(boundary, table);
  }
  const Memory before = world.model().memory();
  world.enter([&] { world.model().trim(cache, boundary, kLength); });
  const Memory after = world.model().memory();
  CHECK(after.cache < before.cache / 2);
  CHECK(after.boundary < before.boundary);
  CHECK(after.workspace < before.workspace);
  CHECK_EQ(after.weights, before.weights);
  CHECK(finish(world, first, kLength) == expected);
  CHECK(finish(world, last, kLength) == expected);
  world.enter([&] { world.model().trim({}, {}, 0); });
  CHECK_EQ(world.model().memory().cache + world.model().memory().boundary, 0u);
  Sequence anew = world.sequence(prompt(kPrompt), 11);
  CHECK(finish(world, anew, kLength) == expected);
}

// --- the backend ---

TEST(every_operation_of_a_step_fails_once_with_garbage_in_the_slots_it_wrote) {
  for (const StoredType type : {StoredType::bf16, StoredType::f32}) {
    const Trace expected = reference(type);
    int survived = 0;
    for (int at = 0;; at++) {
      World world(type);
      Sequence s = world.sequence(prompt(kPrompt), 11);
      world.step(s);
      int calls = 0;
      bool failed = false;
      world.spy.before = [&] {
        if (calls++ != at) return;
        failed = true;
        throw std::bad_alloc();
      };
      world.spy.attended = [&](const Attention& a) {
        if (calls < at) return;
        poison(a);
      };
      const uint32_t length = s.length;
      const End end = end_of([&] {
        world.step(s);
        // Rows that are not computed again, in slots that rows before them read as masked.
        world.append(s, prompt(9));
        world.flush(s);
      });
      world.spy.before = nullptr;
      world.spy.attended = nullptr;
      if (!failed) {
        CHECK(end == End::done);
        break;
      }
      survived++;
      CHECK(end == End::out_of_memory || end == End::other);
      CHECK(invariant(s));
      truncate(s, std::min(s.length, length));
      CHECK(finish(world, s, kLength) == expected);
    }
    CHECK(survived > 40);
    report("operations", survived);
  }
}

TEST(an_abort_at_every_operation_leaves_the_sequence_as_it_was) {
  // Three chunks a segment.
  const std::vector<uint32_t> tokens = prompt(520);
  World untouched(StoredType::bf16);
  Sequence whole = untouched.sequence(tokens, 11);
  const Trace expected = finish(untouched, whole, 523);
  World world(StoredType::bf16);
  int aborted = 0;
  for (int at = 0;; at++) {
    Sequence s = world.sequence(tokens, 11);
    int32_t abort = 0;
    int calls = 0;
    const Control control(&abort, nullptr, nullptr);
    world.spy.before = [&] { abort |= calls++ == at; };
    const End end = end_of([&] { world.flush(s, control); });
    world.spy.before = nullptr;
    CHECK(invariant(s));
    if (end == End::done) {
      // The abort came behind the last look: nothing is left to stop.
      if (abort == 0) break;
    } else {
      CHECK(end == End::aborted);
      aborted++;
    }
    if (at % 8 == 0) CHECK(finish(world, s, 523) == expected);
  }
  CHECK(aborted > 50);
  report("aborts", aborted);
}

TEST(a_value_that_is_not_finite_moves_no_frontier_and_leaves_nothing) {
  const Trace expected = reference(StoredType::bf16);
  World world(StoredType::bf16);
  Sequence s = world.sequence(prompt(kPrompt), 11);
  for (int i = 0; i < 3; i++) world.step(s);
  world.append(s, prompt(7));
  const Sequence before = s;
  world.spy.attended = [&](const Attention& a) {
    poison(a);
    a.output[0] = std::numeric_limits<float>::infinity();
  };
  std::string code;
  try {
    world.flush(s);
  } catch (const Failure& failure) {
    code = failure.code;
  }
  world.spy.attended = nullptr;
  CHECK_EQ(code, std::string("ERR_NVIUM_NON_FINITE"));
  CHECK(s.frontiers == before.frontiers);
  CHECK(s.tokens == before.tokens);
  truncate(s, kPrompt + 3);
  CHECK(finish(world, s, kLength) == expected);
}

// --- the files ---

TEST(every_read_of_a_load_is_short_or_interrupted_or_fails_or_finds_the_end) {
  const std::string path = "faults_test.weights";
  const Plan plan = write_file(path);
  const auto load = [&]() {
    const std::unique_ptr<TensorSource> source = open_files(plan);
    World world(plan, *source, Control());
    return world.evaluate(prompt(5));
  };
  World synthetic(StoredType::f32);
  const std::vector<float> expected = synthetic.evaluate(prompt(5));
  faults::arm_reads(-1, faults::Reading::right);
  CHECK(load() == expected);
  const int64_t reads = faults::reads();
  CHECK(reads > 100);
  const int64_t before = faults::live();
  int survived = 0;
  for (int64_t at = 0; at < reads; at++) {
    for (const auto how : {faults::Reading::half, faults::Reading::interrupted}) {
      faults::arm_reads(at, how);
      std::vector<float> result;
      CHECK(end_of([&] { result = load(); }) == End::done);
      CHECK(result == expected);
      survived++;
    }
    for (const auto how : {faults::Reading::failing, faults::Reading::ended}) {
      faults::arm_reads(at, how);
      CHECK(end_of([&] { load(); }) == End::io);
      survived++;
    }
  }
  CHECK_EQ(faults::live(), before);
  report("reads", survived);
  faults::arm_reads(-1, faults::Reading::right);
  // A file that shrank between the plan and the load.
  uint64_t size = 0;
  for (const TensorPlan& tensor : plan.tensors) size += tensor.bytes();
  for (uint64_t end = 0; end < size; end += size / 23 + 1) {
    std::ofstream(path, std::ios::binary) << std::string(end, '\0');
    CHECK(end_of([&] { load(); }) == End::io);
  }
  std::remove(path.c_str());
  CHECK(end_of([&] { load(); }) == End::io);
}

TEST(a_load_is_aborted_at_every_read_and_leaves_nothing) {
  struct Stopping final : Source {
    int32_t abort = 0;
    int at, calls = 0;

    explicit Stopping(int at) : at(at) {}
    void read(const TensorPlan& tensor, uint32_t first, uint32_t count, std::byte* out) override {
      abort |= calls++ == at;
      Source::read(tensor, first, count, out);
    }
  };
  const Plan plan = make_plan(StoredType::f16);
  int aborted = 0;
  for (int at = 0;; at++) {
    const int64_t before = faults::live();
    Stopping source(at);
    const End end = end_of([&] {
      double progress = 0;
      World world(plan, source, Control(&source.abort, &progress, nullptr));
    });
    CHECK_EQ(faults::live(), before);
    if (source.abort == 0) {
      CHECK(end == End::done);
      break;
    }
    // Vectors are too small for a look of their own: an abort there shows at the next matrix.
    CHECK(end == End::aborted || end == End::done);
    aborted += end == End::aborted;
  }
  CHECK(aborted > 50);
  report("aborts of a load", aborted);
}
