// Conflicting accesses that nothing orders. Which of the two comes second, and is reported, depends
// on the schedule: both lines are marked.
#include "corpus.h"

namespace corpus {
namespace {

constexpr int kN = 64;

__global__ void missing_barrier(float* out) {
  NV_SHARED(float[kN], s);
  // fault missing_barrier: race in a block
  s[threadIdx.x] = float(threadIdx.x);
  // fault missing_barrier: race in a block|uninitialised read
  out[threadIdx.x] = s[threadIdx.x ^ 32];
}

__global__ void missing_second_barrier(float* out) {
  NV_SHARED(float[kN], s);
  s[threadIdx.x] = float(threadIdx.x);
  __syncthreads();
  // fault missing_second_barrier: race in a block
  out[threadIdx.x] = s[threadIdx.x ^ 32];
  // fault missing_second_barrier: race in a block
  s[threadIdx.x] = 0;
}

__global__ void warp_barrier_for_block(float* out) {
  NV_SHARED(float[kN], s);
  // fault warp_barrier_for_block: race in a block
  s[threadIdx.x] = float(threadIdx.x);
  __syncwarp();
  // fault warp_barrier_for_block: race in a block|uninitialised read
  out[threadIdx.x] = s[threadIdx.x ^ 32];
}

__global__ void missing_syncwarp(float* out) {
  NV_SHARED(float[32], s);
  // fault missing_syncwarp: race in a warp
  s[threadIdx.x] = float(threadIdx.x);
  // fault missing_syncwarp: race in a warp|uninitialised read
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}

__global__ void shuffle_is_no_fence(float* out) {
  NV_SHARED(float[32], s);
  s[threadIdx.x] = float(threadIdx.x);
  const float x = __shfl_sync(0xffffffffu, float(threadIdx.x), 0);
  // fault shuffle_is_no_fence: race in a warp
  out[threadIdx.x] = x + s[threadIdx.x ^ 1];
}

__global__ void half_warp_sync_for_whole(float* out) {
  NV_SHARED(float[32], s);
  // fault half_warp_sync_for_whole: race in a warp
  s[threadIdx.x] = float(threadIdx.x);
  __syncwarp(threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u);
  // fault half_warp_sync_for_whole: race in a warp|uninitialised read
  out[threadIdx.x] = s[threadIdx.x ^ 16];
}

__global__ void shift_in_place(float* p) {
  // fault shift_in_place: race in a block
  p[threadIdx.x] = p[threadIdx.x + 32];
}

__global__ void same_word_of_all_lanes(float* p) {
  // fault same_word_of_all_lanes: race in a warp
  p[0] = float(threadIdx.x);
}

__global__ void same_word_of_all_blocks(float* p) {
  // fault same_word_of_all_blocks: race between blocks
  p[0] = float(blockIdx.x);
}

__global__ void read_what_another_block_writes(const float* in, float* p, float* out) {
  const unsigned n = gridDim.x;
  // fault read_what_another_block_writes: race between blocks
  p[blockIdx.x] = in[blockIdx.x];
  // fault read_what_another_block_writes: race between blocks
  out[blockIdx.x] = p[n - 1 - blockIdx.x];
}

// The first reader of a word is forgotten when another one comes: its race is found all the same.
__global__ void write_what_all_blocks_read(float* p, float* out) {
  // fault write_what_all_blocks_read: race between blocks
  const float x = p[0];
  out[blockIdx.x] = x;
  if (blockIdx.x == 0) {
    out[gridDim.x] = p[0];
    // fault write_what_all_blocks_read: race between blocks
    p[0] = 2;
  }
}

__global__ void bf16_neighbours(__nv_bfloat16* p) {
  // fault bf16_neighbours: race in a warp
  p[threadIdx.x / 2] = __float2bfloat16(1.0f);
}

__global__ void plain_read_of_counter(unsigned* counter, unsigned* out) {
  // fault plain_read_of_counter: race between blocks
  atomicAdd(counter, 1u);
  // fault plain_read_of_counter: race between blocks
  out[blockIdx.x] = *counter;
}

__global__ void plain_poll_of_flag(float* data, unsigned* flag, float* out) {
  if (blockIdx.x == 0) {
    *data = 1;
    __threadfence();
    // fault plain_write_of_flag: race between blocks
    *flag = 1;
  } else {
    // fault plain_write_of_flag: race between blocks
    out[0] = float(atomicAdd(flag, 0u));
  }
}

constexpr Fault kFaults[] = {
    {"missing_barrier", [] { run(missing_barrier, 1, kN, Device<float>(kN).data()); }},
    {"missing_second_barrier",
     [] { run(missing_second_barrier, 1, kN, Device<float>(kN).data()); }},
    {"warp_barrier_for_block",
     [] { run(warp_barrier_for_block, 1, kN, Device<float>(kN).data()); }},
    {"missing_syncwarp", [] { run(missing_syncwarp, 1, 32, Device<float>(32).data()); }},
    {"shuffle_is_no_fence", [] { run(shuffle_is_no_fence, 1, 32, Device<float>(32).data()); }},
    {"half_warp_sync_for_whole",
     [] { run(half_warp_sync_for_whole, 1, 32, Device<float>(32).data()); }},
    {"shift_in_place", [] { run(shift_in_place, 1, kN, Device<float>(kN + 32, 0).data()); }},
    {"same_word_of_all_lanes", [] { run(same_word_of_all_lanes, 1, 32, Device<float>(1).data()); }},
    {"same_word_of_all_blocks",
     [] { run(same_word_of_all_blocks, 8, 1, Device<float>(1).data()); }},
    {"read_what_another_block_writes",
     [] {
       Device<float> in(8, 1), p(8, 0), out(8);
       run(read_what_another_block_writes, 8, 1, in.data(), p.data(), out.data());
     }},
    {"write_what_all_blocks_read",
     [] {
       Device<float> p(1, 1), out(9);
       run(write_what_all_blocks_read, 8, 1, p.data(), out.data());
     }},
    {"bf16_neighbours", [] { run(bf16_neighbours, 1, 32, Device<__nv_bfloat16>(16).data()); }},
    {"plain_read_of_counter",
     [] {
       Device<unsigned> counter(1, 0), out(8);
       run(plain_read_of_counter, 8, 1, counter.data(), out.data());
     }},
    {"plain_write_of_flag",
     [] {
       Device<float> data(1), out(1);
       Device<unsigned> flag(1, 0);
       run(plain_poll_of_flag, 2, 1, data.data(), flag.data(), out.data());
     }},
};

}  // namespace

std::span<const Fault> race_faults() { return kFaults; }

}  // namespace corpus
