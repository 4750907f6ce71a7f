// Products of a matrix with 1 … 16 rows in one pass over its weights: the part that projections and
// heads have in common.
//
// The unit of work is a pair of output tiles (64 matrix rows) and one of the dot's chunks of 128
// columns. A block has one chunk and a range of tile pairs, so that all its warps share one chunk
// of operands; the grid is (chunks, ranges), about a block a multiprocessor. A warp takes a tile
// pair at a time: half of its lanes have one tile each, a lane two matrix rows. It runs their
// chains with every activation row from +0, the odd element of a pair first, and leaves the chunk's
// sums in scratch memory: weights are read once, in whole sectors, and used for all rows.
//
// The warp that ends last on a tile pair, of one a chunk, adds the sums in ascending order to a
// total that starts at +0 and finishes the outputs. So who computed a chunk, and when, cannot show.
//
// A launch begins with its weights (ring.cuh), then waits for the launch ahead of it.
#pragma once

#include "operand.cuh"

namespace nvium::cuda {

constexpr uint32_t kTilesOfPair = 2;
constexpr uint32_t kLaneRows = 2;  // matrix rows of a lane

// The weights of one pair of columns for a lane's two matrix rows, as floats. `pair` is that of the
// lane's tile, `lane` counts within the tile.
template <MatrixType kType>
__device__ __forceinline__ void widen(const unsigned char* pair, uint32_t lane,
                                      float (&even)[kLaneRows], float (&odd)[kLaneRows]) {
  if constexpr (kType == MatrixType::bf16) {
    const uint2 v = reinterpret_cast<const uint2*>(pair)[lane];
    even[0] = bf16_low(v.x), odd[0] = bf16_high(v.x);
    even[1] = bf16_low(v.y), odd[1] = bf16_high(v.y);
  } else if constexpr (kType == MatrixType::f32) {
    const float2 e = reinterpret_cast<const float2*>(pair)[lane];
    const float2 o = reinterpret_cast<const float2*>(pair + 128)[lane];
    even[0] = e.x, even[1] = e.y, odd[0] = o.x, odd[1] = o.y;
  } else {
    const uint32_t e = reinterpret_cast<const uint32_t*>(pair)[lane];
    const uint32_t o = reinterpret_cast<const uint32_t*>(pair + 64)[lane];
    even[0] = numerics::f16_to_float(uint16_t(e)), even[1] = numerics::f16_to_float(e >> 16);
    odd[0] = numerics::f16_to_float(uint16_t(o)), odd[1] = numerics::f16_to_float(o >> 16);
  }
}

// Whether this warp is the last of `warps` to come here, and so sees what all of them wrote before.
// The ticket is zero again when the last one leaves.
__device__ __forceinline__ bool last_warp_of(uint32_t warps, uint32_t* ticket) {
  uint32_t last = 0;
  __syncwarp();  // behind the fence is what all lanes wrote
  if (lane_id() == 0) {
    __threadfence();
    last = atomicAdd(ticket, 1u) == warps - 1;
    if (last != 0) {
      __threadfence();
      *ticket = 0;
    }
  }
  last = __shfl_sync(kAllLanes, last, 0);
  __syncwarp();  // an exchange orders no memory
  return last != 0;
}

// A product as a block of up to kRows rows sees it.
template <MatrixType kType, int kRows>
class Pass {
 public:
  static constexpr size_t shared_bytes(uint32_t warps) {
    return sizeof(float) * (Operands<kRows>::kWords + kRows) +
           size_t(warps) * Packing<kType>::kRingBytes;
  }

  __device__ Pass(const Product& product, const Spread& spread, unsigned char* shared)
      : p_(product),
        s_(spread),
        tiles_(product.tile_count()),
        part_(part_of(spread, product)),
        // The ring first: its address is a multiple of 16.
        ring_(product.tiles, product.cols, tiles_, part_,
              shared + warp_id() * Packing<kType>::kRingBytes),
        operands_(reinterpret_cast<float*>(shared + warp_count() * Packing<kType>::kRingBytes)),
        scales_(operands_ + Operands<kRows>::kWords) {}

  // All of the block's part, once the weights are on their way. finish(row, column, totals, ups) is
  // called by whole warps, a lane with four neighbouring columns of one row; rows and columns may
  // be beyond the last. `ups` are those of SwiGLU.
  template <class Finish>
  __device__ __forceinline__ void run(const Finish& finish) {
    nv::grid_dependency_wait();
    if (p_.norm != nullptr) {
      for (uint32_t r = warp_id(); r < p_.rows; r += warp_count()) {
        const float scale = scale_of(p_, r);
        if (lane_id() == 0) scales_[r] = scale;
      }
      __syncthreads();
    }
    stage_operands<kType, kRows>(p_, part_.chunk, scales_, part_.first == 0 && p_.normed != nullptr,
                                 operands_);
    __syncthreads();
    const uint32_t stages = ring_.stages();
    for (uint32_t t = part_.first + warp_id(); t < part_.last; t += warp_count()) {
      float sums[kRows][kLaneRows];
      multiply(stages, sums);
      leave(t, sums);
      if (last_warp_of(gridDim.x, s_.tickets + t)) finish_pair(t, finish);
    }
  }

 private:
  __device__ static __forceinline__ Part part_of(const Spread& s, const Product& p) {
    const uint32_t pairs = ceil_div(p.tile_count(), kTilesOfPair);
    const uint32_t first = blockIdx.y * s.share, last = first + s.share;
    return {blockIdx.x, first, last < pairs ? last : pairs};
  }

  // The chunk's chains of the warp's tile pair.
  __device__ __forceinline__ void multiply(uint32_t stages, float (&sums)[kRows][kLaneRows]) {
    using P = Packing<kType>;
    NV_UNROLL
    for (int r = 0; r < kRows; r++) sums[r][0] = sums[r][1] = 0.0f;
    const uint32_t lane = lane_id() % 16, tile = lane_id() / 16 * P::kPieceStride;
    const float* operands = operands_;
    for (uint32_t stage = 0; stage < stages; stage++) {
      const unsigned char* weights = ring_.front() + tile;
      NV_UNROLL
      for (uint32_t pair = 0; pair < kStagePairs; pair++) {
        float low[kLaneRows], high[kLaneRows], even[kRows], odd[kRows];
        widen<kType>(weights + pair * P::kPairBytes, lane, low, high);
        load_operands<kRows>(operands + pair * Operands<kRows>::kPairWords, even, odd);
        NV_UNROLL
        for (int r = 0; r < kRows; r++) {
          NV_UNROLL
          for (uint32_t n = 0; n < kLaneRows; n++) {
            sums[r][n] = numerics::fma(high[n], odd[r], sums[r][n]);
            sums[r][n] = numerics::fma(low[n], even[r], sums[r][n]);
          }
        }
      }
      operands += kStagePairs * Operands<kRows>::kPairWords;
      ring_.pop();
    }
  }

  // Where the sums of a chunk and row begin.
  __device__ __forceinline__ float* sums_of(uint32_t chunk, uint32_t row) const {
    return s_.sums + (size_t(chunk) * p_.rows + row) * tiles_ * kTileRows;
  }

  __device__ __forceinline__ void leave(uint32_t tile_pair,
                                        const float (&sums)[kRows][kLaneRows]) const {
    const uint32_t at = tile_pair * kTilesOfPair * kTileRows + lane_id() * kLaneRows;
    if (at >= tiles_ * kTileRows) return;
    NV_UNROLL
    for (uint32_t r = 0; r < kRows; r++) {
      if (r >= p_.rows) break;
      *reinterpret_cast<float2*>(sums_of(part_.chunk, r) + at) =
          make_float2(sums[r][0], sums[r][1]);
    }
  }

  // Adds the chunks of a tile pair: a lane has four columns of each tile, of one row of four at a
  // time. Sums of several chunks are asked for before the first is added.
  template <class Finish>
  __device__ __forceinline__ void finish_pair(uint32_t tile_pair, const Finish& finish) const {
    constexpr uint32_t kAhead = kRows <= 8 ? 8 : 6;
    constexpr uint32_t kRowsAtOnce = 4, kColumns = 4;
    const uint32_t row = lane_id() / 8, column = lane_id() % 8 * kColumns;
    const uint32_t tile = tile_pair * kTilesOfPair;
    const bool has_second = tile + 1 < tiles_;
    for (uint32_t begin = 0; begin < p_.rows; begin += kRowsAtOnce) {
      const uint32_t r = begin + row;
      const bool has_first = r < p_.rows;
      float low[kColumns] = {}, high[kColumns] = {};
      for (uint32_t c = 0; c < gridDim.x; c += kAhead) {
        float4 first[kAhead], second[kAhead];
        NV_UNROLL
        for (uint32_t i = 0; i < kAhead; i++) {
          first[i] = second[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
          if (!has_first || c + i >= gridDim.x) continue;
          const auto* from =
              reinterpret_cast<const float4*>(sums_of(c + i, r) + tile * kTileRows + column);
          first[i] = __ldcg(from);
          if (has_second) second[i] = __ldcg(from + kTileRows / kColumns);
        }
        // What is not there adds +0 to a total that is never -0.
        NV_UNROLL
        for (uint32_t i = 0; i < kAhead; i++) {
          low[0] += first[i].x, low[1] += first[i].y, low[2] += first[i].z, low[3] += first[i].w;
          high[0] += second[i].x, high[1] += second[i].y;
          high[2] += second[i].z, high[3] += second[i].w;
        }
      }
      if (p_.activation == Activation::swiglu) {
        finish(r, tile_pair * kTileRows + column, low, high);
      } else {
        finish(r, tile * kTileRows + column, low, high);
        finish(r, (tile + 1) * kTileRows + column, high, high);
      }
    }
  }

  const Product& p_;
  const Spread& s_;
  const uint32_t tiles_;
  const Part part_;
  Ring<kType> ring_;
  float* const operands_;
  float* const scales_;
};

// --- launching ---

// Shared memory of a block, and what every device from sm_80 on gives one block. Two such blocks
// fit a multiprocessor of sm_90: the next launch's weights are under way beside this one's.
constexpr size_t kSharedMost = size_t(96) << 10;
constexpr uint32_t kMostWarps = 8;

struct Grid {
  uint32_t chunks, ranges;
  uint32_t share;  // tile pairs of a range
  uint32_t warps;
  size_t shared;

  dim3 blocks() const { return dim3(chunks, ranges); }
  dim3 threads() const { return dim3(warps * kWarp); }
};

// As many ranges as give each multiprocessor a block, and a warp for each tile pair of a range, or
// as many as shared memory holds.
template <MatrixType kType, int kRows>
Grid grid_of(const Machine& machine, const Product& p) {
  const uint32_t chunks = chunk_count(p.cols), pairs = ceil_div(p.tile_count(), kTilesOfPair);
  const uint32_t ranges = machine.processors < chunks ? 1 : machine.processors / chunks;
  const uint32_t share = ceil_div(pairs, ranges < pairs ? ranges : pairs);
  uint32_t warps = share < kMostWarps ? share : kMostWarps;
  while (warps > 1 && Pass<kType, kRows>::shared_bytes(warps) > kSharedMost) warps--;
  return {chunks, ceil_div(pairs, share), share, warps, Pass<kType, kRows>::shared_bytes(warps)};
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
    default:
      return cudaErrorInvalidValue;
  }
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
