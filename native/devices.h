// The devices a model can run on, and the making of their backends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend.h"
#include "cpu/cpu_backend.h"

namespace nvium {

struct CudaDevice {
  int ordinal;  // as CUDA counts: "cuda:0" is 0
  std::string name;
  double memory;           // bytes
  std::string capability;  // "9.0"
  bool usable;
};

struct CudaState {
  bool compiled = false;  // this build has a CUDA backend
  std::string reason = "This build of nvium has no CUDA backend.";
  std::vector<CudaDevice> devices;

  // The device that models run on: the first usable one, or null.
  const CudaDevice* chosen() const {
    for (const CudaDevice& device : devices) {
      if (device.usable) return &device;
    }
    return nullptr;
  }
  const CudaDevice* find(int ordinal) const {
    for (const CudaDevice& device : devices) {
      if (device.ordinal == ordinal) return &device;
    }
    return nullptr;
  }
};

// Prints nothing and throws nothing but std::bad_alloc.
CudaState cuda_state();

// A backend and what to tell of it.
struct Computer {
  std::unique_ptr<Backend> backend;
  std::string device;           // "cpu" or "cuda"
  std::string reason;           // why that one
  std::string instruction_set;  // "avx2", or for CUDA "sm_90"
  uint32_t threads;             // of the CPU that compute
};

// `device` is "cpu", "cuda" (the first usable one), "cuda:1" (that one), or "auto": CUDA where a
// device can be opened and gives the CPU's bits on a small set of operands, else the CPU.
// `only_cpu` says why nothing else will do, or is empty. Throws Failure:
// ERR_NVIUM_CUDA_UNAVAILABLE, ERR_NVIUM_UNSUPPORTED, ERR_NVIUM_OUT_OF_MEMORY,
// ERR_NVIUM_INVALID_ARG.
Computer make_computer(const std::string& device, const cpu::Options& options,
                       const std::string& only_cpu);

}  // namespace nvium
