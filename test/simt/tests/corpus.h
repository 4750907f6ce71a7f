// Cases of the emulator's own tests: small host programs around small kernels.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "dialect.cuh"

namespace corpus {

// A faulty case has one fault. Above the lines where it may be reported stands a comment
//     // fault <name of the case>: <kind of report>
// and of several kinds, separated by bars, the first must be among the reports. A correct case has
// none, and returns whether its values are right.
struct Fault {
  std::string_view name;
  void (*run)();
};
struct Correct {
  std::string_view name;
  bool (*run)();
};

std::span<const Fault> memory_faults();
std::span<const Fault> race_faults();
std::span<const Fault> sync_faults();
std::span<const Fault> hand_over_faults();
std::span<const Fault> host_faults();
std::span<const Fault> graph_faults();
std::span<const Correct> correct_memory();
std::span<const Correct> correct_parameters();
std::span<const Correct> correct_sync();
std::span<const Correct> correct_hand_over();
std::span<const Correct> correct_host();
std::span<const Correct> early();

// Device memory that lives as long as the case.
template <class T>
class Device {
 public:
  explicit Device(size_t count) : count_(count) {
    void* p = nullptr;
    cudaMalloc(&p, count * sizeof(T));
    data_ = static_cast<T*>(p);
  }
  Device(size_t count, T value) : Device(std::vector<T>(count, value)) {}
  explicit Device(const std::vector<T>& values) : Device(values.size()) {
    cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice);
  }
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  T* data() const { return data_; }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost);
    return values;
  }

 private:
  size_t count_;
  T* data_;
};

// One block, or some, on the default stream, run to the end.
template <class... Parameters, class... Args>
void run(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, Args... args) {
  nv::launch(kernel, dim3(blocks), dim3(threads), nullptr, {}, args...);
  cudaDeviceSynchronize();
}

template <class... Parameters, class... Args>
void run(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
         nv::LaunchOptions options, Args... args) {
  nv::launch(kernel, dim3(blocks), dim3(threads), nullptr, options, args...);
  cudaDeviceSynchronize();
}

template <class T, class F>
bool all(const std::vector<T>& values, F expected) {
  for (size_t i = 0; i < values.size(); ++i)
    if (!(values[i] == T(expected(i)))) return false;
  return true;
}

class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking) { cudaStreamCreateWithFlags(&s_, flags); }
  ~Stream() { cudaStreamDestroy(s_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return s_; }

 private:
  cudaStream_t s_ = nullptr;
};

class Event {
 public:
  Event() { cudaEventCreateWithFlags(&e_, cudaEventDisableTiming); }
  ~Event() { cudaEventDestroy(e_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return e_; }

 private:
  cudaEvent_t e_ = nullptr;
};

template <class T>
class Pinned {
 public:
  explicit Pinned(size_t count) {
    void* p = nullptr;
    cudaHostAlloc(&p, count * sizeof(T), cudaHostAllocMapped);
    data_ = static_cast<T*>(p);
  }
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  T* data() const { return data_; }
  T* on_device() const {
    void* p = nullptr;
    cudaHostGetDevicePointer(&p, data_, 0);
    return static_cast<T*>(p);
  }

 private:
  T* data_;
};

// A kernel for host programs: something that takes its turn in a stream.
__global__ inline void add_one(float* x, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] += 1.0f;
}

}  // namespace corpus
