// Kernel launches with their types. cudaLaunchKernelEx of the toolkit ends in a call that has lost
// the types of the arguments, so the emulator takes its place one step earlier.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <tuple>
#include <type_traits>

namespace simt {

struct Launch {
  dim3 grid{1, 1, 1};
  dim3 block{1, 1, 1};
  size_t dynamic_shared = 0;
  const void* kernel = nullptr;
  bool cooperative = false;
  bool dependent = false;           // may start before the kernel ahead of it has finished (PDL)
  void (*invoke)(void*) = nullptr;  // runs the kernel body once, for one thread
  std::shared_ptr<void> args;       // copied at the call, as real kernel parameters are
  size_t args_size = 0;
};

cudaError_t submit(Launch launch, const cudaLaunchConfig_t& config);

template <class... Parameters, class... Args>
cudaError_t launch_kernel(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                          Args&&... args) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::decay_t<Parameters>...> args;
  };
  auto call =
      std::make_shared<Call>(Call{kernel, {static_cast<std::decay_t<Parameters>>(args)...}});
  Launch launch;
  launch.kernel = reinterpret_cast<const void*>(kernel);
  launch.invoke = [](void* c) {
    std::apply(static_cast<Call*>(c)->kernel, static_cast<Call*>(c)->args);
  };
  launch.args = call;
  launch.args_size = sizeof(Call);
  return submit(std::move(launch), *config);
}

}  // namespace simt

#define cudaLaunchKernelEx ::simt::launch_kernel
