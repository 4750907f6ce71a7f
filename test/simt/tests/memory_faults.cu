// Faults of single accesses.
#include "corpus.h"

namespace corpus {
namespace {

constexpr int kN = 64;

__global__ void write_past_end(float* p, int n) {
  // fault write_past_end: out of bounds
  p[threadIdx.x + n] = 1;
}

__global__ void read_before_start(const float* p, float* out) {
  // fault read_before_start: out of bounds
  out[threadIdx.x] = p[int(threadIdx.x) - 1];
}

__global__ void vector_load_over_end(const float* p, float* out, int n) {
  const int i = 4 * int(threadIdx.x);
  if (i >= n) return;
  // fault vector_load_over_end: out of bounds
  const float4 v = *reinterpret_cast<const float4*>(p + i);
  out[threadIdx.x] = v.x + v.y;
}

__global__ void atomic_past_end(unsigned* p, int n) {
  // fault atomic_past_end: out of bounds
  atomicAdd(p + n, 1u);
}

__global__ void dynamic_shared_past_end(float* out) {
  NV_DYN_SMEM(raw);
  auto* s = reinterpret_cast<float*>(raw);
  // fault dynamic_shared_past_end: shared memory out of bounds
  s[threadIdx.x + 1] = 1;
  out[threadIdx.x] = 0;
}

__global__ void static_shared_past_end(float* out) {
  NV_SHARED(float[32], small);
  NV_SHARED(float[32], neighbour);
  if (threadIdx.x < 32) neighbour[threadIdx.x] = 0;
  // fault static_shared_past_end: shared memory out of bounds
  small[threadIdx.x] = 1;
  out[threadIdx.x] = 0;
}

__global__ void copy_kernel(const float* from, float* to) {
  // fault read_after_free: use after free
  to[threadIdx.x] = from[threadIdx.x];
}

__global__ void read_undefined_global(const float* from, float* to) {
  // fault read_undefined_global: uninitialised read
  to[threadIdx.x] = from[threadIdx.x];
}

__global__ void read_half_defined(float* p, uint32_t* out) {
  reinterpret_cast<__nv_bfloat16*>(p)[2 * threadIdx.x] = __float2bfloat16(1.0f);
  // fault read_half_defined: uninitialised read
  out[threadIdx.x] = reinterpret_cast<uint32_t*>(p)[threadIdx.x];
}

__global__ void read_undefined_shared(float* out) {
  NV_SHARED(float[kN], s);
  if (threadIdx.x < kN - 1) s[threadIdx.x] = 0;
  __syncthreads();
  // fault read_undefined_shared: uninitialised read
  out[threadIdx.x] = s[threadIdx.x];
}

// The second block of a slot must not see what the first left behind.
__global__ void read_other_blocks_shared(float* out) {
  NV_SHARED(float[kN], s);
  if (blockIdx.x == 0) s[threadIdx.x] = 0;
  // fault read_other_blocks_shared: uninitialised read
  out[blockIdx.x * kN + threadIdx.x] = s[threadIdx.x];
}

__global__ void misaligned_vector(float* p) {
  const auto v = make_float4(1, 2, 3, 4);
  // fault misaligned_vector: misaligned access
  *reinterpret_cast<float4*>(p + 4 * threadIdx.x + 1) = v;
}

__global__ void misaligned_shared(float* out) {
  NV_SHARED(unsigned char[4 * kN + 8], s);
  // fault misaligned_shared: misaligned access
  *reinterpret_cast<float*>(s + 4 * threadIdx.x + 2) = 1;
  out[threadIdx.x] = 0;
}

__global__ void read_pointer(const float* p, float* out) {
  // fault host_pointer: host memory in kernel
  out[threadIdx.x] = p[threadIdx.x];
}

__global__ void wild_pointer(float* out) {
  auto* p = reinterpret_cast<volatile float*>(uintptr_t(0x10));
  // fault wild_pointer: host memory in kernel
  out[threadIdx.x] = *p;
}

volatile float host_table[kN];
__global__ void read_host_global(float* out) {
  // fault host_global: host memory in kernel
  out[threadIdx.x] = host_table[threadIdx.x];
}

__global__ void share_local_address(float* out) {
  NV_SHARED(float*, address);
  float local = float(threadIdx.x);
  if (threadIdx.x == 0) address = &local;
  __syncthreads();
  // fault share_local_address: local memory of another thread
  if (threadIdx.x == 1) *address = 2;
  __syncthreads();
  out[threadIdx.x] = local;
}

__global__ void undefined_local(const float* p, float* out) {
  int best;
  for (int i = 0; i < 4; ++i)
    if (p[i] > 100) best = i;
  out[threadIdx.x] = 0;
  // fault undefined_local: undefined condition
  if (best == 2) out[threadIdx.x] = 1;
}

__global__ void undefined_shuffle(float* out) {
  out[threadIdx.x] = 0;
  if (threadIdx.x >= 16) return;
  const float above = __shfl_down_sync(0x0000ffffu, float(threadIdx.x), 1);
  // fault undefined_shuffle: undefined condition
  if (above * 2 > 5) out[threadIdx.x] = 1;
}

__global__ void stale_read_only(float* p, float* out) {
  p[threadIdx.x] = 1;
  __syncthreads();
  // fault stale_read_only: stale read-only load
  out[threadIdx.x] = __ldg(p + (threadIdx.x ^ 1));
}

__global__ void async_copy_without_wait(const float4* from, float* out) {
  NV_SHARED(float4[kN], s);
  nv::cp_async(s + threadIdx.x, from + threadIdx.x);
  nv::cp_async_commit();
  // fault async_copy_without_wait: cp.async in flight
  out[threadIdx.x] = s[threadIdx.x].x;
  nv::cp_async_wait<0>();
}

__global__ void async_copy_wrong_group(const float4* from, float* out) {
  NV_SHARED(float4[2 * kN], s);
  nv::cp_async(s + threadIdx.x, from + threadIdx.x);
  nv::cp_async_commit();
  nv::cp_async(s + kN + threadIdx.x, from + threadIdx.x);
  nv::cp_async_commit();
  nv::cp_async_wait<1>();
  // fault async_copy_wrong_group: cp.async in flight
  out[threadIdx.x] = s[kN + threadIdx.x].x;
  nv::cp_async_wait<0>();
}

__global__ void async_copy_never_awaited(const float4* from) {
  NV_SHARED(float4[kN], s);
  // fault async_copy_never_awaited: cp.async never awaited
  nv::cp_async(s + threadIdx.x, from + threadIdx.x);
  nv::cp_async_commit();
}

constexpr Fault kFaults[] = {
    {"write_past_end", [] { run(write_past_end, 1, kN, Device<float>(kN, 0).data(), kN); }},
    {"read_before_start",
     [] { run(read_before_start, 1, kN, Device<float>(kN, 0).data(), Device<float>(kN).data()); }},
    {"vector_load_over_end",
     [] {
       Device<float> p(30, 0), out(32);
       run(vector_load_over_end, 1, 32, p.data(), out.data(), 30);
     }},
    {"atomic_past_end", [] { run(atomic_past_end, 1, 1, Device<unsigned>(kN, 0).data(), kN); }},
    {"dynamic_shared_past_end",
     [] {
       Device<float> out(kN);
       run(dynamic_shared_past_end, 1, kN, {.shared = kN * sizeof(float)}, out.data());
     }},
    {"static_shared_past_end",
     [] { run(static_shared_past_end, 1, kN, Device<float>(kN).data()); }},
    {"read_after_free",
     [] {
       Device<float> out(kN);
       float* p = Device<float>(kN, 0).data();
       run(copy_kernel, 1, kN, p, out.data());
     }},
    {"read_undefined_global",
     [] {
       Device<float> from(kN), to(kN);
       run(read_undefined_global, 1, kN, from.data(), to.data());
     }},
    {"read_half_defined",
     [] {
       Device<float> p(kN);
       Device<uint32_t> out(kN);
       run(read_half_defined, 1, kN, p.data(), out.data());
     }},
    {"read_undefined_shared", [] { run(read_undefined_shared, 1, kN, Device<float>(kN).data()); }},
    {"read_other_blocks_shared",
     [] { run(read_other_blocks_shared, 2, kN, Device<float>(2 * kN).data()); }},
    {"misaligned_vector", [] { run(misaligned_vector, 1, 4, Device<float>(32).data()); }},
    {"misaligned_shared", [] { run(misaligned_shared, 1, kN, Device<float>(kN).data()); }},
    {"host_pointer",
     [] {
       std::vector<float> host(kN);
       run(read_pointer, 1, kN, host.data(), Device<float>(kN).data());
     }},
    {"wild_pointer", [] { run(wild_pointer, 1, kN, Device<float>(kN).data()); }},
    {"host_global", [] { run(read_host_global, 1, kN, Device<float>(kN).data()); }},
    {"share_local_address", [] { run(share_local_address, 1, kN, Device<float>(kN).data()); }},
    {"undefined_local",
     [] {
       Device<float> p(4, 0), out(kN);
       run(undefined_local, 1, kN, p.data(), out.data());
     }},
    {"undefined_shuffle", [] { run(undefined_shuffle, 1, 32, Device<float>(32).data()); }},
    {"stale_read_only",
     [] {
       Device<float> p(kN), out(kN);
       run(stale_read_only, 1, kN, p.data(), out.data());
     }},
    {"async_copy_without_wait",
     [] {
       Device<float4> from(kN, float4{1, 2, 3, 4});
       Device<float> out(kN);
       run(async_copy_without_wait, 1, kN, from.data(), out.data());
     }},
    {"async_copy_wrong_group",
     [] {
       Device<float4> from(kN, float4{1, 2, 3, 4});
       Device<float> out(kN);
       run(async_copy_wrong_group, 1, kN, from.data(), out.data());
     }},
    {"async_copy_never_awaited",
     [] {
       Device<float4> from(kN, float4{1, 2, 3, 4});
       run(async_copy_never_awaited, 1, kN, from.data());
     }},
};

}  // namespace

std::span<const Fault> memory_faults() { return kFaults; }

}  // namespace corpus
