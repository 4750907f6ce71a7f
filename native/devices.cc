#include "devices.h"

#include <cstdlib>

#include "error.h"

#ifdef NVIUM_CUDA
#include "../cuda/cuda_backend.h"
#include "../cuda/query.h"
#include "../cuda/self_check.h"
#endif

namespace nvium {

#ifdef NVIUM_CUDA
CudaState cuda_state() { return cuda::query(); }
#else
CudaState cuda_state() { return {}; }
#endif

namespace {

// The number of "cuda:1", or -1. Others are not asked for one by one.
int asked_for(const std::string& device) {
  return device.starts_with("cuda:") ? std::atoi(device.c_str() + 5) : -1;
}

// The device that is meant; null, and why, where there is none.
const CudaDevice* choose(const CudaState& state, int ordinal, std::string& reason) {
  reason = state.reason;
  const CudaDevice* first = state.chosen();
  if (ordinal < 0 || first == nullptr) return first;
  const std::string name = "cuda:" + std::to_string(ordinal);
  const CudaDevice* device = state.find(ordinal);
  if (device == nullptr) {
    reason = "There is no device " + name + "; getDevices() tells those there are.";
    return nullptr;
  }
  reason = name + ", " + device->name + (device->usable ? ", was found." : ", is too old.");
  return device->usable ? device : nullptr;
}

}  // namespace

Computer make_computer(const std::string& device, const cpu::Options& options,
                       const std::string& only_cpu) {
  std::string reason = "The CPU was asked for.";
  const bool must_be_cuda = device.starts_with("cuda");
  if (device != "cpu" && !only_cpu.empty()) {
    reason = only_cpu;
    if (must_be_cuda) throw Failure{"ERR_NVIUM_UNSUPPORTED", reason, {{"device", device}}};
  } else if (device != "cpu") {
    const CudaState state = cuda_state();
    [[maybe_unused]] const CudaDevice* chosen = choose(state, asked_for(device), reason);
#ifdef NVIUM_CUDA
    if (chosen != nullptr) {
      std::string set = "sm_" + chosen->capability;
      std::erase(set, '.');
      try {
        auto backend = std::make_unique<cuda::CudaBackend>(chosen->ordinal);
        const std::string difference = cuda::find_difference(*backend);
        if (!difference.empty()) {
          throw Failure{"ERR_NVIUM_CUDA",
                        chosen->name + " is not used: it gives other bits than the CPU in " +
                            difference + ".",
                        {}};
        }
        return {std::move(backend), "cuda", reason, std::move(set), 1};
      } catch (const Failure& failure) {
        // A device may be there and not be had: it died, another process has it for itself, or it
        // cannot be trusted.
        if (failure.code != "ERR_NVIUM_CUDA") throw;
        reason = failure.message;
      }
    }
#endif
    if (must_be_cuda) {
      throw Failure{"ERR_NVIUM_CUDA_UNAVAILABLE", reason, {{"reason", reason}}};
    }
  }
  auto backend = std::make_unique<cpu::CpuBackend>(options);
  std::string set = backend->kernels().name;
  const uint32_t threads = backend->team().size();
  return {std::move(backend), "cpu", std::move(reason), std::move(set), threads};
}

}  // namespace nvium
