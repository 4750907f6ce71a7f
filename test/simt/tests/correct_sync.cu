// Correct kernels, some of them odd: barriers and warp collectives.
#include "corpus.h"

namespace corpus {
namespace {

constexpr int kN = 64;
constexpr unsigned kAll = 0xffffffffu;

__global__ void reverse_block(float* p) {
  NV_SHARED(float[kN], s);
  s[threadIdx.x] = p[threadIdx.x];
  __syncthreads();
  p[threadIdx.x] = s[kN - 1 - threadIdx.x];
}

__global__ void tree_reduction(const float* in, float* out) {
  NV_SHARED(float[256], s);
  s[threadIdx.x] = in[threadIdx.x];
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
  }
  if (threadIdx.x == 0) *out = s[0];
}

__global__ void exchange_in_a_warp(float* out) {
  NV_SHARED(float[32], s);
  for (int round = 0; round < 3; ++round) {
    s[threadIdx.x] = float(threadIdx.x + round);
    __syncwarp();
    out[threadIdx.x] = s[threadIdx.x ^ 1];
    __syncwarp();
  }
}

// Two halves of a warp, each on its own.
__global__ void exchange_in_half_a_warp(float* out) {
  NV_SHARED(float[32], s);
  const unsigned half = threadIdx.x < 16 ? 0x0000ffffu : 0xffff0000u;
  s[threadIdx.x] = float(threadIdx.x);
  __syncwarp(half);
  out[threadIdx.x] = s[threadIdx.x ^ 15];
  __syncwarp(half);
  s[threadIdx.x] = 0;
}

// The branches of a warp meet at different calls of the same instruction.
__global__ void shuffle_in_two_branches(float* out) {
  float x;
  if (threadIdx.x < 16) {
    x = __shfl_xor_sync(kAll, float(threadIdx.x), 16);
  } else {
    x = __shfl_xor_sync(kAll, float(threadIdx.x), 16);
  }
  out[threadIdx.x] = x;
}

__global__ void early_exit(float* out) {
  if (threadIdx.x >= 48) return;
  NV_SHARED(float[kN], s);
  s[threadIdx.x] = float(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = s[47 - threadIdx.x];
}

// One warp writes twice between barriers; only its own lanes look in between.
__global__ void warp_works_alone(float* out) {
  NV_SHARED(float[32], s);
  if (threadIdx.x < 32) s[threadIdx.x] = 0;
  __syncthreads();
  if (threadIdx.x < 32) {
    s[threadIdx.x] = float(threadIdx.x);
    __syncwarp();
    out[threadIdx.x] = s[31 - threadIdx.x];
  } else {
    out[threadIdx.x] = 5;
  }
}

__global__ void partial_warp(float* out) {
  float x = float(threadIdx.x);
  for (int o = 1; o < 32; o *= 2) {
    const float below = __shfl_up_sync(kAll, x, unsigned(o));
    if (int(threadIdx.x % 32) >= o) x += below;
  }
  out[threadIdx.x] = x;
}

__global__ void votes_and_reductions(int* out) {
  const int i = int(threadIdx.x), odd = i & 1;
  const bool right = __any_sync(kAll, odd) && !__all_sync(kAll, odd) &&
                     __ballot_sync(kAll, odd) == 0xaaaaaaaau && __reduce_add_sync(kAll, i) == 496 &&
                     __reduce_max_sync(kAll, i) == 31 && __reduce_min_sync(kAll, i) == 0 &&
                     __reduce_or_sync(kAll, unsigned(i)) == 31 &&
                     __match_any_sync(kAll, odd) == (odd ? 0xaaaaaaaau : 0x55555555u);
  out[threadIdx.x] = right;
}

__global__ void barriers_that_count(int* out) {
  const int odd = threadIdx.x & 1;
  const int count = __syncthreads_count(odd);
  const int either = __syncthreads_or(odd), both = __syncthreads_and(odd);
  out[threadIdx.x] = count * 100 + either * 10 + both;
}

// Barriers in a loop whose length depends on the block, not on the thread.
__global__ void barriers_in_a_loop(int* out) {
  NV_SHARED(int, sum);
  if (threadIdx.x == 0) sum = 0;
  for (unsigned i = 0; i <= blockIdx.x; ++i) {
    __syncthreads();
    if (threadIdx.x == i) sum += int(i);
  }
  __syncthreads();
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

__global__ void grid_phases(float* p, float* out, int rounds) {
  const unsigned n = gridDim.x, i = blockIdx.x;
  for (int r = 0; r < rounds; ++r) {
    if (threadIdx.x == 0) p[i] = float(r) + float(i);
    nv::grid_sync();
    if (threadIdx.x == 0) out[i] = p[n - 1 - i] + p[0];
    nv::grid_sync();
  }
}

__global__ void tensor_tile(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d) {
  NV_SHARED(__nv_bfloat16[16 * 16], sa);
  const unsigned lane = threadIdx.x, g = lane / 4, t = lane % 4;
  for (unsigned i = lane; i < 256; i += 32) sa[i] = a[i];
  __syncwarp();
  uint32_t fa[4];
  nv::ldmatrix_x4(fa, sa + (lane % 16) * 16 + (lane / 16) * 8);
  const auto pair = [](const __nv_bfloat16* p) { return *reinterpret_cast<const uint32_t*>(p); };
  const uint32_t fb[2] = {pair(b + g * 16 + 2 * t), pair(b + g * 16 + 2 * t + 8)};
  float acc[4] = {};
  nv::mma_bf16_16816(acc, fa, fb);
  for (unsigned i = 0; i < 4; ++i) d[(g + (i / 2) * 8) * 8 + 2 * t + i % 2] = acc[i];
}

bool tensor_core() {
  std::vector<__nv_bfloat16> a(256), b(128);
  for (size_t i = 0; i < a.size(); ++i) a[i] = __float2bfloat16(float(int(i % 7) - 3));
  for (size_t i = 0; i < b.size(); ++i) b[i] = __float2bfloat16(float(int(i % 5) - 2));
  Device<__nv_bfloat16> da(a), db(b);
  Device<float> d(128);
  run(tensor_tile, 1, 32, da.data(), db.data(), d.data());
  return all(d.read(), [&](size_t i) {
    float sum = 0;
    for (size_t k = 0; k < 16; ++k)
      sum += __bfloat162float(a[i / 8 * 16 + k]) * __bfloat162float(b[i % 8 * 16 + k]);
    return sum;
  });
}

constexpr Correct kCases[] = {
    {"reverse_block",
     [] {
       std::vector<float> values(kN);
       for (int i = 0; i < kN; ++i) values[size_t(i)] = float(i);
       Device<float> p(values);
       run(reverse_block, 1, kN, p.data());
       return all(p.read(), [](size_t i) { return kN - 1 - i; });
     }},
    {"tree_reduction",
     [] {
       Device<float> in(256, 1), out(1);
       run(tree_reduction, 1, 256, in.data(), out.data());
       return out.read()[0] == 256;
     }},
    {"exchange_in_a_warp",
     [] {
       Device<float> out(32);
       run(exchange_in_a_warp, 1, 32, out.data());
       return all(out.read(), [](size_t i) { return (i ^ 1) + 2; });
     }},
    {"exchange_in_half_a_warp",
     [] {
       Device<float> out(32);
       run(exchange_in_half_a_warp, 1, 32, out.data());
       return all(out.read(), [](size_t i) { return i ^ 15; });
     }},
    {"shuffle_in_two_branches",
     [] {
       Device<float> out(32);
       run(shuffle_in_two_branches, 1, 32, out.data());
       return all(out.read(), [](size_t i) { return i ^ 16; });
     }},
    {"early_exit",
     [] {
       Device<float> out(48);
       run(early_exit, 1, kN, out.data());
       return all(out.read(), [](size_t i) { return 47 - i; });
     }},
    {"warp_works_alone",
     [] {
       Device<float> out(kN);
       run(warp_works_alone, 1, kN, out.data());
       return all(out.read(), [](size_t i) { return i < 32 ? 31 - i : 5; });
     }},
    {"partial_warp",
     [] {
       Device<float> out(40);
       run(partial_warp, 1, 40, out.data());
       return out.read()[31] == 496 && out.read()[39] == 284;
     }},
    {"votes_and_reductions",
     [] {
       Device<int> out(32);
       run(votes_and_reductions, 1, 32, out.data());
       return all(out.read(), [](size_t) { return 1; });
     }},
    {"barriers_that_count",
     [] {
       Device<int> out(kN);
       run(barriers_that_count, 1, kN, out.data());
       return all(out.read(), [](size_t) { return 3210; });
     }},
    {"barriers_in_a_loop",
     [] {
       Device<int> out(8);
       run(barriers_in_a_loop, 8, kN, out.data());
       return all(out.read(), [](size_t i) { return i * (i + 1) / 2; });
     }},
    {"grid_phases",
     [] {
       Device<float> p(6), out(6);
       run(grid_phases, 6, 32, {.cooperative = true}, p.data(), out.data(), 3);
       return all(out.read(), [](size_t i) { return 2 + (5 - i) + 2; });
     }},
    {"tensor_core", tensor_core},
};

}  // namespace

std::span<const Correct> correct_sync() { return kCases; }

}  // namespace corpus
