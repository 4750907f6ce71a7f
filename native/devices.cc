#include "devices.h"

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

Computer make_computer(const std::string& device, const cpu::Options& options,
                       const std::string& only_cpu) {
  std::string reason = "The CPU was asked for.";
  if (device != "cpu" && !only_cpu.empty()) {
    reason = only_cpu;
    if (device == "cuda") throw Failure{"ERR_NVIUM_UNSUPPORTED", reason, {{"device", device}}};
  } else if (device != "cpu") {
    const CudaState state = cuda_state();
    reason = state.reason;
#ifdef NVIUM_CUDA
    if (const CudaDevice* chosen = state.chosen()) {
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
    if (device == "cuda") {
      throw Failure{"ERR_NVIUM_CUDA_UNAVAILABLE", reason, {{"reason", reason}}};
    }
  }
  auto backend = std::make_unique<cpu::CpuBackend>(options);
  std::string set = backend->kernels().name;
  const uint32_t threads = backend->team().size();
  return {std::move(backend), "cpu", std::move(reason), std::move(set), threads};
}

}  // namespace nvium
