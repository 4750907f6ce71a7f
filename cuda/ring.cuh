// Weights on their way: a warp's ring of stages in shared memory, filled by cp.async.
//
// A warp takes two neighbouring output tiles (32 matrix rows each) at a time, a tile pair, and of
// them one of the dot's chunks of 128 columns. A stage is eight pairs of columns of both tiles: two
// pieces of contiguous memory, copied 16 bytes a lane. The ring runs on from one tile pair to the
// next. Nothing in it depends on activations, so it is filled before a kernel waits for the one
// ahead of it, and while that one still runs its memory does not rest.
//
// Lanes copy for each other. So a stage is read between two barriers of its warp: after its copies
// have landed, and before the place is given to new ones.
#pragma once

#include "../native/numerics/dot.h"
#include "block.cuh"

namespace nvium::cuda {

constexpr uint32_t kChunkPairs = numerics::kDotChunk / 2;
constexpr uint32_t kStagePairs = 8;
constexpr uint32_t kRingStages = 5;

// What of a product a block does: one chunk of columns for a range of tile pairs.
struct Part {
  uint32_t chunk;
  uint32_t first, last;  // tile pairs [first, last), dealt to the block's warps in turn
};

constexpr uint32_t chunk_count(uint32_t cols) { return ceil_div(cols, numerics::kDotChunk); }

template <MatrixType kType>
struct Packing {
  static constexpr uint32_t kPairBytes = kType == MatrixType::f32 ? 256 : 128;  // of a tile
  static constexpr uint32_t kPieceBytes = kStagePairs * kPairBytes;
  // Half a warp reads one tile, half the other. For f16 each reads 64 bytes at a time, and that far
  // apart they meet in no bank.
  static constexpr uint32_t kPieceStride = kPieceBytes + (kType == MatrixType::f16 ? 64 : 0);
  static constexpr uint32_t kStageBytes = 2 * kPieceStride;
  static constexpr uint32_t kRingBytes = kRingStages * kStageBytes;
};

template <MatrixType kType>
class Ring {
 public:
  using P = Packing<kType>;

  // The warp's stream of the tile pairs part.first + warp_id(), … `tiles` as the matrix has them.
  __device__ Ring(const std::byte* matrix, uint32_t cols, uint32_t tiles, const Part& part,
                  unsigned char* memory)
      : tile_bytes_(size_t(even(cols)) / 2 * P::kPairBytes),
        from_(matrix + size_t(part.chunk) * kChunkPairs * P::kPairBytes),
        memory_(memory),
        pairs_(pairs_of(cols, part.chunk)),
        tiles_(tiles),
        tile_pair_(part.first + warp_id()),
        last_(part.last) {
    for (uint32_t i = 0; i < kRingStages; i++) ask();
  }

  // Pairs of columns in a chunk.
  __device__ static __forceinline__ uint32_t pairs_of(uint32_t cols, uint32_t chunk) {
    const uint32_t left = ceil_div(cols, 2) - chunk * kChunkPairs;
    return left < kChunkPairs ? left : kChunkPairs;
  }
  __device__ __forceinline__ uint32_t stages() const { return ceil_div(pairs_, kStagePairs); }

  // The oldest stage, landed; pairs beyond the chunk's end and tiles beyond the last are zeros.
  __device__ __forceinline__ const unsigned char* front() const {
    nv::cp_async_wait<kRingStages - 1>();
    __syncwarp();
    return memory_ + front_ * P::kStageBytes;
  }
  // It has been read: its place is for the next one.
  __device__ __forceinline__ void pop() {
    __syncwarp();
    ask();
    if (++front_ == kRingStages) front_ = 0;
  }

 private:
  __device__ __forceinline__ void ask() {
    if (tile_pair_ < last_) {
      unsigned char* const to = memory_ + back_ * P::kStageBytes;
      const std::byte* const from = from_ + 2 * tile_pair_ * tile_bytes_;
      NV_UNROLL
      for (uint32_t i = 0; i < 2 * P::kPieceBytes / (16 * kWarp); i++) {
        constexpr uint32_t kCopies = P::kPieceBytes / (16 * kWarp);  // of one piece
        const uint32_t tile = i / kCopies, at = (i % kCopies * kWarp + lane_id()) * 16;
        const bool valid =
            2 * tile_pair_ + tile < tiles_ && stage_ * kStagePairs + at / P::kPairBytes < pairs_;
        nv::cp_async(to + tile * P::kPieceStride + at,
                     from + tile * tile_bytes_ + stage_ * P::kPieceBytes + at, valid);
      }
      if (++stage_ == stages()) stage_ = 0, tile_pair_ += warp_count();
    }
    nv::cp_async_commit();  // an empty one too: stages are counted
    if (++back_ == kRingStages) back_ = 0;
  }

  const size_t tile_bytes_;
  const std::byte* const from_;
  unsigned char* const memory_;
  const uint32_t pairs_, tiles_;
  uint32_t tile_pair_, stage_ = 0;  // what is asked for next
  const uint32_t last_;
  uint32_t front_ = 0, back_ = 0;
};

}  // namespace nvium::cuda
