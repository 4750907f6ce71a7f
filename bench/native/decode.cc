// Decoding without Node: the share of memory bandwidth one row reaches, what further rows cost,
// prompts, threads.
//
//   decode [shape] [threads] [rounds] [--dtype int8] [--json file]
//
// Rounds are interleaved: every measurement stands between two probes.
#include <cstdlib>
#include <cstring>
#include <string>

#include "json.h"
#include "measure.h"
#include "native/cpu/cpu_backend.h"
#include "native/model/step.h"
#include "sequence.h"
#include "shapes.h"

using namespace nvium;
using namespace nvium::bench;

namespace {

constexpr uint32_t kContext = 128;  // positions before the rows that are timed
constexpr uint32_t kBlocks = 16;

void set_length(Sequence& s, uint32_t length, uint32_t frontier, uint32_t vocab) {
  s.length = length;
  s.tokens.resize(length);
  for (uint32_t i = 0; i < length; i++) s.tokens[i] = (300 + i * 7919) % vocab;
  s.generated.assign(length, 0);
  s.frontiers.assign(s.frontiers.size(), frontier);
}

}  // namespace

int main(int argc, char** argv) {
  const Shape* shape = find_shape(argc > 1 ? argv[1] : "S-dense");
  if (shape == nullptr) return 2;
  const uint32_t threads = argc > 2 ? uint32_t(std::atoi(argv[2])) : 2;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 15;
  const std::string file = json_file(argc, argv);
  const Held held = find_held(option(argc, argv, "--dtype"));
  cpu::CpuBackend backend({threads, true, ""});
  GeneratedSource source;
  backend.enter([&] {
    Plan made = make_plan(*shape);
    made.matrices = held.matrices;
    Model model(backend, std::move(made), source, Control());
    const Plan& plan = model.plan();
    Request request{.sequence = make_sequence(plan, kBlocks)};
    Sequence& sequence = request.sequence;
    std::vector<uint32_t> fresh(kBlocks);
    for (uint32_t b = 0; b < kBlocks; b++) fresh[b] = b;
    model.reserve(sequence, fresh, kBlocks * kBlockPositions);
    const Probe probe(backend.team(), model.weights_memory(), model.memory().weights);
    set_length(sequence, kContext + 1, 0, plan.vocab_size);
    Cascade cascade(model);
    // `count` tokens; 0: a flush.
    const auto run = [&](uint32_t count) {
      request.count = count;
      request.stop = Stop::none;
      request.steps.clear();
      cascade.run({&request, 1}, {});
    };
    run(0);

    // Segment 1 over k rows: for a dense shape that is every layer.
    const auto pass = [&](uint32_t k) {
      set_length(sequence, kContext + k + 1, kContext, plan.vocab_size);
      Advance advance{&sequence, kContext, kContext + k};
      return seconds([&] { model.pass(0, {&advance, 1}); });
    };
    const auto step = [&] {
      set_length(sequence, kContext + 1, kContext, plan.vocab_size);
      return seconds([&] { run(1); });
    };
    const auto bytes_of = [&](auto&& work) {
      const double before = model.work().weight_bytes;
      work();
      return model.work().weight_bytes - before;
    };
    step();
    const double pass_bytes = bytes_of([&] { pass(1); });
    const double step_bytes = bytes_of([&] { step(); });

    const uint32_t rows[] = {1, 2, 3, 4, 6, 8, 12, 16, 32};
    constexpr size_t kCount = std::size(rows);
    std::vector<Paired::Sample> steps, passes[kCount];
    std::vector<double> firsts[kCount], rates;
    Paired paired(probe);
    for (int round = 0; round < rounds; round++) {
      steps.push_back(paired.time(step));
      rates.push_back(steps.back().rate);
      for (size_t i = 0; i < kCount; i++) {
        double first = 0, time = 0;
        passes[i].push_back(paired.time([&] {
          first = pass(1);
          time = pass(rows[i]);
        }));
        passes[i].back().seconds = time;
        firsts[i].push_back(first);
      }
    }
    const double step_share = median_of(
        steps, [&](const Paired::Sample& s, size_t) { return step_bytes / s.seconds / s.rate; });
    std::printf("%s, %s, %u threads, %s: probe %.1f GB/s (median)\n", shape->name,
                held.name.c_str(), threads, backend.kernels().name, median(rates) / 1e9);
    std::printf("  one step: %.3f of the probe, %d of %d rounds steady, %.1f MB of weights\n",
                step_share, steady(steps), rounds, step_bytes / 1e6);
    Json json;
    json.begin()
        .add("shape", shape->name)
        .add("dtype", held.name)
        .add("threads", threads)
        .add("rounds", rounds)
        .add("instructionSet", backend.kernels().name)
        .add("probe", median(rates))
        .add("stepBytes", step_bytes)
        .add("stepSeconds",
             median_of(steps, [](const Paired::Sample& s, size_t) { return s.seconds; }))
        .add("stepShare", step_share)
        .add("steady", steady(steps))
        .begin("passes", '[');
    for (size_t i = 0; i < kCount; i++) {
      const double ratio = median_of(
          passes[i], [&](const Paired::Sample& s, size_t r) { return s.seconds / firsts[i][r]; });
      const double share = median_of(passes[i], [&](const Paired::Sample& s, size_t) {
        return pass_bytes / s.seconds / s.rate;
      });
      std::printf("  t(%u)/t(1) = %.2f   %.3f of the probe\n", rows[i], ratio, share);
      json.begin().add("rows", rows[i]).add("ratio", ratio).add("share", share).end();
    }
    json.end(']');
    std::vector<double> prompts;
    for (int round = 0; round < 3; round++) {
      set_length(sequence, 513, 0, plan.vocab_size);
      prompts.push_back(seconds([&] { run(0); }));
    }
    std::printf("  a prompt of 512 tokens: %.0f tokens/s\n", 512 / median(prompts));
    json.add("promptTokensPerSecond", 512 / median(prompts)).end();
    if (!file.empty() && !json.write(file)) std::perror(file.c_str());
  });
}
