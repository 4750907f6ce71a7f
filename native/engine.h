// A model on its device, and the calls it takes one at a time.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "devices.h"
#include "model/call.h"
#include "model/evaluate.h"
#include "outcome.h"

namespace nvium {

class Engine {
 public:
  // Reads the weights, watched and stopped by `control`. Throws Failure, Aborted.
  Engine(Computer computer, Plan plan, const Control& control);

  const Computer& computer() const { return computer_; }
  const Plan& plan() const { return model_->plan(); }
  size_t cache_block_bytes() const { return model_->cache_block_bytes(); }
  size_t boundary_block_bytes() const { return model_->boundary_block_bytes(); }

  // These never throw: the outcome says what no single request is to blame for. Each waits for the
  // one before it.
  Outcome run(Call& call);
  // The call's one sequence, which is fresh and has no tokens to draw.
  Outcome evaluate(Call& call, const Evaluation& out);

  // As Model::trim, unless a call was announced since calls() was that many.
  Outcome trim(uint64_t calls, std::span<const uint8_t> cache, std::span<const uint8_t> boundary,
               uint32_t positions);
  // Calls that were asked for: their blocks are in use, whatever a trim was told before.
  void announce() { calls_++; }
  uint64_t calls() const { return calls_; }

  // As Model::read_block.
  std::vector<std::byte> read_block(bool cache, uint32_t block);
  // The device memory held when the last call ended: one that runs may be changing it.
  Memory memory() const;

 private:
  template <class Compute>
  Outcome compute(const Call& call, const Compute& compute);
  void note_memory();

  Computer computer_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Cascade> cascade_;
  std::mutex one_call_;
  std::atomic<uint64_t> calls_{0};
  mutable std::mutex noting_;
  Memory noted_{};
};

}  // namespace nvium
