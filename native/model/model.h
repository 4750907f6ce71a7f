// The model, written once over Backend: what a segment, an exit and an outlet compute. Which of
// them runs when is step.h.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "../backend.h"
#include "control.h"
#include "plan.h"
#include "sequence.h"
#include "store.h"
#include "weights.h"

namespace nvium {

// Positions [begin, end) of a sequence that a segment is to process.
struct Advance {
  Sequence* sequence;
  uint32_t begin;
  uint32_t end;
};

// What was computed, for reports of cost.
struct Work {
  uint64_t layer_passes = 0;  // times one layer's weights were read
  uint64_t layer_rows = 0;    // rows times layers
  uint64_t weight_bytes = 0;  // bytes of weights read
};

struct Memory {
  uint64_t weights, cache, boundary, workspace;
  uint64_t embedding, integers;  // of weights: the table of embeddings, matrices of integers
};

class Model {
 public:
  // Rows of one pass through a segment: longer spans run in chunks.
  static constexpr uint32_t kChunkRows = 256;

  // Called, as all that computes below, inside backend.enter().
  Model(Backend& backend, Plan plan, TensorSource& source, const Control& control);

  const Plan& plan() const { return plan_; }
  Backend& backend() { return backend_; }
  Memory memory() const;
  // Where the weights lie, memory().weights bytes on the device: what benchmarks probe.
  const std::byte* weights_memory() const { return weights_.memory.data(); }
  const Work& work() const { return work_; }

  // Makes the blocks that the sequences name, zeroes the cache blocks `fresh`, which are among
  // them, and extends the rotary table to `positions`. Throws Failure (ERR_NVIUM_OUT_OF_MEMORY) and
  // Aborted; then it has made nothing.
  void reserve(std::span<const Sequence> sequences, std::span<const uint32_t> fresh,
               uint32_t positions, const Control& control = {});

  // Gives memory back: of blocks that are not used (used[b] != 0 where one is, none from
  // used.size() on), and of a rotary table much longer than `positions`.
  void trim(std::span<const uint8_t> cache, std::span<const uint8_t> boundary, uint32_t positions);

  // The bytes of a block of either pool that exists, for tests of equality. Throws Failure
  // (ERR_NVIUM_INVALID_ARG).
  std::vector<std::byte> read_block(bool cache, uint32_t block);

  // --- segment.cc ---

  // Runs segment `m` over the spans and moves each sequence's frontier, chunk by chunk. The last
  // row of spans[i] is kept as row i of exit_rows(). Throws Failure (ERR_NVIUM_NON_FINITE, the
  // chunk undone) and Aborted (between chunks).
  void advance(uint32_t m, std::span<const Advance> spans, const Control& control);
  const float* exit_rows() const { return exit_rows_.floats(); }
  void move_exit_row(uint32_t from, uint32_t to);

  // One chunk without boundaries and checks: `rows` rows in hidden() go through segment `m` in
  // place.
  void run_segment(uint32_t m, std::span<const Span> spans, uint32_t rows);
  float* hidden() { return hidden_.floats(); }
  void embed(std::span<const uint32_t> tokens);
  // Appends where each of the sequence's blocks of keys and values lies.
  void add_blocks(const Sequence& sequence, std::vector<std::byte*>& blocks) const;

  // --- exit.cc ---

  // Makes room for `rows` rows at the exits.
  void reserve_exits(uint32_t rows);
  // Router m: out[2 r] continue and out[2 r + 1] exit logit of row r, in host memory. Throws
  // Failure (ERR_NVIUM_NON_FINITE).
  void route(uint32_t m, const float* hidden, uint32_t rows, float* out);
  // Outlet m, one token drawn a row. Throws Failure (ERR_NVIUM_NON_FINITE).
  void emit(uint32_t m, const float* hidden, std::span<const Draw> draws, uint32_t* tokens);
  // Outlet m, the logits themselves: [rows, vocab] on the device. Throws Failure
  // (ERR_NVIUM_NON_FINITE).
  void logits(uint32_t m, const float* hidden, uint32_t rows, float* out);

 private:
  // The part of an Advance that lies in one chunk.
  struct Piece {
    Sequence* sequence;
    uint32_t begin, end;
    uint32_t first_row;
    int32_t exit_row;  // where its last row is kept, or -1 when the span goes on
  };

  void extend_rotary(uint32_t positions, const Control& control);
  void run_chunk(uint32_t m, uint32_t rows);
  Projection head(uint32_t m, const float* hidden, uint32_t rows);
  void project(const Projection& projection);
  [[noreturn]] static void fail_finite(const std::string& where);

  Backend& backend_;
  Plan plan_;
  Weights weights_;
  CacheShape shape_;
  BlockStore cache_, boundary_;
  Work work_;
  // Rows of a chunk.
  Buffer hidden_, qkv_, attention_, feed_forward_;
  // Rows at an exit; `exit_capacity_` of each.
  Buffer exit_rows_, outlet_, adapter_, router_inner_, router_outer_, logits_;
  uint32_t exit_capacity_ = 0;
  Buffer rotary_;  // [positions, head_dim / 2, (cos, sin)]
  uint32_t rotary_positions_ = 0;
  // What run_chunk is called for, and its lists.
  std::vector<Piece> pieces_;
  std::vector<std::byte*> blocks_;
  std::vector<Span> spans_;
  std::vector<uint32_t> tokens_;
};

}  // namespace nvium
