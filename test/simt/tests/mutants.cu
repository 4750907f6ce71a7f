#include <cmath>
#include <random>

#include "corpus.h"
#include "gemv.cuh"
#include "mutants.h"

namespace mutants {
namespace {

using corpus::Device;
using bf16 = __nv_bfloat16;

enum class Mutation {
  none,
  no_first_barrier,
  no_second_barrier,
  wait_too_weak,
  no_edge_test,
  swapped_fragments,
  no_barrier,
  one_position_more,
  no_rescale,
  no_fence,
};

// ---- C = A B^T in tiles of 64 x 64 x 32: two stages of cp.async, ldmatrix, mma

constexpr int kTile = 64, kDepth = 32, kStride = kDepth + 8;  // rows 80 bytes apart: no conflicts

template <Mutation kMutation>
__global__ void __launch_bounds__(128)
    gemm(const bf16* a, const bf16* b, float* c, int m, int n, int k) {
  NV_DYN_SMEM(raw);
  auto* sa = reinterpret_cast<bf16*>(raw);
  auto* sb = sa + 2 * kTile * kStride;
  const int thread = int(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int m0 = int(blockIdx.y) * kTile, n0 = int(blockIdx.x) * kTile;
  constexpr bool kEdge = kMutation != Mutation::no_edge_test;
  const auto load = [&](int stage, int k0) {
    for (int i = thread; i < kTile * kDepth / 8; i += 128) {
      const int row = i / (kDepth / 8), column = i % (kDepth / 8) * 8;
      const int to = (stage * kTile + row) * kStride + column;
      nv::cp_async(sa + to, a + size_t(min(m0 + row, m - 1)) * k + k0 + column, m0 + row < m);
      const int from = kEdge ? min(n0 + row, n - 1) : n0 + row;
      nv::cp_async(sb + to, b + size_t(from) * k + k0 + column, !kEdge || n0 + row < n);
    }
    nv::cp_async_commit();
  };
  float acc[8][4] = {};
  load(0, 0);
  const int steps = k / kDepth;
  for (int s = 0; s < steps; ++s) {
    if (s + 1 < steps) {
      load((s + 1) & 1, (s + 1) * kDepth);
    } else {
      nv::cp_async_commit();
    }
    nv::cp_async_wait<(kMutation == Mutation::wait_too_weak ? 2 : 1)>();
    if (kMutation != Mutation::no_first_barrier) __syncthreads();
    const bf16* ta = sa + (s & 1) * kTile * kStride;
    const bf16* tb = sb + (s & 1) * kTile * kStride;
    NV_UNROLL
    for (int kk = 0; kk < kDepth; kk += 16) {
      uint32_t fa[4];
      nv::ldmatrix_x4(fa, ta + (warp * 16 + lane % 16) * kStride + kk + lane / 16 * 8);
      NV_UNROLL
      for (int nn = 0; nn < 8; nn += 2) {
        uint32_t fb[4];
        nv::ldmatrix_x4(fb,
                        tb + (nn * 8 + lane % 8 + lane / 16 * 8) * kStride + kk + lane / 8 % 2 * 8);
        constexpr bool kSwap = kMutation == Mutation::swapped_fragments;
        const uint32_t b0[2] = {fb[kSwap], fb[!kSwap]}, b1[2] = {fb[2], fb[3]};
        nv::mma_bf16_16816(acc[nn], fa, b0);
        nv::mma_bf16_16816(acc[nn + 1], fa, b1);
      }
    }
    if (kMutation != Mutation::no_second_barrier) __syncthreads();
  }
  nv::cp_async_wait<0>();
  NV_UNROLL
  for (int nn = 0; nn < 8; ++nn) NV_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = m0 + warp * 16 + lane / 4 + 8 * half, column = n0 + nn * 8 + lane % 4 * 2;
    if (row < m && column < n)
      *reinterpret_cast<float2*>(c + size_t(row) * n + column) =
          make_float2(acc[nn][2 * half], acc[nn][2 * half + 1]);
  }
}

// ---- decode attention: a block for a head of 64 dimensions, online softmax over positions

template <Mutation kMutation>
__global__ void __launch_bounds__(128)
    attention(const float* q, const bf16* k, const bf16* v, float* out, int length) {
  constexpr int kWarps = 4;
  NV_SHARED(float[kWarps][64], acc);
  NV_SHARED(float[kWarps], most);
  NV_SHARED(float[kWarps], sum);
  const int lane = int(threadIdx.x % 32), warp = int(threadIdx.x / 32), head = int(blockIdx.x);
  const int heads = int(gridDim.x);
  const float q0 = q[head * 64 + lane], q1 = q[head * 64 + 32 + lane];
  float m = -INFINITY, l = 0, a0 = 0, a1 = 0;
  for (int t = warp; kMutation == Mutation::one_position_more ? t <= length : t < length;
       t += kWarps) {
    const size_t at = (size_t(t) * heads + head) * 64;
    float s = q0 * __bfloat162float(k[at + lane]) + q1 * __bfloat162float(k[at + 32 + lane]);
    for (int o = 16; o > 0; o /= 2) s += __shfl_xor_sync(0xffffffffu, s, o);
    const float next = fmaxf(m, s);
    const float rescale = kMutation == Mutation::no_rescale ? 1.0f : expf(m - next);
    const float p = expf(s - next);
    a0 = a0 * rescale + p * __bfloat162float(v[at + lane]);
    a1 = a1 * rescale + p * __bfloat162float(v[at + 32 + lane]);
    l = l * rescale + p;
    m = next;
  }
  acc[warp][lane] = a0;
  acc[warp][32 + lane] = a1;
  if (lane == 0) {
    most[warp] = m;
    sum[warp] = l;
  }
  if (kMutation != Mutation::no_barrier) __syncthreads();
  for (int d = int(threadIdx.x); d < 64; d += 128) {
    float top = -INFINITY, numerator = 0, denominator = 0;
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, most[w]);
    for (int w = 0; w < kWarps; ++w) {
      numerator += expf(most[w] - top) * acc[w][d];
      denominator += expf(most[w] - top) * sum[w];
    }
    out[head * 64 + d] = numerator / denominator;
  }
}

// ---- a sum whose last block adds up

template <Mutation kMutation>
__global__ void reduce(const float* x, float* parts, unsigned* ticket, float* out, int n) {
  NV_SHARED(float[8], sums);
  NV_SHARED(bool, last);
  float v = 0;
  for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += int(gridDim.x * blockDim.x))
    v += x[i];
  for (int o = 16; o > 0; o /= 2) v += __shfl_xor_sync(0xffffffffu, v, o);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = v;
  if (kMutation != Mutation::no_first_barrier) __syncthreads();
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned w = 0; w < blockDim.x / 32; ++w) total += sums[w];
    parts[blockIdx.x] = total;
    if (kMutation != Mutation::no_fence) __threadfence();
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    __threadfence();
  }
  if (kMutation != Mutation::no_second_barrier) __syncthreads();
  if (!last || threadIdx.x != 33) return;
  float total = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) total += parts[i];
  *out = total;
}

// ---- a grid barrier by polling

template <Mutation kMutation>
__global__ void reverse_in_two_phases(unsigned* counter, float* x, float* out, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  x[i] = float(i);
  __syncthreads();
  if (threadIdx.x == 0) {
    if (kMutation != Mutation::no_fence) __threadfence();
    atomicAdd(counter, 1u);
    while (atomicAdd(counter, 0u) < gridDim.x) __nanosleep(20);
    __threadfence();
  }
  __syncthreads();
  out[i] = x[n - 1 - i];
}

// ---- references and runs

std::vector<float> random_floats(size_t count) {
  static std::mt19937 generator(7);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(count);
  for (float& v : values) v = __bfloat162float(__float2bfloat16(uniform(generator)));
  return values;
}

std::vector<bf16> to_bf16(const std::vector<float>& values) {
  std::vector<bf16> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i] = __float2bfloat16(values[i]);
  return result;
}

template <class F>
double distance(const std::vector<float>& values, F reference) {
  double most = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double d = std::fabs(double(values[i]) - reference(i));
    if (!(d <= most)) most = std::isnan(d) ? INFINITY : d;
  }
  return most;
}

template <Mutation kMutation>
double run_gemm() {
  constexpr int kM = 70, kN = 92, kK = 128;
  const auto a = random_floats(kM * kK), b = random_floats(kN * kK);
  const Device<bf16> da(to_bf16(a)), db(to_bf16(b));
  const Device<float> c(kM * kN);
  nv::launch(gemm<kMutation>, dim3((kN + 63) / 64, (kM + 63) / 64), dim3(128), nullptr,
             {.shared = 4 * kTile * kStride * sizeof(bf16)}, da.data(), db.data(), c.data(), kM, kN,
             kK);
  return distance(c.read(), [&](size_t i) {
    double sum = 0;
    for (size_t k = 0; k < kK; ++k) sum += double(a[i / kN * kK + k]) * b[i % kN * kK + k];
    return sum;
  });
}

template <Mutation kMutation>
double run_attention() {
  constexpr size_t kHeads = 3, kLength = 39;
  auto q = random_floats(kHeads * 64);
  for (float& x : q) x *= 3;
  const auto k = random_floats(kLength * kHeads * 64), v = random_floats(kLength * kHeads * 64);
  const Device<float> dq(q), out(kHeads * 64);
  const Device<bf16> dk(to_bf16(k)), dv(to_bf16(v));
  corpus::run(attention<kMutation>, kHeads, 128, dq.data(), dk.data(), dv.data(), out.data(),
              int(kLength));
  return distance(out.read(), [&](size_t i) {
    const size_t head = i / 64, d = i % 64;
    double numerator = 0, denominator = 0;
    for (size_t t = 0; t < kLength; ++t) {
      double s = 0;
      for (size_t e = 0; e < 64; ++e)
        s += double(q[head * 64 + e]) * k[(t * kHeads + head) * 64 + e];
      numerator += std::exp(s) * v[(t * kHeads + head) * 64 + d];
      denominator += std::exp(s);
    }
    return numerator / denominator;
  });
}

template <Mutation kMutation>
double run_reduce() {
  constexpr int kN = 5000;
  const Device<float> x(kN, 1), parts(6), out(1);
  const Device<unsigned> ticket(1, 0);
  corpus::run(reduce<kMutation>, 6, 256, x.data(), parts.data(), ticket.data(), out.data(), kN);
  return distance(out.read(), [](size_t) { return kN; });
}

template <Mutation kMutation>
double run_two_phases() {
  constexpr int kN = 256;
  const Device<unsigned> counter(1, 0);
  const Device<float> x(kN), out(kN);
  corpus::run(reverse_in_two_phases<kMutation>, 4, kN / 4, {.cooperative = true}, counter.data(),
              x.data(), out.data(), kN);
  return distance(out.read(), [](size_t i) { return kN - 1 - double(i); });
}

template <bool kGuard>
double run_gemv() {
  constexpr int kRows = 30, kColumns = 256;
  const auto w = random_floats(kRows * kColumns), x = random_floats(kColumns);
  const Device<bf16> dw(to_bf16(w)), dx(to_bf16(x));
  const Device<float> y(kRows);
  corpus::run(corpus::gemv<kGuard>, (kRows + 3) / 4, 128, dw.data(), dx.data(), y.data(), kRows,
              kColumns);
  return distance(y.read(), [&](size_t row) {
    double sum = 0;
    for (size_t i = 0; i < kColumns; ++i) sum += double(w[row * kColumns + i]) * x[i];
    return sum;
  });
}

}  // namespace

std::vector<Mutant> all() {
  using enum Mutation;
  using enum Expect;
  return {
      {"gemm", silence, run_gemm<none>},
      {"gemm without its first barrier", report, run_gemm<no_first_barrier>},
      {"gemm without its second barrier", report, run_gemm<no_second_barrier>},
      {"gemm that waits for too few copies", report, run_gemm<wait_too_weak>},
      {"gemm without the test of its edge", report, run_gemm<no_edge_test>},
      {"gemm with swapped fragments", values, run_gemm<swapped_fragments>},
      {"attention", silence, run_attention<none>},
      {"attention without its barrier", report, run_attention<no_barrier>},
      {"attention over one position more", report, run_attention<one_position_more>},
      {"attention that does not rescale", values, run_attention<no_rescale>},
      {"reduction by the last block", silence, run_reduce<none>},
      {"reduction without its first barrier", report, run_reduce<no_first_barrier>},
      {"reduction without its second barrier", report, run_reduce<no_second_barrier>},
      {"reduction without a fence", report, run_reduce<no_fence>},
      {"grid barrier by polling", silence, run_two_phases<none>},
      {"grid barrier without a fence", report, run_two_phases<no_fence>},
      {"gemv", silence, run_gemv<true>},
      {"gemv without the test of its rows", report, run_gemv<false>},
  };
}

}  // namespace mutants
