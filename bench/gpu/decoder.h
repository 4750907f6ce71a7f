// A model of a shape and one sequence, to take steps with.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "bench/native/sequence.h"
#include "bench/native/shapes.h"
#include "device.h"
#include "native/model/step.h"
#include "recorder.h"

namespace nvium::bench {

// What steps amounted to.
struct Tally {
  double bytes = 0;  // of weights, keys and values read
  uint64_t tokens = 0, layers = 0;
  std::array<uint64_t, std::size(kExitShares)> exits{};  // tokens that left at each
};

class Decoder {
 public:
  static constexpr uint32_t kBlocks = 4;

  // Behind `prompt` tokens, of which the last is the first step's row.
  Decoder(Device& device, const Shape& shape, uint32_t prompt)
      : recorder_(device.backend),
        shape_(shape),
        prompt_(prompt),
        model_(recorder_, make_plan(shape), source_, Control()) {
    const Plan& plan = model_.plan();
    std::vector<uint32_t> fresh;
    for (uint32_t b = 0; b < kBlocks; b++) fresh.push_back(b);
    s_ = make_sequence(plan, kBlocks);
    model_.reserve(s_, fresh, kBlocks * kBlockPositions);
    begin(0);
    prompt_seconds = device.time([&] { run(0); }).done;
  }

  const char* name() const { return shape_.name; }
  uint32_t exits() const { return shape_.exits ? uint32_t(std::size(kExitShares)) : 1; }
  double parameters() const {
    double sum = 0;
    for (const TensorPlan& tensor : model_.plan().tensors) sum += double(tensor.rows) * tensor.cols;
    return sum;
  }
  Recorder& recorder() { return recorder_; }
  double prompt_seconds = 0;

  // Behind the prompt again; `stream` tells the random numbers of this turn from others.
  void begin(uint32_t stream) {
    s_.length = prompt_;
    s_.tokens.resize(prompt_);
    for (uint32_t i = 0; i < prompt_; i++) s_.tokens[i] = i * 7919 % shape_.vocab;
    s_.generated.assign(prompt_, 0);
    for (uint32_t& f : s_.frontiers) f = std::min(f, prompt_ - 1);
    s_.stream = stream;
  }

  // Bytes of keys and values are the new row's; rows that wait are left out.
  void step(Tally& tally) {
    run(1);
    const StepResult& result = request_.steps.front();
    tally.bytes += result.work.weight_bytes +
                   4.0 * result.layers_run * s_.length * shape_.heads * shape_.head_dim;
    tally.tokens++;
    tally.layers += result.layers_run;
    tally.exits[result.exit - 1]++;
  }

  // Segment m over `rows` rows behind the prompt.
  void pass(uint32_t m, uint32_t rows) {
    s_.length = prompt_ + rows;
    s_.tokens.resize(s_.length, 1);
    s_.generated.assign(s_.length, 0);
    Advance advance{&s_, prompt_ - 1, prompt_ - 1 + rows};
    model_.pass(m, {&advance, 1});
  }

 private:
  // `count` tokens; 0: a flush.
  void run(uint32_t count) {
    request_.count = count;
    request_.stop = Stop::none;
    request_.steps.clear();
    cascade_.run({&request_, 1}, {});
  }

  Recorder recorder_;
  GeneratedSource source_;
  const Shape shape_;
  const uint32_t prompt_;
  Model model_;
  Cascade cascade_{model_};
  Request request_;
  Sequence& s_ = request_.sequence;
};

}  // namespace nvium::bench
