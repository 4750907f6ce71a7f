// Kernel launches with their types. cudaLaunchKernelEx of the toolkit ends in a call that has lost
// the types of the arguments, so the emulator takes its place one step earlier.
#pragma once

#include <cuda_runtime.h>

#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace simt {

inline constexpr size_t kMostParameterBytes = 32764;

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

// A kernel with its arguments. It is made in place and never copied: with -ftrivial-auto-var-init
// g++ 12 clears the holes of automatic objects, and behind an array of structures it takes the
// wrong bytes for the hole.
template <class... Parameters>
struct Call {
  template <class... Args>
  explicit Call(void (*k)(Parameters...), Args&&... values)
      : kernel(k), args(std::forward<Args>(values)...) {}

  void (*kernel)(Parameters...);
  std::tuple<std::decay_t<Parameters>...> args;
};

template <class... Parameters, class... Args>
cudaError_t launch_kernel(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                          Args&&... args) {
  static_assert(sizeof...(Parameters) == sizeof...(Args));
  static_assert((0 + ... + sizeof(std::decay_t<Parameters>)) <= kMostParameterBytes);
  using Call = simt::Call<Parameters...>;
  auto call = std::make_shared<Call>(kernel, std::forward<Args>(args)...);
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
