// The model over either backend: several sequences in one call, steps that defer, flushes,
// truncation and laws give the same bytes.
#include "../../bench/native/shapes.h"
#include "both.h"
#include "model/evaluate.h"
#include "model/step.h"

using namespace equality;

namespace {

constexpr bench::Shape kTiny{"tiny", 4, 64, 96, 4, 16, 300, true};
constexpr uint32_t kBlocks = 3;  // of a sequence
constexpr uint32_t kSequences = 3;

Sequence make_sequence(const Plan& plan, uint32_t which, uint32_t length) {
  Sequence s;
  s.frontiers.assign(plan.segments(), 0);
  for (uint32_t b = 0; b < kBlocks; b++) s.cache.block.push_back(int32_t(which * kBlocks + b));
  s.cache.spare.assign(kBlocks, kNoBlock);
  for (uint32_t m = 0; m + 1 < plan.segments(); m++) {
    BlockTable table = s.cache;
    for (int32_t& block : table.block) block += int32_t(m * kSequences * kBlocks);
    s.boundary.push_back(table);
  }
  s.length = length;
  for (uint32_t i = 0; i < length; i++) s.tokens.push_back((which * 31 + i * 7919) % 300);
  s.generated.assign(length, 0);
  s.seed = 99 + which;
  s.stream = which;
  return s;
}

Bytes run(Backend& backend) {
  bench::GeneratedSource source;
  Model model(backend, bench::make_plan(kTiny), source, Control());
  const Plan& plan = model.plan();
  const uint32_t blocks = kSequences * kBlocks;
  std::vector<uint32_t> fresh;
  for (uint32_t b = 0; b < blocks; b++) fresh.push_back(b);
  // Boundary rows beyond a frontier are garbage; here they are zeros, so that blocks compare.
  Cascade cascade(model);
  std::vector<Request> requests(kSequences);
  for (uint32_t i = 0; i < kSequences; i++) {
    requests[i].sequence = make_sequence(plan, i, 1 + i * 31);
  }
  for (uint32_t i = 0; i < kSequences; i++) {
    const std::span blocks_of = std::span(fresh).subspan(i * kBlocks, kBlocks);
    model.reserve(requests[i].sequence, blocks_of, kBlocks * kBlockPositions);
  }
  const auto run = [&](uint32_t count) {
    for (Request& r : requests) {
      r.count = count;
      r.stop = Stop::none;
      r.steps.clear();
    }
    cascade.run(requests, {});
  };
  Bytes result;
  const auto note = [&](uint32_t number) { append(result, &number, 4); };
  for (uint32_t round = 0; round < 12; round++) {
    for (uint32_t i = 0; i < kSequences; i++) {
      requests[i].law = {.temperature = (round + i) % 3 == 0 ? 0.0f : 0.8f,
                         .top_k = (round + i) % 4 == 1 ? 9u : 0u};
      requests[i].max_pending = 4 + i;
    }
    run(1);
    for (const Request& r : requests) {
      const StepResult& s = r.steps.at(0);
      // Neither frontiers nor layers run: how many rows ride along is each device's own.
      note(s.token), note(s.exit);
    }
    if (round == 6) run(0);
    if (round == 8) {
      for (Request& r : requests) {
        Sequence& s = r.sequence;
        if (s.length < 5) continue;
        s.length -= 3;
        s.tokens.resize(s.length);
        s.generated.resize(s.length);
        for (uint32_t& f : s.frontiers) f = std::min(f, s.length - 1);
      }
    }
  }
  run(0);
  for (uint32_t b = 0; b < blocks; b++) append(result, model.read_block(true, b));

  Sequence fresh_sequence = make_sequence(plan, 0, 70);
  std::vector<float> probs(70 * plan.segments()), logits(probs.size() * 300), mixture(70 * 300);
  evaluate(model, fresh_sequence, Control(), {probs.data(), logits.data(), mixture.data()});
  append(result, probs.data(), probs.size() * 4);
  append(result, logits.data(), logits.size() * 4);
  append(result, mixture.data(), mixture.size() * 4);
  return result;
}

// Steps of sequences whose prompts differ, a few rows of which are taken a step, in calls that end
// after every pass; those who leave at different exits share their heads' passes.
Bytes run_unequal(Backend& backend) {
  bench::GeneratedSource source;
  Model model(backend, bench::make_plan(kTiny), source, Control());
  Cascade cascade(model);
  std::vector<Request> requests(kSequences);
  constexpr uint32_t kLengths[kSequences] = {1, 70, 12};
  for (uint32_t i = 0; i < kSequences; i++) {
    Request& r = requests[i];
    r.sequence = make_sequence(model.plan(), i, kLengths[i]);
    r.law = {.temperature = i == 0 ? 0.0f : 0.9f, .top_k = i == 1 ? 7u : 0u};
    r.max_pending = 2 + i;
    std::vector<uint32_t> fresh;
    for (const int32_t block : r.sequence.cache.block) fresh.push_back(uint32_t(block));
    model.reserve(r.sequence, fresh, kBlocks * kBlockPositions);
  }
  Bytes result;
  const auto note = [&](uint32_t number) { append(result, &number, 4); };
  std::vector<uint32_t> exits(model.plan().segments());
  for (const uint32_t count : {3u, 4u, 0u}) {
    for (Request& r : requests) {
      r.count = count;
      r.stop = Stop::none;
      r.steps.clear();
    }
    const auto under_way = [](const Request& r) { return r.stop == Stop::deadline; };
    do {
      for (Request& r : requests) {
        if (under_way(r)) r.stop = Stop::none;
      }
      cascade.run(requests,
                  {.prompt_rows = 6, .deadline = std::chrono::steady_clock::time_point::min()});
    } while (std::any_of(requests.begin(), requests.end(), under_way));
    for (const Request& r : requests) {
      CHECK(r.stop == Stop::count);
      for (const StepResult& s : r.steps) {
        note(s.token), note(s.exit);
        exits[s.exit - 1]++;
      }
    }
  }
  CHECK(std::count(exits.begin(), exits.end(), 0u) <= 1);
  for (uint32_t b = 0; b < kSequences * kBlocks; b++) append(result, model.read_block(true, b));
  return result;
}

}  // namespace

TEST(a_model_of_three_sequences) { same_on_both("model", run); }

TEST(unequal_sequences_in_calls_that_end_after_every_pass) { same_on_both("batch", run_unequal); }
