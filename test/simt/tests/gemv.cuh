// Products of a matrix in bf16 with a vector, as the decode step of a model has them: what the cost
// of the emulator and its counters are shown on.
#pragma once

#include "dialect.cuh"

namespace corpus {

// One warp for a row, 16-byte loads. A false kGuard leaves out the check of the last rows.
template <bool kGuard = true>
__global__ void __launch_bounds__(128)
    gemv(const __nv_bfloat16* w, const __nv_bfloat16* x, float* y, int rows, int columns) {
  const int lane = int(threadIdx.x % 32), row = int(blockIdx.x * 4 + threadIdx.x / 32);
  if (kGuard && row >= rows) return;
  const auto* row_w = reinterpret_cast<const uint4*>(w + size_t(row) * size_t(columns));
  const auto* all_x = reinterpret_cast<const uint4*>(x);
  float sum = 0;
  for (int i = lane; i < columns / 8; i += 32) {
    const uint4 a = __ldcs(row_w + i), b = all_x[i];
    const uint32_t aw[4] = {a.x, a.y, a.z, a.w}, bw[4] = {b.x, b.y, b.z, b.w};
    NV_UNROLL
    for (int k = 0; k < 4; ++k) {
      sum = __fmaf_rn(__uint_as_float(aw[k] & 0xffff0000u), __uint_as_float(bw[k] & 0xffff0000u),
                      sum);
      sum = __fmaf_rn(__uint_as_float(aw[k] << 16), __uint_as_float(bw[k] << 16), sum);
    }
  }
  NV_UNROLL
  for (int o = 16; o > 0; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if (lane == 0) y[row] = sum;
}

// A tile through shared memory; without padding each column of it lies in one bank.
template <int kPadding>
__global__ void transpose(const float* in, float* out, int n) {
  NV_SHARED(float[32][32 + kPadding], tile);
  const int x = int(blockIdx.x * 32 + threadIdx.x), y = int(blockIdx.y * 32 + threadIdx.y);
  for (int j = 0; j < 32; j += 8) tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * n + x];
  __syncthreads();
  const int tx = int(blockIdx.y * 32 + threadIdx.x), ty = int(blockIdx.x * 32 + threadIdx.y);
  for (int j = 0; j < 32; j += 8) out[(ty + j) * n + tx] = tile[threadIdx.x][threadIdx.y + j];
}

}  // namespace corpus
