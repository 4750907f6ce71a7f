#include "devices.h"

#include "error.h"

#ifdef NVIUM_CUDA
#include "../cuda/cuda_backend.h"
#include "../cuda/query.h"
#endif

namespace nvium {

Computer make_cpu(const cpu::Options& options) {
  auto backend = std::make_unique<cpu::CpuBackend>(options);
  std::string set = backend->kernels().name;
  const uint32_t threads = backend->team().size();
  return {std::move(backend), std::move(set), threads};
}

#ifdef NVIUM_CUDA

CudaState cuda_state() { return cuda::query(); }

Computer make_cuda() {
  const CudaState state = cuda_state();
  if (!state.available) {
    throw Failure{"ERR_NVIUM_CUDA_UNAVAILABLE", state.reason, {{"reason", state.reason}}};
  }
  std::string set = "sm_" + state.devices[size_t(state.device)].capability;
  std::erase(set, '.');
  return {std::make_unique<cuda::CudaBackend>(state.device), std::move(set), 1};
}

#else

CudaState cuda_state() { return {}; }

Computer make_cuda() {
  const std::string reason = CudaState().reason;
  throw Failure{"ERR_NVIUM_CUDA_UNAVAILABLE", reason, {{"reason", reason}}};
}

#endif

}  // namespace nvium
