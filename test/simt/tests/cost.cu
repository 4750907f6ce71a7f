// What the emulator costs: the same kernels in the plain and the checked build, and with counters.
// Run as cost_plain or cost_checked; the times of one against the other are the ratios of
// docs/emulator.md.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "gemv.cuh"
#include "simt/emulator.h"

namespace {

using corpus::gemv;

constexpr int kRows = 4096, kColumns = 2048;  // 16 MiB of bf16

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The same product as a plain loop of the CPU, compiled like the kernels.
__attribute__((no_sanitize("thread"), no_sanitize_coverage, noinline)) void on_cpu(
    const uint16_t* w, const uint16_t* x, float* y) {
  for (int row = 0; row < kRows; ++row) {
    float sum = 0;
    for (int i = 0; i < kColumns; ++i)
      sum = __fmaf_rn(__uint_as_float(uint32_t(w[row * kColumns + i]) << 16),
                      __uint_as_float(uint32_t(x[i]) << 16), sum);
    y[row] = sum;
  }
}

__global__ void shuffles(float* out, int rounds) {
  float v = float(threadIdx.x);
  for (int i = 0; i < rounds; ++i) v = __shfl_xor_sync(0xffffffffu, v, 1 + (i & 15));
  out[threadIdx.x] = v;
}

__global__ void barriers(float* out, int rounds) {
  for (int i = 0; i < rounds; ++i) __syncthreads();
  out[threadIdx.x] = 0;
}

template <class F>
double best_of_three(F body) {
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double start = seconds();
    body();
    best = std::min(best, seconds() - start);
  }
  return best;
}

template <class T>
T* device(size_t count, int fill) {
  void* p = nullptr;
  cudaMalloc(&p, count * sizeof(T));
  cudaMemset(p, fill, count * sizeof(T));
  cudaDeviceSynchronize();
  return static_cast<T*>(p);
}

double time_gemv() {
  auto* w = device<__nv_bfloat16>(size_t(kRows) * kColumns, 0x3c);
  auto* x = device<__nv_bfloat16>(kColumns, 0x3c);
  auto* y = device<float>(kRows, 0);
  return best_of_three([&] {
    nv::launch(gemv<>, dim3(kRows / 4), dim3(128), nullptr, {}, w, x, y, kRows, kColumns);
    cudaDeviceSynchronize();
  });
}

}  // namespace

// With a number of seconds as an argument, fails when the product takes longer.
int main(int argc, char** argv) {
  std::vector<uint16_t> w(size_t(kRows) * kColumns, 0x3c3c), x(kColumns, 0x3c3c);
  std::vector<float> y(kRows);
  const double cpu = best_of_three([&] { on_cpu(w.data(), x.data(), y.data()); });
  const double product = time_gemv();
  auto* out = device<float>(1024, 0);
  const double shuffle = best_of_three([&] {
    nv::launch(shuffles, dim3(1), dim3(128), nullptr, {}, out, 5000);
    cudaDeviceSynchronize();
  });
  const double barrier = best_of_three([&] {
    nv::launch(barriers, dim3(1), dim3(256), nullptr, {}, out, 2000);
    cudaDeviceSynchronize();
  });
  std::printf("loop on the CPU, 4096 x 2048    %8.1f ms\n", 1e3 * cpu);
  std::printf("gemv, 16 MiB of weights         %8.1f ms\n", 1e3 * product);
  std::printf("shuffle, a lane                 %8.1f ns\n", 1e9 * shuffle / (128 * 5000));
  std::printf("barrier, a thread               %8.1f ns\n", 1e9 * barrier / (256 * 2000));
  simt::config().count = true;
  simt::reset();
  const double counted = time_gemv();
  if (!simt::launch_counters().empty())
    std::printf("gemv with counters              %8.1f ms\n", 1e3 * counted);
  for (const auto& r : simt::take_reports()) std::printf("%s\n", simt::to_string(r).c_str());
  return argc > 1 && product > std::atof(argv[1]);
}
