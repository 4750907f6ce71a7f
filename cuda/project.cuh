// Products of a matrix with 1 … 16 rows in one pass over its weights: the part that projections,
// routers and heads have in common.
//
// A block takes one output tile (32 matrix rows) at a time, or for SwiGLU the tiles of gate and up
// one after the other. K is cut into the dot's chunks of 128. A warp load is 16 bytes a lane: with
// bf16 and f32 eight lanes cover the 128 contiguous bytes of one step of K, each lane four matrix
// rows; with f16 four lanes cover 64 bytes, each lane eight rows. The 4 (8) groups of lanes of a
// warp, and the warps of the block, work on different chunks, so a block has up to 4 (8) times its
// warps in flight: its slots. Inside a chunk each lane runs the chain of its matrix rows with every
// activation row, from +0, the odd element of a pair first: weights are read once, in whole
// sectors, and used for all rows.
//
// Chunk sums meet in shared memory, and a thread that owns an output adds them in ascending order
// to a total that starts at +0. So which lane computed a chunk cannot show. Where K has more chunks
// than the block has slots, this repeats, and totals go on.
//
// The activations of the slots' chunks are staged in shared memory, as operands (normalised,
// rounded to bf16 where the matrix is) in the order the chain reads them: [chunk][pair][row] words
// of two bf16, or [chunk][pair][element][row] floats. Reading is a broadcast within a group; chunks
// are four words apart beyond their size, so that the groups of a warp read different banks. Groups
// of four words ("quads") change places inside 128 bytes by an exclusive or with the pair's number,
// without which staging four rows a thread would write the same banks.
#pragma once

#include "../native/numerics/dot.h"
#include "../native/numerics/functions.h"
#include "../native/numerics/sums.h"
#include "block.cuh"

namespace nvium::cuda {

constexpr int kChunkPairs = numerics::kDotChunk / 2;

template <MatrixType kType, int kRows>
struct Tile {
  static constexpr bool kHalfPairs = kType == MatrixType::bf16;
  static constexpr int kLaneRows = kType == MatrixType::f16 ? 8 : 4;  // matrix rows of a lane
  static constexpr int kLanes = int(kTileRows) / kLaneRows;           // that cover a step of K
  static constexpr int kGroups = int(kWarp) / kLanes;                 // chunks a warp has in flight
  static constexpr int kLoads = kHalfPairs ? 1 : 2;                   // of 16 bytes, a pair of K
  static constexpr int kStepBytes = kLanes * 16;
  static constexpr int kPairBytes = kStepBytes * kLoads;
  static constexpr int kPairWords = kHalfPairs ? kRows : 2 * kRows;  // operands of a pair of K
  static constexpr int kQuads = kPairWords < 4 ? 1 : kPairWords / 4;
  static constexpr int kChunkWords = kChunkPairs * kPairWords + 4;
  static constexpr int kSumWords = kRows * int(kTileRows) + 4;
  // Pairs whose weights are asked for before the first is used.
  static constexpr int kAhead = kRows <= 2 ? 16 / kLoads : kRows <= 8 ? 8 / kLoads : 4 / kLoads;

  // Words of shared memory: operands and sums of each slot, totals of two tiles, scales of rows.
  static constexpr size_t shared_bytes(uint32_t slots) {
    return 4 * (size_t(slots) * (kChunkWords + kSumWords) + 2 * kRows * kTileRows + kRows);
  }
};

// Where the quad `quad` of a pair's operands lies, in words from the chunk's beginning.
template <class T>
__device__ __forceinline__ int quad_at(int pair, int quad) {
  if constexpr (T::kQuads == 1) {
    return pair * T::kPairWords;
  } else {
    constexpr int kPairs = 8 / T::kQuads;  // in 128 bytes
    return pair * T::kPairWords + 4 * (quad ^ pair / kPairs % T::kQuads);
  }
}

// The weights of one pair of K for one lane's matrix rows, as floats.
template <MatrixType kType>
__device__ __forceinline__ void widen(const uint4* loaded, int row, float* even, float* odd) {
  const auto word = [](const uint4& v, int i) {
    return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
  };
  if constexpr (kType == MatrixType::bf16) {
    *even = bf16_low(word(loaded[0], row));
    *odd = bf16_high(word(loaded[0], row));
  } else if constexpr (kType == MatrixType::f32) {
    *even = numerics::from_bits(word(loaded[0], row));
    *odd = numerics::from_bits(word(loaded[1], row));
  } else {
    const uint32_t shift = uint32_t(row) % 2 * 16;
    *even = numerics::f16_to_float(uint16_t(word(loaded[0], row / 2) >> shift));
    *odd = numerics::f16_to_float(uint16_t(word(loaded[1], row / 2) >> shift));
  }
}

// The operands of `pair` for all rows, as floats.
template <MatrixType kType, int kRows>
__device__ __forceinline__ void operands(const uint32_t* chunk, int pair, float* even, float* odd) {
  using T = Tile<kType, kRows>;
  uint32_t words[T::kPairWords];
  if constexpr (T::kPairWords == 1) {
    words[0] = chunk[pair];
  } else if constexpr (T::kPairWords == 2) {
    const uint2 v = *reinterpret_cast<const uint2*>(chunk + pair * 2);
    words[0] = v.x, words[1] = v.y;
  } else {
    NV_UNROLL
    for (int quad = 0; quad < T::kQuads; quad++) {
      const uint4 v = *reinterpret_cast<const uint4*>(chunk + quad_at<T>(pair, quad));
      words[4 * quad] = v.x, words[4 * quad + 1] = v.y;
      words[4 * quad + 2] = v.z, words[4 * quad + 3] = v.w;
    }
  }
  NV_UNROLL
  for (int r = 0; r < kRows; r++) {
    if constexpr (T::kHalfPairs) {
      even[r] = bf16_low(words[r]);
      odd[r] = bf16_high(words[r]);
    } else {
      even[r] = numerics::from_bits(words[r]);
      odd[r] = numerics::from_bits(words[kRows + r]);
    }
  }
}

// One chunk's chains of a lane: `weights` points at the lane's 16 bytes of the chunk's first step.
template <MatrixType kType, int kRows>
__device__ __forceinline__ void chunk_sums(const std::byte* weights, const uint32_t* chunk,
                                           int pairs,
                                           float (&sums)[kRows][Tile<kType, kRows>::kLaneRows]) {
  using T = Tile<kType, kRows>;
  NV_UNROLL
  for (int r = 0; r < kRows; r++) {
    NV_UNROLL
    for (int n = 0; n < T::kLaneRows; n++) sums[r][n] = 0.0f;
  }
  const auto load = [&](int pair, uint4* to) {
    NV_UNROLL
    for (int i = 0; i < T::kLoads; i++) {
      to[i] =
          __ldg(reinterpret_cast<const uint4*>(weights + pair * T::kPairBytes + i * T::kStepBytes));
    }
  };
  const auto step = [&](int pair, const uint4* loaded) {
    float even[kRows], odd[kRows];
    operands<kType, kRows>(chunk, pair, even, odd);
    NV_UNROLL
    for (int n = 0; n < T::kLaneRows; n++) {
      float low, high;
      widen<kType>(loaded, n, &low, &high);
      NV_UNROLL
      for (int r = 0; r < kRows; r++) {
        sums[r][n] = numerics::fma(high, odd[r], sums[r][n]);
        sums[r][n] = numerics::fma(low, even[r], sums[r][n]);
      }
    }
  };
  int pair = 0;
  for (; pair + T::kAhead <= pairs; pair += T::kAhead) {
    uint4 loaded[T::kAhead][T::kLoads];
    NV_UNROLL
    for (int i = 0; i < T::kAhead; i++) load(pair + i, loaded[i]);
    NV_UNROLL
    for (int i = 0; i < T::kAhead; i++) step(pair + i, loaded[i]);
  }
  for (; pair < pairs; pair++) {
    uint4 loaded[T::kLoads];
    load(pair, loaded);
    step(pair, loaded);
  }
}

// A pass of a block: up to kRows rows of a product from `first_row` on.
template <MatrixType kType, int kRows>
class Pass {
 public:
  using T = Tile<kType, kRows>;

  __device__ Pass(const Product& product, uint32_t first_row, unsigned char* shared)
      : p_(product),
        first_row_(first_row),
        slots_(warp_count() * T::kGroups),
        operands_(reinterpret_cast<uint32_t*>(shared)),
        sums_(reinterpret_cast<float*>(operands_ + slots_ * T::kChunkWords)),
        totals_(sums_ + slots_ * T::kSumWords),
        scales_(totals_ + 2 * kRows * kTileRows) {}

  // Output tiles first, first + step, …; `finish(row, column, n, total, up)` is called for every
  // output by whole warps: a warp has 32 columns of one row. `leads`: this block hands out the
  // normalised rows.
  template <class Finish>
  __device__ __forceinline__ void run(uint32_t first, uint32_t step, bool leads,
                                      const Finish& finish) {
    const bool paired = p_.activation == Activation::swiglu;
    const uint32_t tiles = ceil_div(p_.width, kTileRows);
    const size_t tile_bytes =
        size_t(even(p_.cols)) * (kType == MatrixType::f32 ? 4 : 2) * kTileRows;
    const uint32_t chunks = ceil_div(p_.cols, uint32_t(numerics::kDotChunk));
    if (first >= tiles) return;
    if (p_.norm != nullptr) find_scales();
    bool staged = false;
    for (uint32_t t = first; t < tiles; t += step) {
      for (uint32_t half = 0; half < (paired ? 2u : 1u); half++) {
        const std::byte* tile = p_.tiles + (paired ? 2 * size_t(t) + half : t) * tile_bytes;
        for (uint32_t begin = 0; begin < chunks; begin += slots_) {
          __syncthreads();  // what was read of the shared memory before has been read
          if (!staged) {
            stage(begin, leads && t == first && half == 0);
            __syncthreads();
          }
          staged = chunks <= slots_;
          multiply(tile, begin, chunks);
          __syncthreads();
          add(begin, chunks, totals_ + half * kRows * kTileRows);
        }
      }
      for (uint32_t i = threadIdx.x; i < kRows * kTileRows; i += blockDim.x) {
        const uint32_t row = i / kTileRows, n = i % kTileRows;
        if (first_row_ + row >= p_.rows) break;
        finish(first_row_ + row, t * kTileRows + n, totals_[i],
               paired ? totals_[kRows * kTileRows + i] : 0.0f);
      }
    }
  }

  // Bias, activation, residual, in this order.
  __device__ __forceinline__ float finished(uint32_t row, uint32_t column, float total,
                                            float up) const {
    float value = total;
    if (p_.bias != nullptr) value += p_.bias[column];
    switch (p_.activation) {
      case Activation::none:
        break;
      case Activation::silu:
        value = numerics::silu(value);
        break;
      case Activation::gelu:
        value = numerics::gelu(value);
        break;
      case Activation::swiglu:
        value = numerics::silu(value) * up;
        break;
    }
    if (p_.residual != nullptr) value += p_.residual[size_t(row) * p_.width + column];
    return value;
  }

 private:
  // RMSNorm's scale of every row, a warp a row: lane i is accumulator i.
  __device__ __forceinline__ void find_scales() {
    for (uint32_t r = warp_id(); r < kRows && first_row_ + r < p_.rows; r += warp_count()) {
      const float* x = p_.input + size_t(first_row_ + r) * p_.cols;
      float squares = 0.0f;
      for (uint32_t i = lane_id(); i < p_.cols; i += kWarp) {
        squares = numerics::fma(x[i], x[i], squares);
      }
      squares = warp_tree(squares);
      if (lane_id() == 0) scales_[r] = numerics::norm_scale(squares, int(p_.cols), p_.epsilon);
    }
  }

  // One element of the operand before it is rounded; zero outside.
  __device__ __forceinline__ float element(uint32_t r, uint32_t k, bool store) const {
    const uint32_t row = first_row_ + r;
    if (row >= p_.rows || k >= p_.cols) return 0.0f;
    const size_t at = size_t(row) * p_.cols + k;
    const float x = p_.input[at];
    if (p_.norm == nullptr) return x;
    const float y = numerics::normalised(x, scales_[r], p_.norm[k]);
    if (store) p_.normed[at] = y;
    return y;
  }

  // Operands of the chunks [begin, begin + slots). A thread does one pair of up to four rows;
  // neighbours do neighbouring pairs.
  __device__ __forceinline__ void stage(uint32_t begin, bool leads) {
    constexpr int kFour = kRows < 4 ? kRows : 4;
    constexpr int kFours = kRows / kFour;
    const bool store = leads && p_.normed != nullptr;
    for (uint32_t i = threadIdx.x; i < slots_ * kFours * kChunkPairs; i += blockDim.x) {
      const uint32_t slot = i / (kFours * kChunkPairs);
      const int pair = int(i % kChunkPairs), four = int(i / kChunkPairs % kFours);
      const uint32_t k = (begin + slot) * numerics::kDotChunk + 2 * uint32_t(pair);
      float low[kFour], high[kFour];
      NV_UNROLL
      for (int r = 0; r < kFour; r++) {
        low[r] = element(uint32_t(four * kFour + r), k, store);
        high[r] = element(uint32_t(four * kFour + r), k + 1, store);
      }
      uint32_t* chunk = operands_ + slot * T::kChunkWords;
      if constexpr (T::kHalfPairs) {
        uint32_t words[kFour];
        NV_UNROLL
        for (int r = 0; r < kFour; r++) words[r] = bf16_pair(low[r], high[r]);
        if constexpr (kFour == 1) {
          chunk[pair] = words[0];
        } else if constexpr (kFour == 2) {
          *reinterpret_cast<uint2*>(chunk + 2 * pair) = make_uint2(words[0], words[1]);
        } else {
          *reinterpret_cast<uint4*>(chunk + quad_at<T>(pair, four)) =
              make_uint4(words[0], words[1], words[2], words[3]);
        }
      } else {
        if constexpr (kFour == 1) {
          *reinterpret_cast<float2*>(chunk + 2 * pair) = make_float2(low[0], high[0]);
        } else if constexpr (kFour == 2) {
          *reinterpret_cast<float4*>(chunk + 4 * pair) =
              make_float4(low[0], low[1], high[0], high[1]);
        } else {
          *reinterpret_cast<float4*>(chunk + quad_at<T>(pair, four)) =
              make_float4(low[0], low[1], low[2], low[3]);
          *reinterpret_cast<float4*>(chunk + quad_at<T>(pair, kFours + four)) =
              make_float4(high[0], high[1], high[2], high[3]);
        }
      }
    }
  }

  __device__ __forceinline__ void multiply(const std::byte* tile, uint32_t begin, uint32_t chunks) {
    const uint32_t group = lane_id() / T::kLanes, lane = lane_id() % T::kLanes;
    const uint32_t slot = warp_id() * T::kGroups + group;
    if (begin + slot >= chunks) return;
    const uint32_t first_pair = (begin + slot) * kChunkPairs;
    const uint32_t left = ceil_div(p_.cols, 2) - first_pair;
    float sums[kRows][T::kLaneRows];
    chunk_sums<kType, kRows>(tile + size_t(first_pair) * T::kPairBytes + lane * 16,
                             operands_ + slot * T::kChunkWords,
                             int(left < kChunkPairs ? left : kChunkPairs), sums);
    float* to = sums_ + slot * T::kSumWords + lane * T::kLaneRows;
    NV_UNROLL
    for (int r = 0; r < kRows; r++) {
      NV_UNROLL
      for (int n = 0; n < T::kLaneRows; n += 4) {
        *reinterpret_cast<float4*>(to + r * kTileRows + n) =
            make_float4(sums[r][n], sums[r][n + 1], sums[r][n + 2], sums[r][n + 3]);
      }
    }
  }

  // Adds the chunk sums of this round to the totals, in ascending order. The thread that owns a
  // total also finishes it, so no barrier is needed in between.
  __device__ __forceinline__ void add(uint32_t begin, uint32_t chunks, float* totals) {
    const uint32_t count = chunks - begin < slots_ ? chunks - begin : slots_;
    for (uint32_t i = threadIdx.x; i < kRows * kTileRows; i += blockDim.x) {
      float total = begin == 0 ? 0.0f : totals[i];
      for (uint32_t c = 0; c < count; c++) total += sums_[c * T::kSumWords + i];
      totals[i] = total;
    }
  }

  const Product& p_;
  const uint32_t first_row_;
  const uint32_t slots_;
  uint32_t* const operands_;
  float* const sums_;
  float* const totals_;
  float* const scales_;
};

// --- launching ---

// Shared memory of a block, with room for several, and what every device from sm_80 on gives one
// block if need be: one warp of f16 and 16 rows takes 84 KB.
constexpr size_t kSharedBudget = size_t(64) << 10;
constexpr size_t kSharedMost = size_t(96) << 10;
constexpr uint32_t kMostWarps = 8;

struct Grid {
  uint32_t passes;  // blocks with the same tiles, next to each other
  uint32_t tiles;   // blocks along the tiles
  uint32_t warps;
  size_t shared;

  dim3 blocks() const { return dim3(passes * tiles); }
  dim3 threads() const { return dim3(warps * kWarp); }
};

// Enough warps that each chunk of K has its slot, or as many as shared memory holds in equal
// rounds.
template <MatrixType kType, int kRows>
Grid grid_of(const Machine& machine, const Product& p) {
  using T = Tile<kType, kRows>;
  const uint32_t chunks = ceil_div(p.cols, uint32_t(numerics::kDotChunk));
  uint32_t most = 1;
  while (most < kMostWarps && T::shared_bytes((most + 1) * T::kGroups) <= kSharedBudget) most++;
  const uint32_t needed = ceil_div(chunks, uint32_t(T::kGroups));
  const uint32_t rounds = ceil_div(needed, most);
  const uint32_t warps = ceil_div(needed, rounds);
  // Staging costs as much as a tile where rows are many: a block then takes several tiles.
  const uint32_t most_blocks = machine.processors * (kRows <= 2 ? 8 : kRows <= 4 ? 4 : 2);
  const uint32_t tiles = ceil_div(p.width, kTileRows);
  return {ceil_div(p.rows, uint32_t(kRows)), tiles < most_blocks ? tiles : most_blocks, warps,
          T::shared_bytes(warps * T::kGroups)};
}

// Calls launch.template run<type, rows>() with the number of rows a pass is compiled for.
template <class Launch>
cudaError_t for_shape(MatrixType type, uint32_t rows, const Launch& launch) {
  const auto with_rows = [&]<MatrixType kType>() {
    if (rows == 1) return launch.template run<kType, 1>();
    if (rows == 2) return launch.template run<kType, 2>();
    if (rows <= 4) return launch.template run<kType, 4>();
    if (rows <= 8) return launch.template run<kType, 8>();
    return launch.template run<kType, 16>();
  };
  switch (type) {
    case MatrixType::bf16:
      return with_rows.template operator()<MatrixType::bf16>();
    case MatrixType::f16:
      return with_rows.template operator()<MatrixType::f16>();
    case MatrixType::f32:
      return with_rows.template operator()<MatrixType::f32>();
  }
  return cudaErrorInvalidValue;
}

// The same for every instance there is; stops at the first error.
template <class Launch>
cudaError_t for_every_shape(const Launch& launch) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (const uint32_t rows : {1, 2, 4, 8, 16}) {
      const cudaError_t error = for_shape(type, rows, launch);
      if (error != cudaSuccess) return error;
    }
  }
  return cudaSuccess;
}

}  // namespace nvium::cuda
