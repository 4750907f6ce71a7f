#include "devices.h"

#include "error.h"

#ifdef NVIUM_CUDA
#include "../cuda/cuda_backend.h"
#include "../cuda/query.h"
#endif

namespace nvium {

#ifdef NVIUM_CUDA
CudaState cuda_state() { return cuda::query(); }
#else
CudaState cuda_state() { return {}; }
#endif

Computer make_computer(const std::string& device, const cpu::Options& options) {
  std::string reason = "The CPU was asked for.";
  if (device != "cpu") {
    const CudaState state = cuda_state();
    reason = state.reason;
#ifdef NVIUM_CUDA
    if (const CudaDevice* chosen = state.chosen()) {
      std::string set = "sm_" + chosen->capability;
      std::erase(set, '.');
      try {
        return {std::make_unique<cuda::CudaBackend>(chosen->ordinal), "cuda", reason,
                std::move(set), 1};
      } catch (const Failure& failure) {
        // A device may be there and not be had: it died, or another process has it for itself.
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
