// The weights as the device holds them: every matrix in tiles, in the order a step reads them,
// every vector as fp32.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "../backend.h"
#include "control.h"
#include "plan.h"

namespace nvium {

struct Layer {
  const float* input_norm;
  Matrix qkv;  // rows: queries, keys, values
  Matrix output;
  const float* post_norm;
  Matrix gate_up;  // tiles of gate and up in turn
  Matrix down;
};

struct Adapter {
  Matrix up, down;
};

// From hidden states to logits at one depth.
struct Outlet {
  const float* norm;
  std::optional<Adapter> adapter;
  Matrix head;  // shares its tiles with others that are tied
};

struct Weights {
  Matrix embedding;
  std::vector<Layer> layers;
  std::vector<Outlet> outlets;  // one a segment
  std::vector<Router> routers;  // one an exit
  Buffer memory;
  uint64_t integer_bytes = 0;  // of memory: matrices of integers
};

// Where tensors come from.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // Rows [first, first + count) of a tensor as stored.
  virtual void read(const TensorPlan& tensor, uint32_t first, uint32_t count, std::byte* out) = 0;
};

// Reads the checkpoint's files with pread, so that a file that shrinks is an error and not a fault.
// Throws Failure (ERR_NVIUM_IO).
std::unique_ptr<TensorSource> open_files(const Plan& plan);

// Whether the model will hold matrices of integers.
bool has_integers(const Plan& plan);

// Bytes of all tensors the plan uses: what `control.progress` counts up to.
uint64_t stored_bytes(const Plan& plan);

// Reads, checks and packs. Throws Failure: ERR_NVIUM_MODEL_FORMAT for values that are not finite or
// tied tensors that differ, ERR_NVIUM_IO, ERR_NVIUM_OUT_OF_MEMORY; Aborted.
Weights load_weights(Backend& backend, const Plan& plan, TensorSource& source,
                     const Control& control);

}  // namespace nvium
