// What a kernel source sees when g++ compiles it for the emulator. Vector types, bf16 and the host
// API come from the toolkit's own headers, which g++ accepts; the device-only rest is here.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "simt/arithmetic.h"
#include "simt/atomics.h"
#include "simt/launch.h"
#include "simt/runtime.h"
#include "simt/warp.h"

// The bound becomes no-ops in front of the kernel, where a launch can count them: one for each warp
// and one more.
#define __launch_bounds__(threads, ...) \
  __attribute__((                       \
      patchable_function_entry((int(threads) + 31) / 32 + 1, (int(threads) + 31) / 32 + 1)))

// Every call inside a kernel is inlined, as nvcc does. Besides being like the device, it is needed:
// g++ does not announce a load or store that is itself an argument or the result of a call.
#undef __global__
#define __global__ __attribute__((flatten))

// A bare __shared__ must not silently become a variable of one thread.
#undef __shared__
#define __shared__ simt_error_use_NV_SHARED

// Kernels may read constants, but no other variable of the host program.
#undef __constant__
#define __constant__ __attribute__((section("simt_constant")))

// Objects of the real types that the emulator rewrites whenever it changes fibers. Seen from one
// thread they never change, so `const` is the truth and the compiler may keep their values.
extern const uint3 threadIdx asm("simt_threadIdx");
extern const uint3 blockIdx asm("simt_blockIdx");
extern const dim3 blockDim asm("simt_blockDim");
extern const dim3 gridDim asm("simt_gridDim");
inline constexpr int warpSize = 32;

inline void cudaGridDependencySynchronize() { simt::wait_for_prior_grids(); }
inline void cudaTriggerProgrammaticLaunchCompletion() {}
inline void cudaGraphSetConditional(cudaGraphConditionalHandle handle, unsigned value, SIMT_PLACE) {
  simt::set_graph_condition(handle, value, place);
}
