// What only a build without hooks shows by its values: until it waits, a dependent launch finds
// what was there before the launch ahead of it. (With hooks such reads are reported as faults.)
#include "corpus.h"

namespace corpus {
namespace {

constexpr unsigned kThreads = 64;

__global__ void adds(float* p) {
  nv::grid_dependency_wait();
  p[threadIdx.x] += 1;
}

__global__ void reads_before_and_after(const float* p, float* before, float* after) {
  before[threadIdx.x] = p[threadIdx.x];
  nv::grid_dependency_wait();
  after[threadIdx.x] = p[threadIdx.x];
}

// Each sees the additions of all launches ahead, and before its wait one less.
bool launches_begin_early() {
  Stream s;
  Device<float> p(kThreads, 0);
  std::vector<std::unique_ptr<Device<float>>> results;
  for (int i = 0; i < 6; ++i) results.push_back(std::make_unique<Device<float>>(kThreads));
  cudaDeviceSynchronize();
  for (int i = 0; i < 3; ++i) {
    nv::launch(adds, dim3(1), dim3(kThreads), s, {.dependent = i > 0}, p.data());
    nv::launch(reads_before_and_after, dim3(1), dim3(kThreads), s, {.dependent = true}, p.data(),
               results[2 * i]->data(), results[2 * i + 1]->data());
  }
  cudaStreamSynchronize(s);
  for (int i = 0; i < 6; ++i) {
    const float expected = float(i / 2 + i % 2);
    if (!all(results[i]->read(), [=](size_t) { return expected; })) return false;
  }
  return true;
}

constexpr Correct kCases[] = {{"launches_begin_early", launches_begin_early}};

}  // namespace

std::span<const Correct> early() { return kCases; }

}  // namespace corpus
