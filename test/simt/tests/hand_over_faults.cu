// Data handed from thread to thread through atomics, with something missing.
#include "corpus.h"

namespace corpus {
namespace {

// The block that comes last adds up what all blocks wrote.
template <bool kFenceBefore, bool kFenceBehind>
__device__ bool is_last(unsigned* ticket) {
  if (kFenceBefore) __threadfence();
  const bool last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  if (kFenceBehind) __threadfence();
  return last;
}

__global__ void last_block_without_fence(float* parts, unsigned* ticket, float* out) {
  parts[blockIdx.x] = 1;
  if (!is_last<false, true>(ticket)) return;
  float sum = 0;
  // fault last_block_without_fence: unfenced hand-over
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  *out = sum;
}

__global__ void last_block_without_fence_behind(float* parts, unsigned* ticket, float* out) {
  parts[blockIdx.x] = 1;
  if (!is_last<true, false>(ticket)) return;
  float sum = 0;
  // fault last_block_without_fence_behind: unfenced hand-over
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  *out = sum;
}

__global__ void write_between_fence_and_atomic(float* parts, unsigned* ticket, float* out) {
  __threadfence();
  parts[blockIdx.x] = 1;
  const bool last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  __threadfence();
  if (!last) return;
  float sum = 0;
  // fault write_between_fence_and_atomic: unfenced hand-over
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  *out = sum;
}

__global__ void block_fence_between_blocks(float* parts, unsigned* ticket, float* out) {
  parts[blockIdx.x] = 1;
  __threadfence_block();
  const bool last = atomicAdd(ticket, 1u) == gridDim.x - 1;
  __threadfence();
  if (!last) return;
  float sum = 0;
  // fault block_fence_between_blocks: unfenced hand-over
  for (unsigned i = 0; i < gridDim.x; ++i) sum += parts[i];
  *out = sum;
}

// The fence of one thread does not cover what another has written without a barrier between them.
__global__ void fence_of_another_thread(float* parts, unsigned* ticket, float* out) {
  NV_SHARED(bool, last);
  // fault fence_of_another_thread: unfenced hand-over|race in a block|race between blocks
  parts[blockIdx.x * 64 + threadIdx.x] = 1;
  if (threadIdx.x == 0) {
    last = is_last<true, true>(ticket);
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float sum = 0;
  for (unsigned i = 0; i < 64 * gridDim.x; ++i)
    // fault fence_of_another_thread: unfenced hand-over|uninitialised read
    sum += parts[i];
  *out = sum;
}

__global__ void flag_without_fence(float* data, volatile unsigned* flag, float* out) {
  if (blockIdx.x == 0) {
    *data = 1;
    *flag = 1;
  } else {
    while (*flag == 0) __nanosleep(20);
    __threadfence();
    // fault flag_without_fence: unfenced hand-over
    *out = *data;
  }
}

// A later round is not covered by the fence of an earlier one.
__global__ void second_round_without_fence(float* data, unsigned* counter, float* out) {
  const unsigned other = blockIdx.x ^ 1;
  for (unsigned round = 1; round <= 2; ++round) {
    data[2 * round + blockIdx.x] = float(round);
    if (round == 1) __threadfence();
    atomicAdd(counter, 1u);
    while (atomicAdd(counter, 0u) < 2 * round) __nanosleep(20);
    __threadfence();
    // fault second_round_without_fence: unfenced hand-over
    out[2 * round + blockIdx.x] = data[2 * round + other];
  }
}

// Inside a block a fence of block scope is enough, but there has to be one.
__global__ void producer_warp_without_fence(float* out) {
  NV_SHARED(float, value);
  NV_SHARED(unsigned, ready);
  if (threadIdx.x == 0) ready = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    value = 3;
    atomicExch(&ready, 1u);
  } else if (threadIdx.x == 32) {
    while (atomicAdd(&ready, 0u) == 0) __nanosleep(20);
    __threadfence_block();
    // fault producer_warp_without_fence: race in a block
    *out = value;
  }
}

// The others write what the first block still reads, and no barrier holds them back.
__global__ void grid_phases_without_sync(float* p, float* out) {
  if (blockIdx.x == 0) p[0] = 1;
  nv::grid_sync();
  // fault grid_phases_without_sync: race between blocks
  out[blockIdx.x] = p[0];
  // fault grid_phases_without_sync: race between blocks
  if (blockIdx.x == 1) p[0] = 2;
}

template <class Kernel>
void tickets(Kernel* kernel, unsigned threads = 1) {
  constexpr unsigned kBlocks = 8;
  Device<float> parts(kBlocks * threads), out(1);
  Device<unsigned> ticket(1, 0);
  run(kernel, kBlocks, threads, {.cooperative = true}, parts.data(), ticket.data(), out.data());
}

constexpr Fault kFaults[] = {
    {"last_block_without_fence", [] { tickets(last_block_without_fence); }},
    {"last_block_without_fence_behind", [] { tickets(last_block_without_fence_behind); }},
    {"write_between_fence_and_atomic", [] { tickets(write_between_fence_and_atomic); }},
    {"block_fence_between_blocks", [] { tickets(block_fence_between_blocks); }},
    {"fence_of_another_thread", [] { tickets(fence_of_another_thread, 64); }},
    {"flag_without_fence",
     [] {
       Device<float> data(1), out(1);
       Device<unsigned> flag(1, 0);
       run(flag_without_fence, 2, 1, {.cooperative = true}, data.data(), flag.data(), out.data());
     }},
    {"second_round_without_fence",
     [] {
       Device<float> data(6), out(6);
       Device<unsigned> counter(1, 0);
       run(second_round_without_fence, 2, 1, {.cooperative = true}, data.data(), counter.data(),
           out.data());
     }},
    {"producer_warp_without_fence",
     [] { run(producer_warp_without_fence, 1, 64, Device<float>(1).data()); }},
    {"grid_phases_without_sync",
     [] {
       Device<float> p(1), out(4);
       run(grid_phases_without_sync, 4, 1, {.cooperative = true}, p.data(), out.data());
     }},
};

}  // namespace

std::span<const Fault> hand_over_faults() { return kFaults; }

}  // namespace corpus
