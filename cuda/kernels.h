// What the host code of the CUDA backend calls: one launch each, on a stream, nothing waited for.
//
// Every pointer in these structures is one of the device; `pinned` ones are of mapped host memory
// as the device sees it. Shapes and arithmetic: ../native/backend.h and ../docs/numerics.md.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "../native/backend.h"

namespace nvium::cuda {

// Rows that one pass over a matrix serves.
constexpr uint32_t kPassRows = 16;

// Words by which the blocks or warps of a launch find out who ends last, at most: one for 64
// outputs of a product, and one for a span's kv head in attention.
constexpr uint32_t kMostTickets = 8192;

// Small tables go along with a launch as its parameters; larger ones lie in device memory.
constexpr uint32_t kFewSpans = 4;
constexpr uint32_t kFewBlocks = 48;  // of keys and values

// What launches have to know of the device.
struct Machine {
  uint32_t processors = 1;
  size_t ahead = 0;        // bytes of weights that attention may bring to the second-level cache
  bool dependent = false;  // launches may begin before the one ahead of them has ended
};

// A projection (backend.h) as kernels see it.
struct Product {
  const std::byte* tiles;
  uint32_t cols;
  uint32_t width;
  uint32_t rows;
  float epsilon;
  const float* input;
  const float* norm;      // or null
  float* normed;          // or null
  const float* bias;      // or null
  const float* residual;  // or null
  float* output;          // null: not stored (only where something else is made of it)
  Activation activation;

  // SwiGLU has two tiles for one of the output.
  constexpr uint32_t tile_count() const {
    return ceil_div(width, kTileRows) * (activation == Activation::swiglu ? 2 : 1);
  }
};

// Memory that launches share one after the other.
struct Scratch {
  float* sums;        // of project_scratch(product) bytes
  uint32_t* tickets;  // [kMostTickets], zeroed, zero again afterwards
};

// How a product is spread over blocks.
struct Spread {
  float* sums;        // [chunks of columns][rows][columns of tiles]
  uint32_t* tickets;  // of tile pairs
  uint32_t share;     // tile pairs of a block
};

Product product_of(const Projection& projection);

// Bring kernels to the device and let them take more than 48 KB of shared memory; once a device.
cudaError_t prepare_projections();
cudaError_t prepare_heads();
cudaError_t prepare_attention();
cudaError_t prepare_tables();

// Bytes that project() and, of up to 16 rows, project_and_draw() need for a product's sums.
size_t project_scratch(const Product& product);

// One launch for up to kPassRows rows, else one or (under a norm) two. At most 64 kMostTickets wide
// (SwiGLU: half).
cudaError_t project(const Machine& machine, MatrixType type, const Product& product,
                    const Scratch& scratch, cudaStream_t stream);

// Of more than kPassRows rows; project() comes here.
cudaError_t prepare_panels();
cudaError_t project_panels(const Machine& machine, MatrixType type, const Product& product,
                           const Scratch& scratch, cudaStream_t stream);

// The draws of up to 16 rows.
struct DrawBatch {
  unsigned long long* best;  // [16], zeroed, zero again afterwards
  uint32_t* ticket;          // zeroed, zero again afterwards
  uint32_t* tokens;          // [rows]; may be host memory that is mapped
  Draw draws[kPassRows];
};

// The head and the draw from its logits. Logits are stored if the product has an output, which it
// must where a row asks for top-k.
cudaError_t project_and_draw(const Machine& machine, MatrixType type, const Product& head,
                             const DrawBatch& batch, const Scratch& scratch, cudaStream_t stream);

// A span with its blocks in device memory.
struct DeviceSpan {
  uint32_t begin;
  uint32_t end;
  uint32_t first_row;
  uint32_t first_block;  // index into the table of blocks of the span's block 0
};

struct AttendJob {
  CacheShape shape;
  uint32_t layer;
  const DeviceSpan* spans;  // with `blocks`; null: few_spans and few_blocks
  uint32_t span_count;
  uint32_t most_rows;    // of one span
  uint32_t most_blocks;  // of 64 positions, of one span
  std::byte* const* blocks;
  const float* qkv;
  const float* rotary;
  float* output;
  float* scratch;     // of attend_scratch(job) bytes
  uint32_t* tickets;  // [kMostTickets], zeroed, zero again afterwards
  // Weights that the launches behind this one read first.
  const std::byte* ahead[2];
  size_t ahead_bytes[2];
  DeviceSpan few_spans[kFewSpans];
  std::byte* few_blocks[kFewBlocks];
};

// Bytes of scratch memory that attend() needs; of the job only sizes are looked at. Where more than
// kMostAttendScratch would be needed, it does without any.
constexpr size_t kMostAttendScratch = size_t(64) << 20;
size_t attend_scratch(const AttendJob& job);

// One launch where the rows of each span and the query heads of a kv head fit one block, else two:
// keys and values are then appended first.
cudaError_t attend(const Machine& machine, const AttendJob& job, cudaStream_t stream);

cudaError_t erase(const CacheShape& shape, const DeviceSpan& span, std::byte* const* blocks,
                  uint32_t first_layer, uint32_t last_layer, cudaStream_t stream);

// `tokens` are on the device; or null, and `few` are the tokens.
struct EmbedJob {
  Matrix table;
  uint32_t rows;
  const uint32_t* tokens;
  float* output;
  uint32_t few[kPassRows];
};
cudaError_t embed(const Machine& machine, const EmbedJob& job, cudaStream_t stream);

// `rows` are on the device; or null, and `few` are the rows.
struct NormJob {
  const NormRow* rows;
  uint32_t count, width;
  float epsilon;
  float* output;
  NormRow few[kPassRows];
};
cudaError_t normalise(const Machine& machine, const NormJob& job, cudaStream_t stream);

// Sets *pinned_flag to 1 if a value is not finite; it must be 0 before.
cudaError_t find_non_finite(const Machine& machine, const float* values, size_t count,
                            uint32_t* pinned_flag, cudaStream_t stream);

// `log_exit` and the scratch `log_norm` are [exits, rows] on the device.
cudaError_t mix(const Machine& machine, const Mixture& mixture, const float* log_exit,
                float* log_norm, cudaStream_t stream);

}  // namespace nvium::cuda
