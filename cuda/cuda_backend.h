// The CUDA backend: the operations of backend.h as launches on one stream of one device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <vector>

#include "../native/backend.h"
#include "kernels.h"

namespace nvium::cuda {

// Throws Failure (ERR_NVIUM_CUDA, or ERR_NVIUM_OUT_OF_MEMORY for want of memory) unless `error` is
// success; `what` was being done.
void check(cudaError_t error, const char* what);

// Host memory that the device writes through and the host reads after the stream was waited for.
class Pinned {
 public:
  Pinned() = default;
  ~Pinned() { clear(); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  // Room for `bytes`; what there was stays if there is none. Its contents are not kept.
  void reserve(size_t bytes);
  void swap(Pinned& other) noexcept;
  void clear() noexcept;
  template <class T>
  T* host() const {
    return static_cast<T*>(host_);
  }
  template <class T>
  T* device() const {
    return static_cast<T*>(device_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void* host_ = nullptr;
  void* device_ = nullptr;
  size_t bytes_ = 0;
};

// What no caller but a test or a benchmark changes.
struct CudaOptions {
  uint32_t processors = 0;  // multiprocessors that grids are made for; 0: the device's own
  bool dependent = true;    // launches may begin early where the device can do it (sm_90 and later)
};

class CudaBackend final : public Backend {
 public:
  // Throws Failure (ERR_NVIUM_CUDA, ERR_NVIUM_OUT_OF_MEMORY).
  explicit CudaBackend(int device, const CudaOptions& options = {});
  ~CudaBackend() override;
  CudaBackend(const CudaBackend&) = delete;
  CudaBackend& operator=(const CudaBackend&) = delete;

  void enter(const std::function<void()>& job) override;
  uint32_t cheap_rows() const override { return kPassRows; }
  void* allocate(size_t bytes) override;
  void release(void* memory, size_t bytes) noexcept override;
  void write(void* device, const void* host, size_t bytes) override;
  void read(void* host, const void* device, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void zero(void* device, size_t bytes) override;

  void embed(const Matrix& table, std::span<const uint32_t> tokens, float* output) override;
  void project(const Projection& projection) override;
  void attend(const Attention& attention) override;
  void normalise(std::span<const NormRow> rows, uint32_t width, float epsilon,
                 float* output) override;
  void route(const Routing& routing) override;
  void draw(const Projection& head, std::span<const Draw> draws, uint32_t* tokens) override;
  void mix(const Mixture& mixture) override;
  bool finite(const float* values, size_t count) override;
  void erase(const CacheShape& shape, const Span& span, uint32_t first, uint32_t last) override;

  // "NVIDIA H100 80GB HBM3 (9.0)".
  const std::string& name() const { return name_; }

 private:
  // Spans and their tables of blocks in device memory.
  struct Table {
    const DeviceSpan* spans;
    std::byte* const* blocks;
  };

  void start(const CudaOptions& options);
  void stop() noexcept;
  void wait();
  // Copies to the device in the stream's order; valid until 1 MB more was uploaded.
  std::byte* upload(const void* data, size_t bytes);
  Table upload(std::span<const Span> spans);
  // Memory for kernels, valid until this is called again.
  std::byte* scratch(size_t bytes);
  Scratch scratch_of(const Product& product);
  uint32_t* tickets() const;

  const int device_;
  std::string name_;
  Machine machine_;
  cudaStream_t stream_ = nullptr;
  // Results, and what goes to the device.
  Pinned results_, outgoing_;
  // Where uploads arrive, at the same offsets as in outgoing_; `round_` counts the times it was
  // begun anew.
  std::byte* incoming_ = nullptr;
  size_t uploaded_ = 0;
  uint64_t round_ = 0;
  // The spans uploaded last: the layers of a segment ask for the same. And memory to tell.
  std::vector<std::byte> table_bytes_, next_table_;
  std::byte* table_ = nullptr;
  uint64_t table_round_ = 0;
  // Zero whenever no kernel runs: the candidates of draws, then tickets.
  std::byte* zeroed_ = nullptr;
  std::byte* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
};

}  // namespace nvium::cuda
