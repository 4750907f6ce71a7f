// A small model with made-up weights, and plain block tables to drive it: no files, no Node.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "native/cpu/cpu_backend.h"
#include "native/error.h"
#include "native/model/call.h"
#include "native/model/evaluate.h"
#include "native/model/step.h"
#include "native/model/weights.h"
#include "native/numerics/philox.h"
#include "native/numerics/types.h"
#include "spy.h"

namespace nvium::small {

// Sizes that are multiples of nothing: rows and columns of every tile are padded.
inline Plan make_plan(StoredType type, Matrices matrices = Matrices::as_stored) {
  Plan plan{};
  plan.layers = 5;
  plan.hidden_size = 36;
  plan.intermediate_size = 45;
  plan.heads = 4;
  plan.kv_heads = 2;
  plan.head_dim = 10;
  plan.vocab_size = 71;
  plan.norm_epsilon = 1e-6f;
  plan.router_temperature = 1;
  plan.rotary_theta = 10000;
  plan.files = {"made up"};
  const auto tensor = [&](const std::string& name, uint32_t rows, uint32_t cols) {
    // Its index, for `Source` to tell tensors apart, lies where a file has the offset.
    const size_t index = plan.tensors.size();
    plan.tensors.push_back({name, 0, index, rows, cols, type});
    return TensorIndex(index);
  };
  const uint32_t d = plan.hidden_size, q = plan.heads * plan.head_dim,
                 k = plan.kv_heads * plan.head_dim, ffn = plan.intermediate_size;
  plan.embedding = tensor("embedding", plan.vocab_size, d);
  for (uint32_t i = 0; i < plan.layers; i++) {
    plan.layer_plans.push_back({tensor("norm", d, 1), tensor("query", q, d), tensor("key", k, d),
                                tensor("value", k, d), tensor("output", d, q), tensor("norm", d, 1),
                                tensor("gate", ffn, d), tensor("up", ffn, d),
                                tensor("down", d, ffn)});
  }
  for (const uint32_t after : {1u, 3u}) {
    OutletPlan outlet{tensor("norm", d, 1), {}, plan.embedding};
    outlet.adapter = {tensor("adapter up", 9, d), tensor("adapter down", d, 9)};
    RouterPlan router{
        {{tensor("fc1", 14, d), tensor("bias", 14, 1), tensor("fc2", d, 14), tensor("bias", d, 1)}},
        tensor("norm", d, 1),
        tensor("head", 2, d),
        tensor("bias", 2, 1)};
    plan.exits.push_back({after, outlet, router});
  }
  plan.final = {tensor("norm", d, 1), {}, tensor("head", plan.vocab_size, d)};
  plan.matrices = matrices;
  // A copy of a tensor, which the loader compares.
  plan.must_equal = {{plan.embedding, plan.embedding}};
  return plan;
}

// Every element is a function of its tensor, row and column.
class Source : public TensorSource {
 public:
  void read(const TensorPlan& tensor, uint32_t first, uint32_t count, std::byte* out) override {
    for (uint32_t r = first; r < first + count; r++) {
      for (uint32_t c = 0; c < tensor.cols; c++) {
        const numerics::Words w = numerics::philox(uint32_t(tensor.offset), r, c, 0, 3, 4);
        const float value = float(int32_t(w.w0)) * 0x1p-31f * scale(tensor);
        out = put(tensor.type, tensor.name == "norm" ? value + 1 : value, out);
      }
    }
  }

 private:
  // Routers are undecided, so that tokens leave everywhere.
  static float scale(const TensorPlan& tensor) { return tensor.rows == 2 ? 0.02f : 0.6f; }

  static std::byte* put(StoredType type, float value, std::byte* out) {
    if (type == StoredType::f32) {
      std::memcpy(out, &value, 4);
      return out + 4;
    }
    uint16_t half = numerics::bf16_from_float(value);
    // As f16, small numbers of either sign: the exponent field is kept below one.
    if (type == StoredType::f16) half = uint16_t((half & 0x83ff) | 0x2800 | (half & 0x0400));
    std::memcpy(out, &half, 2);
    return out + 2;
  }
};

inline std::vector<uint32_t> prompt(uint32_t length) {
  std::vector<uint32_t> tokens(length);
  for (uint32_t i = 0; i < length; i++) tokens[i] = (5 + i * 31) % 71;
  return tokens;
}

struct StepOptions {
  float temperature = 1;
  uint32_t top_k = 0;
  uint32_t max_pending = 15;
};

// `count` tokens for each of the sequences, which are moved from; 0: flush.
inline std::vector<Request> make_requests(std::span<Sequence> sequences,
                                          std::span<const StepOptions> options, uint32_t count,
                                          const Control& control = {}) {
  std::vector<Request> requests(sequences.size());
  for (size_t i = 0; i < requests.size(); i++) {
    Request& r = requests[i];
    r.law = {.temperature = options[i].temperature, .top_k = options[i].top_k};
    r.max_pending = options[i].max_pending;
    r.count = count;
    r.control = control;
  }
  // Nothing fails from here on.
  for (size_t i = 0; i < requests.size(); i++) requests[i].sequence = std::move(sequences[i]);
  return requests;
}

// A model and the blocks of its sequences, handed out in order and never taken back.
class World {
 public:
  explicit World(StoredType type, uint32_t threads = 1) : World(make_plan(type), threads, false) {}
  World(Plan plan, uint32_t threads, bool place)
      : backend_({threads, place, "", true}), spy(backend_), plan_(std::move(plan)) {
    Source source;
    load(source, Control());
  }
  World(Plan plan, TensorSource& source, const Control& control)
      : backend_({1, false, ""}), spy(backend_), plan_(std::move(plan)) {
    load(source, control);
  }

  Model& model() { return *model_; }
  const Plan& plan() const { return plan_; }

  Sequence sequence(const std::vector<uint32_t>& tokens, uint64_t seed) const {
    Sequence s;
    s.seed = seed;
    s.frontiers.assign(plan_.segments(), 0);
    s.boundary.resize(plan_.segments() - 1);
    append(s, tokens);
    return s;
  }

  void append(Sequence& s, const std::vector<uint32_t>& tokens) const {
    s.tokens.insert(s.tokens.end(), tokens.begin(), tokens.end());
    s.generated.insert(s.generated.end(), tokens.size(), 0);
    s.length += uint32_t(tokens.size());
  }

  // A second sequence over the same blocks, to be copied to blocks of its own when it writes.
  Sequence fork(const Sequence& from) {
    Sequence s = from;
    for (int32_t& spare : s.cache.spare) spare = int32_t(cache_++);
    for (BlockTable& table : s.boundary) {
      for (int32_t& spare : table.spare) spare = int32_t(boundary_++);
    }
    return s;
  }

  // Makes room for `more` rows behind those of the sequences. It may be called again after it
  // failed.
  void reserve(std::span<Sequence> sequences, uint32_t more, const Control& control = {}) {
    for (Sequence& s : sequences) {
      const uint32_t end = s.length + more, blocks = ceil_div(end, kBlockPositions);
      std::vector<uint32_t> fresh;
      while (s.cache.block.size() < blocks) {
        add(s.cache, cache_);
        cache_++;
      }
      for (BlockTable& table : s.boundary) {
        while (table.block.size() < blocks) {
          add(table, boundary_);
          boundary_++;
        }
      }
      // Those that hold nothing yet, be they new or left by a call that failed.
      for (size_t b = ceil_div(s.frontiers[0], kBlockPositions); b < blocks; b++) {
        if (s.cache.spare[b] == kNoBlock) fresh.push_back(uint32_t(s.cache.block[b]));
      }
      enter([&] { model_->reserve(s, fresh, end, control); });
    }
  }

  StepResult step(Sequence& s, const StepOptions& options = {}) {
    StepResult result{};
    step({&s, 1}, {&options, 1}, {&result, 1});
    return result;
  }

  // One step of each. Throws what ended one of them.
  void step(std::span<Sequence> sequences, std::span<const StepOptions> options,
            std::span<StepResult> results, const Control& control = {}) {
    reserve(sequences, 1, control);
    run(sequences, options, 1, control,
        [&](size_t i, const Request& r) { results[i] = r.steps.front(); });
  }

  void flush(Sequence& s, const Control& control = {}) {
    reserve({&s, 1}, 0, control);
    const StepOptions options;
    run({&s, 1}, {&options, 1}, 0, control, [](size_t, const Request&) {});
  }

  // A call for sequences whose rows are reserved.
  void run(std::span<Request> requests, const Limits& limits = {}) {
    enter([&] { cascade_->run(requests, limits); });
  }
  // The same with what goes before it, as an engine does it.
  void run(Call& call) {
    enter([&] { nvium::run(*model_, *cascade_, call); });
  }

  // exit_probs, exit_logits and mixture_log_probs, one after another.
  std::vector<float> evaluate(const std::vector<uint32_t>& tokens, const Control& control = {}) {
    Sequence s = sequence(tokens, 0);
    reserve({&s, 1}, 0);
    const size_t t = tokens.size(), n = plan_.segments(), v = plan_.vocab_size;
    std::vector<float> out(t * n + n * t * v + t * v);
    enter([&] {
      nvium::evaluate(*model_, s, control,
                      {out.data(), out.data() + t * n, out.data() + t * n + n * t * v});
    });
    return out;
  }

  // Keys and values of all positions each layer has processed.
  std::vector<std::byte> cache_bits(const Sequence& s) {
    const StoredType key = plan_.tensors[plan_.layer_plans[0].key].type;
    const CacheShape shape{plan_.layers, plan_.heads, plan_.kv_heads, plan_.head_dim,
                           key == StoredType::bf16 ? CacheType::bf16 : CacheType::f32};
    const size_t size = bytes_of(shape.type);
    std::vector<std::byte> bits;
    for (size_t b = 0; b < s.cache.block.size(); b++) {
      const std::vector<std::byte> block = model_->read_block(true, uint32_t(s.cache.block[b]));
      for (uint32_t m = 0; m < plan_.segments(); m++) {
        for (uint32_t i = plan_.segment_begin(m); i < plan_.segment_end(m); i++) {
          for (uint32_t h = 0; h < shape.kv_heads; h++) {
            const std::byte* keys = block.data() + i * shape.layer_bytes() + h * shape.head_bytes();
            const std::byte* values = keys + shape.key_bytes();
            for (uint32_t slot = 0; slot < kBlockPositions; slot++) {
              if (b * kBlockPositions + slot >= s.frontiers[m]) break;
              for (uint32_t k = 0; k < shape.head_dim; k++) {
                const std::byte* at = keys + slot / kTileRows * shape.key_tile_bytes() +
                                      tile_index(shape.type, slot % kTileRows, k) * size;
                bits.insert(bits.end(), at, at + size);
                at = values + k / kTileRows * shape.value_tile_bytes() +
                     tile_index(shape.type, k % kTileRows, slot) * size;
                bits.insert(bits.end(), at, at + size);
              }
            }
          }
        }
      }
    }
    return bits;
  }

  template <class Job>
  void enter(const Job& job) {
    backend_.enter(job);
  }

 private:
  template <class Visit>
  void run(std::span<Sequence> sequences, std::span<const StepOptions> options, uint32_t count,
           const Control& control, const Visit& done) {
    std::vector<Request> requests = make_requests(sequences, options, count, control);
    // Frontiers that moved stand, however it ends.
    const auto give_back = [&] {
      for (size_t i = 0; i < requests.size(); i++) {
        sequences[i] = std::move(requests[i].sequence);
      }
    };
    try {
      enter([&] { cascade_->run(requests, {}); });
    } catch (...) {
      give_back();
      throw;
    }
    for (size_t i = 0; i < requests.size(); i++) {
      if (!requests[i].steps.empty() || count == 0) done(i, requests[i]);
    }
    give_back();
    for (Request& r : requests) {
      if (r.stop == Stop::aborted) throw Aborted{};
      if (r.stop == Stop::failed) throw std::move(r.failure);
    }
  }

  void load(TensorSource& source, const Control& control) {
    enter([&] {
      model_ = std::make_unique<Model>(spy, plan_, source, control);
      cascade_ = std::make_unique<Cascade>(*model_);
    });
  }

  static void add(BlockTable& table, uint32_t block) {
    table.spare.push_back(kNoBlock);
    try {
      table.block.push_back(int32_t(block));
    } catch (...) {
      table.spare.pop_back();
      throw;
    }
  }

  cpu::CpuBackend backend_;

 public:
  Spy spy;

 private:
  Plan plan_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Cascade> cascade_;
  uint32_t cache_ = 0, boundary_ = 0;
};

// What a sequence drew here, and the bits it left.
struct Trace {
  std::vector<uint32_t> tokens, exits;
  std::vector<std::byte> cache;

  // Not the exits: a sequence that had drawn some tokens before shows fewer.
  bool operator==(const Trace& other) const {
    return tokens == other.tokens && cache == other.cache;
  }
};

// Steps until the sequence holds `length` tokens, then computes everything.
inline Trace finish(World& world, Sequence& s, uint32_t length, const StepOptions& options = {}) {
  Trace trace;
  while (s.length < length) trace.exits.push_back(world.step(s, options).exit);
  world.flush(s);
  trace.tokens = s.tokens;
  trace.cache = world.cache_bits(s);
  return trace;
}

}  // namespace nvium::small
