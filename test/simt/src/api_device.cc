// The runtime API: devices, versions, errors, attributes of kernels.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>

#include "arena.h"
#include "launch.h"
#include "report.h"
#include "simt/emulator.h"
#include "streams.h"

using namespace simt;

namespace {

constexpr int kVersion = CUDART_VERSION;
constexpr int kMajor = 9, kMinor = 0;

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};

constexpr ErrorText kErrors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorLaunchTimeout, "cudaErrorLaunchTimeout", "the launch timed out and was terminated"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorCooperativeLaunchTooLarge, "cudaErrorCooperativeLaunchTooLarge",
     "too many blocks in cooperative launch"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "stream capture ended on another stream than it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined",
     "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {cudaErrorGraphExecUpdateFailure, "cudaErrorGraphExecUpdateFailure",
     "the graph update was not performed because it included changes which violated constraints"},
};

const ErrorText* find_error(cudaError_t error) {
  for (const ErrorText& e : kErrors)
    if (e.error == error) return &e;
  return nullptr;
}

cudaError_t attribute(int* value, cudaDeviceAttr a) {
  switch (a) {
    case cudaDevAttrMultiProcessorCount:
      *value = config().multiprocessors;
      break;
    case cudaDevAttrMaxThreadsPerBlock:
      *value = int(kMaxThreads);
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = 2048;
      break;
    case cudaDevAttrMaxBlocksPerMultiprocessor:
      *value = 32;
      break;
    case cudaDevAttrWarpSize:
      *value = int(kWarpSize);
      break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 48 << 10;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(kMaxShared);
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 228 << 10;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = kMajor;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = kMinor;
      break;
    case cudaDevAttrCooperativeLaunch:
    case cudaDevAttrUnifiedAddressing:
    case cudaDevAttrCanMapHostMemory:
    case cudaDevAttrMemoryPoolsSupported:
      *value = 1;
      break;
    case cudaDevAttrL2CacheSize:
      *value = 50 << 20;
      break;
    default:
      *value = 0;
  }
  return cudaSuccess;
}

// What the driver answers without the device: a sticky error neither stops it nor shows in it, so a
// dead device looks healthy until it is used.
template <class F>
cudaError_t api_of_driver(F body) {
  std::lock_guard lock(api_mutex());
  const cudaError_t gate = api_gate();
  return config().driver != Driver::works ? api_result(gate) : body();
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  return api_of_driver([&] {
    *count = config().devices;
    return cudaSuccess;
  });
}

cudaError_t cudaSetDevice(int device) {
  return api([&] {
    if (device < 0 || device >= config().devices) return cudaErrorInvalidDevice;
    current_device() = device;
    return cudaSuccess;
  });
}

cudaError_t cudaGetDevice(int* device) {
  return api([&] {
    *device = current_device();
    return cudaSuccess;
  });
}

cudaError_t cudaInitDevice(int device, unsigned, unsigned) { return cudaSetDevice(device); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int device) {
  return api_of_driver([&] {
    if (device < 0 || device >= config().devices) return api_result(cudaErrorInvalidDevice);
    *p = {};
    std::strcpy(p->name, "SIMT emulator");
    p->major = kMajor;
    p->minor = kMinor;
    p->multiProcessorCount = config().multiprocessors;
    p->warpSize = int(kWarpSize);
    p->maxThreadsPerBlock = int(kMaxThreads);
    p->maxThreadsPerMultiProcessor = 2048;
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = kMaxShared;
    p->sharedMemPerMultiprocessor = 228 << 10;
    p->totalGlobalMem = config().device_memory;
    p->unifiedAddressing = p->canMapHostMemory = p->cooperativeLaunch = 1;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attr, int device) {
  return api([&] { return device == 0 ? attribute(value, attr) : cudaErrorInvalidDevice; });
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = config().driver == Driver::missing   ? 0
             : config().driver == Driver::too_old ? kVersion - 1000
                                                  : kVersion;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  return api([] {
    if (streams().forbidden_by_capture()) return cudaErrorStreamCaptureUnsupported;
    const cudaError_t e = streams().finish_all();
    for (const auto& s : streams().list()) history().host_learns(s->clock);
    return e;
  });
}

cudaError_t cudaDeviceReset() {
  std::lock_guard lock(api_mutex());
  reset_device();
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return api([&] {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return cudaSuccess;
  });
}

cudaError_t cudaGetLastError() {
  std::lock_guard lock(api_mutex());
  return std::exchange(streams().last_error, streams().sticky_error);
}

cudaError_t cudaPeekAtLastError() {
  std::lock_guard lock(api_mutex());
  return streams().last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* e = find_error(error);
  return e ? e->name : "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* e = find_error(error);
  return e ? e->text : "unrecognized error code";
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attr, int value) {
  return api([&] {
    if (attr != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || size_t(value) > kMaxShared) return cudaErrorInvalidValue;
    set_shared_limit(kernel, size_t(value));
    return cudaSuccess;
  });
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  return api([&] {
    *attributes = {};
    attributes->maxThreadsPerBlock = int(launch_bound(kernel));
    attributes->maxDynamicSharedSizeBytes = int(shared_limit(kernel));
    attributes->binaryVersion = attributes->ptxVersion = 10 * kMajor + kMinor;
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, const void* kernel,
                                                                   int threads, size_t shared,
                                                                   unsigned) {
  return api([&] {
    if (threads <= 0 || threads > int(launch_bound(kernel))) return cudaErrorInvalidValue;
    *blocks = int(blocks_per_multiprocessor(unsigned(threads), shared));
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel,
                                                          int threads, size_t shared) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, kernel, threads, shared, 0);
}
}
