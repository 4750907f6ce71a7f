// Decoding without Node: the share of memory bandwidth one row reaches, what further rows cost,
// prompts, threads.
//
//   decode [shape] [threads] [rounds]
//
// Rounds are interleaved: every measurement stands between two probes and is dropped when they
// differ by more than a tenth.
#include <cstdlib>
#include <cstring>
#include <string>

#include "measure.h"
#include "native/cpu/cpu_backend.h"
#include "native/model/step.h"
#include "shapes.h"

using namespace nvium;
using namespace nvium::bench;

namespace {

constexpr uint32_t kContext = 128;  // positions before the rows that are timed
constexpr uint32_t kBlocks = 16;

// A sequence over a plain block table: block b of the sequence is block b of the pool.
Sequence make_sequence(const Plan& plan) {
  Sequence s;
  s.frontiers.assign(plan.segments(), 0);
  for (uint32_t b = 0; b < kBlocks; b++) s.cache.block.push_back(int32_t(b));
  s.cache.spare.assign(kBlocks, kNoBlock);
  for (uint32_t m = 0; m + 1 < plan.segments(); m++) {
    BlockTable table = s.cache;
    for (int32_t& block : table.block) block += int32_t(m * kBlocks);
    s.boundary.push_back(table);
  }
  return s;
}

void set_length(Sequence& s, uint32_t length, uint32_t frontier, uint32_t vocab) {
  s.length = length;
  s.tokens.resize(length);
  for (uint32_t i = 0; i < length; i++) s.tokens[i] = (300 + i * 7919) % vocab;
  s.generated.assign(length, 0);
  s.frontiers.assign(s.frontiers.size(), frontier);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "S-dense";
  const uint32_t threads = argc > 2 ? uint32_t(std::atoi(argv[2])) : 2;
  const int rounds = argc > 3 ? std::atoi(argv[3]) : 15;
  const Shape* shape = std::find_if(std::begin(kShapes), std::end(kShapes),
                                    [&](const Shape& s) { return name == s.name; });
  if (shape == std::end(kShapes)) {
    std::fprintf(stderr, "There is no shape %s.\n", name.c_str());
    return 2;
  }
  cpu::CpuBackend backend({threads, true, ""});
  GeneratedSource source;
  backend.enter([&] {
    Model model(backend, make_plan(*shape), source, Control());
    const Plan& plan = model.plan();
    model.reserve(kBlocks, kBlocks * plan.segments(), {}, kBlocks * kBlockPositions);
    for (uint32_t b = 0; b < kBlocks; b++) {
      const uint32_t fresh[] = {b};
      model.reserve(kBlocks, kBlocks, fresh, kContext);
    }
    const Probe probe(backend.team(), model.weights_memory(), model.memory().weights);
    Sequence sequence = make_sequence(plan);
    set_length(sequence, kContext + 1, 0, plan.vocab_size);
    flush(model, {&sequence, 1}, Control());

    // Segment 1 over k rows: for a dense shape that is every layer.
    const auto pass = [&](uint32_t k) {
      set_length(sequence, kContext + k + 1, kContext, plan.vocab_size);
      const Advance advance{&sequence, kContext, kContext + k};
      return seconds([&] { model.advance(0, {&advance, 1}, Control()); });
    };
    const auto step = [&] {
      set_length(sequence, kContext + 1, kContext, plan.vocab_size);
      const StepOptions options;
      StepResult result;
      return seconds([&] {
        nvium::step(model, {&sequence, 1}, {&options, 1}, Control(), {&result, 1});
      });
    };
    const auto bytes_of = [&](auto&& work) {
      const uint64_t before = model.work().weight_bytes;
      work();
      return double(model.work().weight_bytes - before);
    };
    step();
    const double pass_bytes = bytes_of([&] { pass(1); });
    const double step_bytes = bytes_of([&] { step(); });

    const uint32_t rows[] = {1, 2, 3, 4, 6, 8, 12, 16, 32};
    std::vector<double> shares, rates, one;
    std::vector<std::vector<double>> ratios(std::size(rows)), pass_shares(std::size(rows));
    int dropped = 0;
    double before = probe.rate();
    const auto paired = [&](auto&& work, auto&& accept) {
      const double time = work();
      const double after = probe.rate(), rate = (before + after) / 2;
      const bool steady = std::abs(before - after) < 0.1 * rate;
      before = after;
      rates.push_back(rate);
      if (steady) accept(time, rate);
      dropped += !steady;
    };
    for (int round = 0; round < rounds; round++) {
      paired(step, [&](double time, double rate) { shares.push_back(step_bytes / time / rate); });
      for (size_t i = 0; i < std::size(rows); i++) {
        double first = 0;
        paired(
            [&] {
              first = pass(1);
              return pass(rows[i]);
            },
            [&](double time, double rate) {
              ratios[i].push_back(time / first);
              pass_shares[i].push_back(pass_bytes / time / rate);
            });
      }
    }
    std::printf("%s, %u threads, %s: probe %.1f GB/s (median), %d measurements dropped\n",
                shape->name, threads, backend.kernels().name, median(rates) / 1e9, dropped);
    std::printf("  one step: %.3f of the probe over %zu rounds, %.1f MB of weights\n",
                median(shares), shares.size(), step_bytes / 1e6);
    for (size_t i = 0; i < std::size(rows); i++) {
      std::printf("  t(%u)/t(1) = %.2f   %.3f of the probe\n", rows[i], median(ratios[i]),
                  median(pass_shares[i]));
    }
    std::vector<double> prompts;
    for (int round = 0; round < 3; round++) {
      set_length(sequence, 513, 0, plan.vocab_size);
      prompts.push_back(seconds([&] { flush(model, {&sequence, 1}, Control()); }));
    }
    std::printf("  a prompt of 512 tokens: %.0f tokens/s\n", 512 / median(prompts));
  });
}
