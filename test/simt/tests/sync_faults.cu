// Faults of barriers, warp collectives and launches.
#include "corpus.h"

namespace corpus {
namespace {

constexpr int kN = 64;

__global__ void barriers_of_two_branches(float* out) {
  if (threadIdx.x < 32) {
    // fault barriers_of_two_branches: divergent barrier
    __syncthreads();
  } else {
    // fault barriers_of_two_branches: divergent barrier
    __syncthreads();
  }
  out[threadIdx.x] = 0;
}

__global__ void barrier_against_shuffle(float* out) {
  if (threadIdx.x & 1) {
    // fault barrier_against_shuffle: deadlock
    __syncthreads();
  } else {
    // fault barrier_against_shuffle: deadlock
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
  }
}

__global__ void half_warp_full_mask(float* out) {
  if (threadIdx.x < 16)
    // fault half_warp_full_mask: mismatched mask
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

__global__ void mask_without_caller(float* out) {
  // fault mask_without_caller: mismatched mask
  out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 0);
}

__global__ void different_masks(float* out) {
  const unsigned mask = threadIdx.x < 16 ? 0xffffffffu : 0xffff0000u;
  // fault different_masks: mismatched mask
  out[threadIdx.x] = __shfl_sync(mask, 1.0f, 31);
}

__global__ void different_collectives(float* out) {
  if (threadIdx.x < 16) {
    // fault different_collectives: mismatched mask
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 0);
  } else {
    // fault different_collectives: mismatched mask
    out[threadIdx.x] = float(__ballot_sync(0xffffffffu, 1));
  }
}

// Tensor core instructions must be the same one for the whole warp.
__global__ void mma_in_two_branches(float* out) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) {
    // fault mma_in_two_branches: mismatched mask
    nv::mma_bf16_16816(d, a, b);
  } else {
    // fault mma_in_two_branches: mismatched mask
    nv::mma_bf16_16816(d, a, b);
  }
  out[threadIdx.x] = d[0];
}

__global__ void wait_for_nobody(unsigned* flag, unsigned* out) {
  // fault wait_for_nobody: live-lock
  while (atomicAdd(flag, 0u) == 0) __nanosleep(20);
  out[0] = 1;
}

// All blocks wait for each other, but the grid was not launched to be resident.
__global__ void grid_sync_in_ordinary_launch(float* out) {
  // fault grid_sync_in_ordinary_launch: bad launch
  nv::grid_sync();
  out[threadIdx.x] = 0;
}

__global__ void stop(float* out) {
  // fault trap: trap
  if (threadIdx.x == 3) __trap();
  out[threadIdx.x] = 0;
}

__global__ void __launch_bounds__(64) bounded(float* out) { out[threadIdx.x] = 0; }
__global__ void plain(float* out) { out[threadIdx.x] = 0; }
__global__ void needs_shared(float* out) {
  NV_DYN_SMEM(raw);
  raw[0] = 0;
  out[threadIdx.x] = 0;
}

void launch_too_large_for_bounds() {
  Device<float> out(128);
  // fault launch_too_large_for_bounds: bad launch
  nv::launch(bounded, dim3(1), dim3(128), nullptr, {}, out.data());
}

void launch_too_many_threads() {
  Device<float> out(2048);
  // fault launch_too_many_threads: bad launch
  nv::launch(plain, dim3(1), dim3(2048), nullptr, {}, out.data());
}

void launch_too_much_shared() {
  Device<float> out(32);
  // fault launch_too_much_shared: bad launch
  nv::launch(needs_shared, dim3(1), dim3(32), nullptr, {.shared = 64 << 10}, out.data());
}

void cooperative_too_large() {
  Device<float> out(1024);
  // fault cooperative_too_large: bad launch
  nv::launch(plain, dim3(1000), dim3(1024), nullptr, {.cooperative = true}, out.data());
}

constexpr Fault kFaults[] = {
    {"barriers_of_two_branches",
     [] { run(barriers_of_two_branches, 1, kN, Device<float>(kN).data()); }},
    {"barrier_against_shuffle",
     [] { run(barrier_against_shuffle, 1, 32, Device<float>(32).data()); }},
    {"half_warp_full_mask", [] { run(half_warp_full_mask, 1, 32, Device<float>(32).data()); }},
    {"mask_without_caller", [] { run(mask_without_caller, 1, 32, Device<float>(32).data()); }},
    {"different_masks", [] { run(different_masks, 1, 32, Device<float>(32).data()); }},
    {"different_collectives", [] { run(different_collectives, 1, 32, Device<float>(32).data()); }},
    {"mma_in_two_branches", [] { run(mma_in_two_branches, 1, 32, Device<float>(32).data()); }},
    {"wait_for_nobody",
     [] {
       Device<unsigned> flag(1, 0), out(1);
       run(wait_for_nobody, 1, 1, flag.data(), out.data());
     }},
    {"grid_sync_in_ordinary_launch",
     [] { run(grid_sync_in_ordinary_launch, 1, 32, Device<float>(32).data()); }},
    {"trap", [] { run(stop, 1, 32, Device<float>(32).data()); }},
    {"launch_too_large_for_bounds", launch_too_large_for_bounds},
    {"launch_too_many_threads", launch_too_many_threads},
    {"launch_too_much_shared", launch_too_much_shared},
    {"cooperative_too_large", cooperative_too_large},
};

}  // namespace

std::span<const Fault> sync_faults() { return kFaults; }

}  // namespace corpus
