#include "query.h"

#include <cuda_runtime_api.h>

namespace nvium::cuda {
namespace {

// Kernels are compiled from this compute capability on.
constexpr int kLeastMajor = 8;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string why_not(cudaError_t error) {
  if (error == cudaErrorInsufficientDriver) {
    // The same error stands for no driver and for an old one; only an old one has a version.
    int driver = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
      return "CUDA is not available: no NVIDIA driver was found.";
    }
    return "CUDA is not available: the NVIDIA driver is too old. It serves CUDA " +
           version_text(driver) + ", and this build needs " + version_text(CUDART_VERSION) + ".";
  }
  if (error == cudaErrorNoDevice) return "CUDA is not available: there is no device.";
  return std::string("CUDA is not available: ") + cudaGetErrorString(error) + " (" +
         std::to_string(int(error)) + ").";
}

void look(CudaState& state) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    state.reason = why_not(error);
    cudaGetLastError();
    return;
  }
  state.reason = "CUDA is not available: there is no device.";
  for (int i = 0; i < count; i++) {
    cudaDeviceProp p;
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) {
      cudaGetLastError();
      state.reason = "CUDA is not available: a device does not answer.";
      continue;
    }
    const std::string capability = std::to_string(p.major) + "." + std::to_string(p.minor);
    state.devices.push_back(
        {i, p.name, double(p.totalGlobalMem), capability, p.major >= kLeastMajor});
    state.reason = "CUDA is not available: " + std::string(p.name) + " has compute capability " +
                   capability + "; nvium needs 8.0 or more.";
  }
  const CudaDevice* device = state.chosen();
  if (device != nullptr) state.reason = device->name + " was found.";
}

}  // namespace

CudaState query() {
  CudaState state;
  state.compiled = true;
  try {
    look(state);
  } catch (...) {
    state = {};
    state.compiled = true;
    state.reason = "Out of memory.";  // short enough to need none
  }
  return state;
}

}  // namespace nvium::cuda
