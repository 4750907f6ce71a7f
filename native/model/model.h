// The model, written once over Backend: what a segment, an exit and an outlet compute. Which of
// them runs when is step.h.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "../backend.h"
#include "control.h"
#include "plan.h"
#include "request.h"
#include "store.h"
#include "weights.h"

namespace nvium {

constexpr uint32_t kNoExitRow = UINT32_MAX;

// Positions [begin, end) of a sequence that a segment is to process.
struct Advance {
  Sequence* sequence = nullptr;
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t exit_row = kNoExitRow;  // which of exit_rows() its last row is kept as
  bool finite = true;              // false: undone, since a value was not
};

// A row that leaves, and the token drawn for it.
struct Leaving {
  uint32_t exit;  // 0-based
  uint32_t row;   // of exit_rows()
  Draw draw;
  uint32_t owner;             // the caller's: emit() orders rows anew
  uint32_t token = kNoToken;  // which it stays where a logit is not finite
};

struct Memory {
  uint64_t weights, cache, boundary, workspace;
  uint64_t embedding, integers;  // of weights: the table of embeddings, matrices of integers
};

class Model {
 public:
  // Rows of one pass through a segment, at the most. (Tuning: no bit depends on it.)
  static constexpr uint32_t kPassRows = 256;

  // Called, as all that computes below, inside backend.enter().
  Model(Backend& backend, Plan plan, TensorSource& source, const Control& control);

  const Plan& plan() const { return plan_; }
  Backend& backend() { return backend_; }
  Memory memory() const;
  // Where the weights lie, memory().weights bytes on the device: what benchmarks probe.
  const std::byte* weights_memory() const { return weights_.memory.data(); }
  const Work& work() const { return work_; }
  size_t cache_block_bytes() const { return cache_.block_bytes(); }
  size_t boundary_block_bytes() const { return boundary_.block_bytes(); }

  // Makes the blocks that the sequence names, zeroes the cache blocks `fresh`, which are among
  // them, and extends the rotary table to `positions`. Throws Failure (ERR_NVIUM_OUT_OF_MEMORY) and
  // Aborted; then it has made nothing.
  void reserve(const Sequence& sequence, std::span<const uint32_t> fresh, uint32_t positions,
               const Control& control = {});

  // Gives memory back: of blocks that are not used (used[b] != 0 where one is, none from
  // used.size() on), and of a rotary table much longer than `positions`.
  void trim(std::span<const uint8_t> cache, std::span<const uint8_t> boundary, uint32_t positions);

  // The bytes of a block of either pool that exists, for tests of equality. Throws Failure
  // (ERR_NVIUM_INVALID_ARG).
  std::vector<std::byte> read_block(bool cache, uint32_t block);

  // --- segment.cc ---

  // Runs segment `m` over spans of different sequences, kPassRows rows together at the most, and
  // moves their frontiers. A span with a value that is not finite is undone by itself.
  void pass(uint32_t m, std::span<Advance> advances);

  // A pass without boundaries and checks: `rows` rows in hidden() go through segment `m` in place.
  void run_segment(uint32_t m, std::span<const Span> spans, uint32_t rows);
  float* hidden() { return hidden_.floats(); }
  void embed(std::span<const uint32_t> tokens);
  // Appends where each of the sequence's blocks of keys and values lies.
  void add_blocks(const Sequence& sequence, std::vector<std::byte*>& blocks) const;

  // --- exit.cc ---

  // Makes room for `rows` rows that have come to an exit, and for `heads` rows of logits.
  void reserve_exits(uint32_t rows, uint32_t heads);
  float* exit_row(uint32_t row) { return exit_rows_.floats() + size_t(row) * plan_.hidden_size; }
  // Router m: out[2 r] continue and out[2 r + 1] exit logit of row r, in host memory.
  void route(uint32_t m, const float* hidden, uint32_t rows, float* out);
  // One token drawn for each row, of which reserve_exits() said how many come to a head. Heads that
  // share a matrix take their rows in one pass.
  void emit(std::span<Leaving> leaving);
  // Outlet m, the logits themselves: [rows, vocab] on the device. Throws Failure
  // (ERR_NVIUM_NON_FINITE).
  void logits(uint32_t m, const float* hidden, uint32_t rows, float* out);
  // What is said of a value that is not finite behind "segment 2", say.
  static Failure not_finite(const char* part, uint32_t m);

 private:
  void extend_rotary(uint32_t positions, const Control& control);
  // Normalised rows, adapters applied, in outlet_ from row `at` on: what outlet m's head takes.
  void refine(uint32_t m, uint32_t at, uint32_t rows);
  void project(const Projection& projection);

  Backend& backend_;
  Plan plan_;
  Weights weights_;
  CacheShape shape_;
  BlockStore cache_, boundary_;
  Work work_;
  // Rows of a pass.
  Buffer hidden_, qkv_, attention_, feed_forward_;
  // Rows at an exit, and between there and a token.
  Buffer exit_rows_, router_inner_, router_outer_;
  Buffer outlet_, adapter_, logits_;
  uint32_t exit_capacity_ = 0, head_capacity_ = 0;
  Buffer rotary_;  // [positions, head_dim / 2, (cos, sin)]
  uint32_t rotary_positions_ = 0;
  // Lists of pass and emit.
  std::vector<std::byte*> blocks_;
  std::vector<Span> spans_;
  std::vector<uint32_t> tokens_;
  std::vector<NormRow> norms_;
  std::vector<Draw> draws_;
};

}  // namespace nvium
