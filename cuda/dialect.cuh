// The language of the kernels: CUDA C++ and the few spellings below, which nvcc turns into PTX and
// g++ into calls of the SIMT emulator (docs/emulator.md). Kernel files include this and hold no
// <<<>>>, no bare __shared__, no inline PTX and no __device__ variables of their own.
//
// * NV_SHARED(T, name): a static shared variable, as in NV_SHARED(float[32][33], tile).
// * NV_DYN_SMEM(name): dynamic shared memory as unsigned char*, aligned to 128 bytes.
// * NV_UNROLL: before a loop that must be unrolled.
// * cp_async<bytes>(to, from, valid), cp_async_commit(), cp_async_wait<groups left pending>().
// * ldmatrix_x4, mma_bf16_16816: one warp-wide tensor core instruction each.
// * prefetch_l2<bytes>(address): brings so many bytes to the second-level cache, some time.
// * grid_sync(): all threads of a cooperative launch.
// * grid_dependency_wait(), grid_dependency_trigger(): in a kernel launched with .dependent, the
//   first one before it uses what earlier launches of the stream wrote.
// * load_acquire, store_release: one flag, for the whole device.
// * launch(kernel, grid, block, stream, {...}, arguments...), load(kernels...): from the host.
#pragma once

#if defined(NVIUM_SIMT)
#include "simt/dialect.h"
#elif defined(__CUDACC__)
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstdint>
#else
#error "dialect.cuh is for kernel files: compile them with nvcc or against the SIMT emulator"
#endif

#include <cstddef>
#include <utility>

namespace nv {

#if !defined(NVIUM_SIMT)

// Array types cannot stand in front of a declarator.
template <class T>
struct type_is {
  using type = T;
};

#define NV_DYN_SMEM(name) extern __shared__ __align__(128) unsigned char name[]
#define NV_SHARED(T, name) __shared__ typename ::nv::type_is<T>::type name
#define NV_UNROLL _Pragma("unroll")

// `valid` false writes zeros and does not read.
template <unsigned kBytes = 16>
__device__ __forceinline__ void cp_async(void* shared, const void* global, bool valid = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const unsigned source_bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {  // past L1
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global),
                 "r"(source_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(global),
                 "n"(kBytes), "r"(source_bytes)
                 : "memory");
  }
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <unsigned kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// `address` is a multiple of 16, kBytes one of 128.
template <unsigned kBytes>
__device__ __forceinline__ void prefetch_l2(const void* address) {
  static_assert(kBytes % 128 == 0);
#if __CUDA_ARCH__ >= 900
  asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(address), "n"(kBytes) : "memory");
#else
  const char* at = static_cast<const char*>(address);
#pragma unroll
  for (unsigned i = 0; i < kBytes; i += 128) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(at + i));
  }
#endif
}

// Four 8x8 matrices of 16 bits: lane 8j+r gives the address of row r of matrix j.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&result)[4], const void* row) {
  const auto from = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
               : "r"(from)
               : "memory");
}

// D += A B, with A 16x16 row-major, B 16x8 column-major in bf16 and D in fp32.
__device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4],
                                               const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void grid_sync() { cooperative_groups::this_grid().sync(); }

// Launches begin early only from sm_90 on; before that the stream alone keeps them in order.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}
__device__ __forceinline__ void grid_dependency_trigger() {
#if __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

template <class T>
__device__ __forceinline__ T load_acquire(const T* address) {
  static_assert(sizeof(T) == 4);
  uint32_t bits;
  asm volatile("ld.acquire.gpu.global.b32 %0, [%1];" : "=r"(bits) : "l"(address) : "memory");
  T value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
__device__ __forceinline__ void store_release(T* address, typename type_is<T>::type value) {
  static_assert(sizeof(T) == 4);
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  asm volatile("st.release.gpu.global.b32 [%0], %1;" ::"l"(address), "r"(bits) : "memory");
}

#endif

struct LaunchOptions {
  size_t shared = 0;         // bytes of dynamic shared memory
  bool dependent = false;    // may begin before the kernel ahead of it in the stream has finished
  bool cooperative = false;  // all blocks are resident and may grid_sync()
};

template <class... Parameters, class... Args>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t stream,
                   LaunchOptions options, Args&&... args) {
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = options.shared;
  config.stream = stream;
  config.attrs = attributes;
  if (options.dependent) {
    auto& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
  }
  if (options.cooperative) {
    auto& attribute = attributes[config.numAttrs++];
    attribute.id = cudaLaunchAttributeCooperative;
    attribute.val.cooperative = 1;
  }
  return cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
}

// Brings kernels to the device now. By default the driver does it at the first launch, when memory
// may be short. All of them leave as much of a multiprocessor's memory as can be to shared memory:
// kernels that divide it differently do not run beside each other.
template <class... Kernels>
cudaError_t load(Kernels*... kernels) {
  cudaError_t error = cudaSuccess;
  cudaFuncAttributes attributes;
  for (const void* kernel : {reinterpret_cast<const void*>(kernels)...}) {
    if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, kernel);
    if (error == cudaSuccess) {
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                   cudaSharedmemCarveoutMaxShared);
    }
  }
  return error;
}

// The same, and lets the kernel take `bytes` of dynamic shared memory.
template <class Kernel>
cudaError_t load_with(Kernel* kernel, size_t bytes) {
  const cudaError_t error =
      cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                           cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
  return error != cudaSuccess ? error : load(kernel);
}

}  // namespace nv
