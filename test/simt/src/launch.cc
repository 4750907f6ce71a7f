// Kernel launches: what the runtime refuses, and the queueing of the rest.
#include "simt/launch.h"

#include <algorithm>
#include <map>

#include "arena.h"
#include "launch.h"
#include "report.h"
#include "scheduler.h"
#include "simt/emulator.h"
#include "streams.h"

// __launch_bounds__ leaves no-ops in front of a kernel; the linker collects where they begin.
extern "C" const uintptr_t __start___patchable_function_entries[] __attribute__((weak));
extern "C" const uintptr_t __stop___patchable_function_entries[] __attribute__((weak));

namespace simt {

namespace {

constexpr size_t kDefaultShared = 48 << 10;

std::map<const void*, size_t>& shared_limits() {
  static auto& instance = *new std::map<const void*, size_t>;
  return instance;
}

Op kernel_op(const Launch& launch) {
  Op op;
  op.what = "kernel";
  op.kernel = launch.kernel;
  op.grid = launch.grid;
  op.block = launch.block;
  op.dependent = launch.dependent;
  return op;
}

cudaError_t refuse(const Launch& launch, std::string why, cudaError_t error) {
  report(Kind::bad_launch, trail(CallSite::here()), 0, std::move(why), {}, launch.kernel);
  return error;
}

cudaError_t validate(const Launch& l) {
  const uint64_t threads = uint64_t(l.block.x) * l.block.y * l.block.z;
  const uint64_t blocks = uint64_t(l.grid.x) * l.grid.y * l.grid.z;
  if (threads == 0 || blocks == 0)
    return refuse(l, "an empty grid or block", cudaErrorInvalidConfiguration);
  if (threads > kMaxThreads || l.block.z > 64)
    return refuse(l, std::to_string(threads) + " threads in a block",
                  cudaErrorInvalidConfiguration);
  if (l.grid.x > 0x7fffffff || l.grid.y > 65535 || l.grid.z > 65535 || blocks >> 31)
    return refuse(l, "a grid beyond the limits of its dimensions", cudaErrorInvalidConfiguration);
  const size_t limit = shared_limit(l.kernel);
  if (l.dynamic_shared > limit)
    return refuse(l,
                  std::to_string(l.dynamic_shared) + " bytes of dynamic shared memory, of " +
                      std::to_string(limit) + " that cudaFuncSetAttribute allows",
                  cudaErrorInvalidValue);
  if (const unsigned most = launch_bound(l.kernel); threads > most)
    return refuse(l,
                  std::to_string(threads) + " threads, but __launch_bounds__ promises at most " +
                      std::to_string(most),
                  cudaErrorInvalidValue);
  if (l.cooperative) {
    const uint64_t room = uint64_t(blocks_per_multiprocessor(unsigned(threads), l.dynamic_shared)) *
                          unsigned(config().multiprocessors);
    if (blocks > room)
      return refuse(l,
                    std::to_string(blocks) + " blocks of a cooperative launch, of which " +
                        std::to_string(room) + " can be resident",
                    cudaErrorCooperativeLaunchTooLarge);
  }
  return cudaSuccess;
}

}  // namespace

unsigned launch_bound(const void* kernel) {
  static const auto& starts = *[] {
    auto* list = new std::vector<uintptr_t>(__start___patchable_function_entries,
                                            __stop___patchable_function_entries);
    std::sort(list->begin(), list->end());
    return list;
  }();
  const auto address = reinterpret_cast<uintptr_t>(kernel);
  const auto after = std::upper_bound(starts.begin(), starts.end(), address);
  if (after == starts.begin()) return kMaxThreads;
  const uintptr_t noops = address - *std::prev(after);
  const bool close = noops >= 2 && noops <= kMaxWarps + 1;
  return close ? unsigned(noops - 1) * kWarpSize : kMaxThreads;
}

size_t shared_limit(const void* kernel) {
  const auto it = shared_limits().find(kernel);
  return it == shared_limits().end() ? kDefaultShared : it->second;
}

void set_shared_limit(const void* kernel, size_t bytes) {
  shared_limits()[kernel] = std::max(bytes, kDefaultShared);
}

unsigned blocks_per_multiprocessor(unsigned threads, size_t dynamic_shared) {
  constexpr unsigned kThreads = 2048, kBlocks = 32;
  constexpr size_t kShared = size_t(228) << 10, kReserved = 1 << 10;
  const unsigned rounded = (threads + kWarpSize - 1) / kWarpSize * kWarpSize;
  return unsigned(
      std::min<size_t>({kBlocks, kThreads / rounded, kShared / (dynamic_shared + kReserved)}));
}

cudaError_t submit(Launch launch, const cudaLaunchConfig_t& config) {
  return api([&]() -> cudaError_t {
    launch.grid = config.gridDim;
    launch.block = config.blockDim;
    launch.dynamic_shared = config.dynamicSmemBytes;
    for (unsigned i = 0; i < config.numAttrs; ++i) {
      const cudaLaunchAttribute& a = config.attrs[i];
      if (a.id == cudaLaunchAttributeCooperative) launch.cooperative = a.val.cooperative != 0;
      if (a.id == cudaLaunchAttributeProgrammaticStreamSerialization)
        launch.dependent = a.val.programmaticStreamSerializationAllowed != 0;
      if (a.id == cudaLaunchAttributeClusterDimension) return cudaErrorNotSupported;
    }
    if (const cudaError_t e = validate(launch); e != cudaSuccess) return e;
    CUstream_st* stream = streams().find(config.stream);
    if (!stream || (stream->id > 1 && stream->device != current_device()))
      return cudaErrorInvalidResourceHandle;
    const bool allowed_in_body = !launch.cooperative;
    Op op = kernel_op(launch);
    return streams().issue(
        *stream, std::move(op), [launch](Op& o) { return run_grid(launch, o); }, {},
        allowed_in_body, [launch](Op& o) { begin_early(launch, o); });
  });
}

}  // namespace simt
