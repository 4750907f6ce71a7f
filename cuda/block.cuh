// Small things that kernels share.
#pragma once

#include "dialect.cuh"
//
#include "../native/numerics/types.h"
#include "kernels.h"

namespace nvium::cuda {

constexpr unsigned kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ uint32_t lane_id() { return threadIdx.x % kWarp; }
__device__ __forceinline__ uint32_t warp_id() { return threadIdx.x / kWarp; }
__device__ __forceinline__ uint32_t warp_count() { return blockDim.x / kWarp; }

// Sum over a warp by the halving tree 16, 8, 4, 2, 1: lane i adds lane i + half. Exchanging both
// ways gives every lane the sum of lane 0, for an addition does not care which operand is left.
__device__ __forceinline__ float warp_tree(float value) {
  NV_UNROLL
  for (int half = 16; half > 0; half /= 2) value += __shfl_xor_sync(kAllLanes, value, half);
  return value;
}

__device__ __forceinline__ float warp_largest(float value) {
  NV_UNROLL
  for (int half = 16; half > 0; half /= 2) {
    value = numerics::larger(value, __shfl_xor_sync(kAllLanes, value, half));
  }
  return value;
}

__device__ __forceinline__ unsigned long long warp_largest(unsigned long long value) {
  NV_UNROLL
  for (int half = 16; half > 0; half /= 2) {
    const unsigned long long other = __shfl_xor_sync(kAllLanes, value, half);
    value = value > other ? value : other;
  }
  return value;
}

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  return uint32_t(numerics::bf16_from_float(low)) | uint32_t(numerics::bf16_from_float(high)) << 16;
}
__device__ __forceinline__ float bf16_low(uint32_t pair) { return numerics::from_bits(pair << 16); }
__device__ __forceinline__ float bf16_high(uint32_t pair) {
  return numerics::from_bits(pair & 0xffff0000u);
}

// Whether this block is the last of `blocks` to come here, and so sees what all of them wrote
// before. All threads of a block call it; the ticket is zero again when the last one leaves.
__device__ __forceinline__ bool last_of(uint32_t blocks, uint32_t* ticket) {
  NV_SHARED(uint32_t, last);
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    const uint32_t before = atomicAdd(ticket, 1u);
    last = before == blocks - 1;
    if (last != 0) {
      __threadfence();
      *ticket = 0;
    }
  }
  __syncthreads();
  return last != 0;
}

}  // namespace nvium::cuda
