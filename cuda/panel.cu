// Projections of more rows than one pass over the weights serves, as those of prompts.
//
// A block has a panel of the output: 128 columns (four tiles) and 32, 64 or 128 rows. A thread has
// two columns of each tile, so that gate and up of SwiGLU are its own, and an eighth as many rows
// as threads stand in a column. Sixteen columns of K at a time are in shared memory, widened once,
// while the next ones are on their way in registers. There are two levels of accumulators: a
// chunk's, which runs from +0 through its pairs, the odd element first, and the total, to which
// chunks are added in ascending order. So the bits are those of every other way.
//
// The scales of a norm are found first, by a launch of their own.
#include "epilogue.cuh"
#include "operand.cuh"

namespace nvium::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kSide = 16;  // threads along columns, and along rows
constexpr uint32_t kStep = 16;  // columns of K at a time
constexpr uint32_t kStepPairs = kStep / 2;
constexpr uint32_t kTiles = 4;                        // of a panel
constexpr uint32_t kTileColumns = kTileRows / kSide;  // of a thread
constexpr uint32_t kPanelColumns = kTiles * kTileRows;

// A warp a row.
__global__ void __launch_bounds__(kThreads, 1) scale_kernel(const Product p, float* const scales) {
  nv::grid_dependency_trigger();
  nv::grid_dependency_wait();
  const uint32_t row = blockIdx.x * (kThreads / kWarp) + warp_id();
  if (row >= p.rows) return;
  const float scale = scale_of(p, row);
  if (lane_id() == 0) scales[row] = scale;
}

// The weights of a step as they come: 16 bytes each.
template <MatrixType kType>
struct Weights {
  static constexpr uint32_t kTileBytes = kStepPairs * Packing<kType>::kPairBytes;
  static constexpr uint32_t kLoads = kTiles * kTileBytes / (16 * kThreads);
  uint4 words[kLoads];

  __device__ __forceinline__ void load(const Product& p, uint32_t first_tile, uint32_t tiles,
                                       size_t tile_bytes, uint32_t first_k) {
    NV_UNROLL
    for (uint32_t i = 0; i < kLoads; i++) {
      const uint32_t at = (i * kThreads + threadIdx.x) * 16;
      const uint32_t tile = first_tile + at / kTileBytes;
      const size_t within = size_t(first_k) / 2 * Packing<kType>::kPairBytes + at % kTileBytes;
      words[i] = make_uint4(0, 0, 0, 0);
      if (tile < tiles && within < tile_bytes) {
        words[i] = __ldg(reinterpret_cast<const uint4*>(p.tiles + tile * tile_bytes + within));
      }
    }
  }

  // As floats: [column of K][kPanelColumns].
  __device__ __forceinline__ void widen(float* to) const {
    NV_UNROLL
    for (uint32_t i = 0; i < kLoads; i++) {
      const uint32_t at = (i * kThreads + threadIdx.x) * 16;
      const uint32_t tile = at / kTileBytes, within = at % kTileBytes;
      const uint4 v = words[i];
      float* const column = to + tile * kTileRows;
      const auto put = [&](uint32_t k, uint32_t row, float a, float b, float c, float d) {
        *reinterpret_cast<float4*>(column + k * kPanelColumns + row) = make_float4(a, b, c, d);
      };
      if constexpr (kType == MatrixType::bf16) {
        const uint32_t k = within / 128 * 2, row = within % 128 / 4;
        put(k, row, bf16_low(v.x), bf16_low(v.y), bf16_low(v.z), bf16_low(v.w));
        put(k + 1, row, bf16_high(v.x), bf16_high(v.y), bf16_high(v.z), bf16_high(v.w));
      } else if constexpr (kType == MatrixType::f32) {
        put(within / 128, within % 128 / 4, numerics::from_bits(v.x), numerics::from_bits(v.y),
            numerics::from_bits(v.z), numerics::from_bits(v.w));
      } else {
        const uint32_t k = within / 64, row = within % 64 / 2;
        const auto low = [](uint32_t w) { return numerics::f16_to_float(uint16_t(w)); };
        const auto high = [](uint32_t w) { return numerics::f16_to_float(uint16_t(w >> 16)); };
        put(k, row, low(v.x), high(v.x), low(v.y), high(v.y));
        put(k, row + 4, low(v.z), high(v.z), low(v.w), high(v.w));
      }
    }
  }
};

// A panel of 16 kThreadRows rows.
template <MatrixType kType, int kThreadRows>
__global__ void __launch_bounds__(kThreads, 1)
    panel_kernel(const Product p, const float* const scales) {
  constexpr uint32_t kPanelRows = kSide * kThreadRows;
  // Four words beyond, so that those who write sixteen columns of a row meet in twos at most.
  constexpr uint32_t kRowStride = kPanelRows + 4;
  NV_SHARED(float[2][kStep * kPanelColumns], weights);
  NV_SHARED(float[2][kStep * kRowStride], rows);
  nv::grid_dependency_trigger();
  const uint32_t tiles = p.tile_count(), first_tile = blockIdx.x * kTiles;
  const uint32_t first_row = blockIdx.y * kPanelRows;
  const size_t tile_bytes = size_t(even(p.cols)) / 2 * Packing<kType>::kPairBytes;
  const uint32_t steps = ceil_div(p.cols, kStep);

  // Of the operands a thread brings one column of K, and every sixteenth row.
  const uint32_t tx = threadIdx.x % kSide, ty = threadIdx.x / kSide;
  Weights<kType> next_weights;
  float next_rows[kThreadRows];
  const uint32_t own_row = first_row + ty;
  const float* const own_input = p.input + size_t(own_row) * p.cols + tx;
  float* const own_normed =
      blockIdx.x == 0 && p.normed != nullptr ? p.normed + size_t(own_row) * p.cols + tx : nullptr;
  const uint32_t own_rows = own_row < p.rows ? ceil_div(p.rows - own_row, kSide) : 0;
  const bool has_norm = p.norm != nullptr;
  float own_scales[kThreadRows];
  const auto load_scales = [&] {
    NV_UNROLL
    for (uint32_t i = 0; i < kThreadRows; i++) {
      own_scales[i] = has_norm && i < own_rows ? scales[own_row + i * kSide] : 0.0f;
    }
  };
  const auto load_rows = [&](uint32_t step) {
    const uint32_t k = step * kStep;
    const bool inside = k + tx < p.cols;
    const float weight = has_norm && inside ? p.norm[k + tx] : 0.0f;
    NV_UNROLL
    for (uint32_t i = 0; i < kThreadRows; i++) {
      const size_t at = size_t(i * kSide) * p.cols + k;
      const bool there = inside && i < own_rows;
      float x = there ? own_input[at] : 0.0f;
      if (has_norm) x = numerics::normalised(x, own_scales[i], weight);
      if (there && own_normed != nullptr) own_normed[at] = x;
      next_rows[i] = as_operand<kType>(x);
    }
  };
  const auto keep = [&](uint32_t buffer) {
    next_weights.widen(weights[buffer]);
    NV_UNROLL
    for (int i = 0; i < kThreadRows; i++) {
      rows[buffer][tx * kRowStride + i * kSide + ty] = next_rows[i];
    }
  };

  float totals[kThreadRows][kTiles * kTileColumns], sums[kThreadRows][kTiles * kTileColumns];
  NV_UNROLL
  for (int r = 0; r < kThreadRows; r++) {
    NV_UNROLL
    for (uint32_t n = 0; n < kTiles * kTileColumns; n++) totals[r][n] = sums[r][n] = 0.0f;
  }
  next_weights.load(p, first_tile, tiles, tile_bytes, 0);
  nv::grid_dependency_wait();
  load_scales();
  load_rows(0);
  keep(0);
  __syncthreads();
  for (uint32_t step = 0; step < steps; step++) {
    const uint32_t buffer = step % 2;
    const bool more = step + 1 < steps;
    if (more) {
      next_weights.load(p, first_tile, tiles, tile_bytes, (step + 1) * kStep);
      load_rows(step + 1);
    }
    NV_UNROLL
    for (uint32_t i = 0; i < kStep; i++) {
      const uint32_t k = i ^ 1;  // the odd one of a pair first
      float w[kTiles * kTileColumns], x[kThreadRows];
      NV_UNROLL
      for (uint32_t t = 0; t < kTiles; t++) {
        const float2 v = *reinterpret_cast<const float2*>(weights[buffer] + k * kPanelColumns +
                                                          t * kTileRows + tx * kTileColumns);
        w[2 * t] = v.x, w[2 * t + 1] = v.y;
      }
      const float* const row = rows[buffer] + k * kRowStride + ty * kThreadRows;
      NV_UNROLL
      for (int r = 0; r < kThreadRows; r += 2) {
        const float2 v = *reinterpret_cast<const float2*>(row + r);
        x[r] = v.x, x[r + 1] = v.y;
      }
      NV_UNROLL
      for (int r = 0; r < kThreadRows; r++) {
        NV_UNROLL
        for (uint32_t n = 0; n < kTiles * kTileColumns; n++) {
          sums[r][n] = numerics::fma(w[n], x[r], sums[r][n]);
        }
      }
    }
    if (!more || (step + 1) % (numerics::kDotChunk / kStep) == 0) {  // a chunk ends
      NV_UNROLL
      for (int r = 0; r < kThreadRows; r++) {
        NV_UNROLL
        for (uint32_t n = 0; n < kTiles * kTileColumns; n++) {
          totals[r][n] += sums[r][n];
          sums[r][n] = 0.0f;
        }
      }
    }
    // The other buffer was last read before the barrier that ended the step before.
    if (more) keep(1 - buffer);
    __syncthreads();
  }

  const bool paired = p.activation == Activation::swiglu;
  NV_UNROLL
  for (int r = 0; r < kThreadRows; r++) {
    const uint32_t row = first_row + ty * kThreadRows + r;
    NV_UNROLL
    for (uint32_t t = 0; t < kTiles; t++) {
      const float own[2] = {totals[r][2 * t], totals[r][2 * t + 1]};
      const uint32_t u = t ^ 1;
      const float other[2] = {totals[r][2 * u], totals[r][2 * u + 1]};
      if (paired && t % 2 == 1) continue;
      const uint32_t tile = paired ? (first_tile + t) / 2 : first_tile + t;
      store(p, row, tile * kTileRows + tx * kTileColumns, own, other);
    }
  }
}

// Calls launch.template run<type, rows of a thread>().
template <class Launch>
cudaError_t for_panel(MatrixType type, int thread_rows, const Launch& launch) {
  const auto with_rows = [&]<MatrixType kType>() {
    if (thread_rows == 2) return launch.template run<kType, 2>();
    if (thread_rows == 4) return launch.template run<kType, 4>();
    return launch.template run<kType, 8>();
  };
  switch (type) {
    case MatrixType::bf16:
      return with_rows.template operator()<MatrixType::bf16>();
    case MatrixType::f16:
      return with_rows.template operator()<MatrixType::f16>();
    case MatrixType::f32:
      return with_rows.template operator()<MatrixType::f32>();
    default:
      return cudaErrorInvalidValue;
  }
}

struct PanelLaunch {
  const Machine& machine;
  const Product& product;
  const Scratch& scratch;
  cudaStream_t stream;

  template <MatrixType kType, int kThreadRows>
  cudaError_t run() const {
    const dim3 grid(ceil_div(product.tile_count(), kTiles),
                    ceil_div(product.rows, kSide * kThreadRows));
    return nv::launch(panel_kernel<kType, kThreadRows>, grid, dim3(kThreads), stream,
                      {.dependent = machine.dependent}, product,
                      static_cast<const float*>(scratch.sums));
  }
};

struct Prepare {
  template <MatrixType kType, int kThreadRows>
  cudaError_t run() const {
    return nv::load(panel_kernel<kType, kThreadRows>);
  }
};

// The most rows of a thread with which every multiprocessor has a panel, or else the fewest.
int thread_rows_of(const Machine& machine, const Product& p) {
  const uint32_t columns = ceil_div(p.tile_count(), kTiles);
  for (const int rows : {8, 4}) {
    if (columns * ceil_div(p.rows, kSide * uint32_t(rows)) >= machine.processors) return rows;
  }
  return 2;
}

}  // namespace

cudaError_t prepare_panels() {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (const int rows : {2, 4, 8}) {
      const cudaError_t error = for_panel(type, rows, Prepare{});
      if (error != cudaSuccess) return error;
    }
  }
  return nv::load(scale_kernel);
}

cudaError_t project_panels(const Machine& machine, MatrixType type, const Product& product,
                           const Scratch& scratch, cudaStream_t stream) {
  if (product.norm != nullptr) {
    const cudaError_t error =
        nv::launch(scale_kernel, dim3(ceil_div(product.rows, kThreads / kWarp)), dim3(kThreads),
                   stream, {.dependent = machine.dependent}, product, scratch.sums);
    if (error != cudaSuccess) return error;
  }
  return for_panel(type, thread_rows_of(machine, product),
                   PanelLaunch{machine, product, scratch, stream});
}

}  // namespace nvium::cuda
