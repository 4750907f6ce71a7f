// Whole decoding: a model with exits beside its dense twin and the plain model, taking turns; what
// further rows of a pass cost; what of a step is not kernels.
#pragma once

#include <memory>
#include <string>

#include "decoder.h"
#include "gaps.h"
#include "native/error.h"

namespace nvium::bench {

// What one turn of one model took.
struct Turn {
  double seconds = 0;
  Tally tally;
};

inline Turn take_turn(Device& device, Decoder& d, uint32_t stream, uint32_t tokens) {
  d.begin(stream);
  Turn turn;
  turn.seconds = device
                     .time([&] {
                       for (uint32_t i = 0; i < tokens; i++) d.step(turn.tally);
                     })
                     .done;
  return turn;
}

// Models in turn, `tokens` each time; the first is the one with exits, the second its dense twin.
inline void contest(Device& device, const std::vector<Decoder*>& models, uint32_t tokens) {
  Report& report = device.report;
  const size_t rounds = size_t(device.rounds(20));
  std::vector<std::vector<Turn>> turns(models.size(), std::vector<Turn>(rounds));
  for (Decoder* d : models) take_turn(device, *d, 1000, std::min(tokens, 8u));
  for (size_t round = 0; round < rounds; round++) {
    // Each is first as often as the others.
    for (size_t turn = 0; turn < models.size(); turn++) {
      const size_t i = (round + turn) % models.size();
      turns[i][round] = take_turn(device, *models[i], uint32_t(round), tokens);
    }
  }
  const auto median_of = [&](const auto& value) {
    std::vector<double> all;
    for (size_t r = 0; r < rounds; r++) all.push_back(value(r));
    return median(all);
  };
  for (size_t i = 0; i < models.size(); i++) {
    const Decoder& model = *models[i];
    const std::string name = model.name();
    const std::vector<Turn>& mine = turns[i];
    Tally sum;
    for (const Turn& turn : mine) {
      sum.tokens += turn.tally.tokens;
      sum.layers += turn.tally.layers;
      for (size_t k = 0; k < sum.exits.size(); k++) sum.exits[k] += turn.tally.exits[k];
    }
    const double share = median_of(
        [&](size_t r) { return mine[r].tally.bytes / mine[r].seconds / device.copy_rate; });
    report.add("models",
               Row()
                   .add("model", name)
                   .add("parameters", model.parameters())
                   .add("tokensPerSecond",
                        median_of([&](size_t r) { return double(tokens) / mine[r].seconds; }))
                   .add("MBPerToken",
                        median_of([&](size_t r) { return mine[r].tally.bytes / tokens / 1e6; }))
                   .add("ofCopy", share)
                   .add("layersPerToken", double(sum.layers) / double(sum.tokens)));
    for (uint32_t k = 0; k < model.exits(); k++) {
      report.add("shares", Row()
                               .add("model", name)
                               .add("exit", k + 1)
                               .add("share", double(sum.exits[k]) / double(sum.tokens)));
    }
    if (i == 1) report.target(name + ": a decode step, of the copy", share, ">=", 0.80);
    if (i == 0) continue;
    // How much faster the model with exits is, and how much it would be if bytes were all.
    const auto faster = [&](size_t r) { return mine[r].seconds / turns[0][r].seconds; };
    const auto roof = [&](size_t r) { return mine[r].tally.bytes / turns[0][r].tally.bytes; };
    const double reached = median_of([&](size_t r) { return faster(r) / roof(r); });
    report.add("pairs", Row()
                            .add("model", models[0]->name())
                            .add("against", name)
                            .add("timesAsFast", median_of(faster))
                            .add("roofByBytes", median_of(roof))
                            .add("ofRoof", reached));
    if (i == 1) {
      report.target(std::string(models[0]->name()) + " against " + name + ", of the roof", reached,
                    ">=", 0.90);
    }
  }
}

// What further rows of segment 1 cost, round by round beside one row. A dense model is one segment.
inline void passes(Device& device, Decoder& d) {
  constexpr uint32_t kCounts[] = {1, 2, 4, 8, 16};
  std::vector<double> times[std::size(kCounts)], ratios[std::size(kCounts)];
  for (int round = 0; round < device.rounds(30); round++) {
    for (size_t i = 0; i < std::size(kCounts); i++) {
      const double one = device.time([&] { d.pass(0, 1); }).done;
      times[i].push_back(device.time([&] { d.pass(0, kCounts[i]); }).done);
      ratios[i].push_back(times[i].back() / one);
    }
  }
  for (size_t i = 0; i < std::size(kCounts); i++) {
    const double ratio = median(ratios[i]);
    device.report.add("passes", Row()
                                    .add("model", d.name())
                                    .add("rows", kCounts[i])
                                    .add("us", median(times[i]) * 1e6)
                                    .add("ofOneRow", ratio));
    if (kCounts[i] == 8) {
      device.report.target(std::string(d.name()) + ": t(8) / t(1)", ratio, "<=", 1.15);
    }
  }
  d.begin(0);
}

// Loads the shapes that fit and measures them: the model with exits, its dense twin, and others.
inline void decode(Device& device, const std::vector<Shape>& shapes, uint32_t prompt,
                   uint32_t tokens) {
  std::vector<std::unique_ptr<Decoder>> kept;
  std::vector<Decoder*> models;
  for (const Shape& shape : shapes) {
    const double begin = now();
    Row row;
    row.add("model", shape.name);
    try {
      kept.push_back(std::make_unique<Decoder>(device, shape, prompt));
      models.push_back(kept.back().get());
      row.add("seconds", now() - begin)
          .add("promptTokens", prompt - 1)
          .add("promptTokensPerSecond", (prompt - 1) / kept.back()->prompt_seconds);
    } catch (const Failure& failure) {
      // Two are needed to compare.
      if (failure.code != "ERR_NVIUM_OUT_OF_MEMORY" || kept.size() < 2) throw;
      row.add("missing", "it does not fit beside the others");
    }
    device.report.add("loading", row);
  }
  contest(device, models, tokens);
  for (Decoder* d : models) passes(device, *d);
  std::vector<double> steps;
  for (Decoder* d : models) steps.push_back(replay(device, *d));
  // Last, for tracing may leave something behind.
  for (size_t i = 0; i < models.size(); i++) count_gaps(device, *models[i], steps[i]);
}

}  // namespace nvium::bench
