// The runtime API: memory of the device, pinned and mapped memory, pools, copies.
#include <cuda_runtime_api.h>

#include <cstring>
#include <memory>
#include <vector>

#include "arena.h"
#include "copies.h"
#include "report.h"
#include "simt/emulator.h"
#include "streams.h"

using namespace simt;

namespace {

cudaError_t allocate(void** to, size_t size, Zone zone, bool pending) {
  *to = nullptr;
  if (size == 0) return cudaSuccess;
  if (zone == Zone::device && (size > config().device_memory ||
                               arena().live_device_bytes() > config().device_memory - size))
    return cudaErrorMemoryAllocation;
  if (fails(Failing::allocation)) return cudaErrorMemoryAllocation;
  *to = arena().allocate(zone, size, pending);
  return *to ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t free_now(void* p, Zone zone) {
  if (!p) return cudaSuccess;
  streams().finish_all();
  if (arena().zone(p) == zone && arena().release(p)) return cudaSuccess;
  const auto address = reinterpret_cast<uintptr_t>(p);
  report(
      Kind::bad_free, trail(CallSite::here()), address,
      arena().was_freed(address) ? "it has been freed before" : "it is no start of an allocation");
  return cudaErrorInvalidValue;
}

// Allocations and frees in stream order are operations that touch the whole range, so that uses
// on other streams must be ordered after the one and before the other.
cudaError_t touch(Op& op, void* p, size_t size) {
  if (hot.check)
    check_races({op.first_block, nullptr, &op}, reinterpret_cast<uintptr_t>(p), size, Access::write,
                nullptr);
  return cudaSuccess;
}

cudaError_t allocate_in_order(void** to, size_t size, cudaStream_t handle) {
  CUstream_st* stream = streams().find(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;
  if (const cudaError_t e = allocate(to, size, Zone::device, true); e != cudaSuccess || !*to)
    return e;
  Op op;
  op.what = "allocation";
  return streams().issue(*stream, op, [p = *to, size](Op& o) {
    arena().activate(p);
    return touch(o, p, size);
  });
}

cudaError_t free_in_order(void* p, cudaStream_t handle) {
  if (!p) return cudaSuccess;
  CUstream_st* stream = streams().find(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (stream->capture) return cudaErrorStreamCaptureUnsupported;
  if (arena().zone(p) != Zone::device || !arena().is_base(p)) return free_now(p, Zone::device);
  Op op;
  op.what = "free";
  const size_t size = arena().allocations().at(reinterpret_cast<uintptr_t>(p)).size;
  return streams().issue(*stream, op, [p, size](Op& o) {
    if (!arena().is_base(p)) {
      report(Kind::bad_free, trail(o.site), reinterpret_cast<uintptr_t>(p),
             "it has been freed before");
      return cudaErrorInvalidValue;
    }
    touch(o, p, size);
    arena().release(p);
    return cudaSuccess;
  });
}

}  // namespace

// The one pool there is; its handle says nothing more.
struct CUmemPoolHandle_st {};

namespace {
CUmemPoolHandle_st pool;
}

extern "C" {

cudaError_t cudaMalloc(void** p, size_t size) {
  return api([&] {
    if (streams().forbidden_by_capture()) return cudaErrorStreamCaptureUnsupported;
    return allocate(p, size, Zone::device, false);
  });
}

cudaError_t cudaFree(void* p) {
  return api([&] {
    if (streams().forbidden_by_capture()) return cudaErrorStreamCaptureUnsupported;
    return free_now(p, Zone::device);
  });
}

cudaError_t cudaMallocAsync(void** p, size_t size, cudaStream_t stream) {
  return api([&] { return allocate_in_order(p, size, stream); });
}

cudaError_t cudaMallocFromPoolAsync(void** p, size_t size, cudaMemPool_t, cudaStream_t stream) {
  return cudaMallocAsync(p, size, stream);
}

cudaError_t cudaFreeAsync(void* p, cudaStream_t stream) {
  return api([&] { return free_in_order(p, stream); });
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* to, int) {
  return api([&] {
    *to = &pool;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* to, int device) {
  return cudaDeviceGetDefaultMemPool(to, device);
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t* to, const cudaMemPoolProps*) {
  return cudaDeviceGetDefaultMemPool(to, 0);
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t) {
  return api([] { return cudaSuccess; });
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  return api([] { return cudaSuccess; });
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  return api([] { return cudaSuccess; });
}

cudaError_t cudaHostAlloc(void** p, size_t size, unsigned) {
  return api([&] { return allocate(p, size, Zone::pinned, false); });
}

cudaError_t cudaMallocHost(void** p, size_t size) {
  return cudaHostAlloc(p, size, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* p) {
  return api([&] { return free_now(p, Zone::pinned); });
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  return api([&] {
    if (arena().zone(host) != Zone::pinned || !arena().find(host, 1)) return cudaErrorInvalidValue;
    *device = host;  // unified addressing
    return cudaSuccess;
  });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  return api([&] {
    *attributes = {};
    const bool known = arena().find(p, 0) != nullptr;
    const Zone zone = known ? arena().zone(p) : Zone::outside;
    attributes->type = zone == Zone::device   ? cudaMemoryTypeDevice
                       : zone == Zone::pinned ? cudaMemoryTypeHost
                                              : cudaMemoryTypeUnregistered;
    if (known) attributes->devicePointer = const_cast<void*>(p);
    if (zone == Zone::pinned) attributes->hostPointer = const_cast<void*>(p);
    return cudaSuccess;
  });
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  return api([&] {
    *total = config().device_memory;
    *free = *total - std::min(*total, arena().live_device_bytes());
    return cudaSuccess;
  });
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return api([&] { return copy(to, from, size, kind, stream, false); });
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
  return api([&] {
    if (streams().forbidden_by_capture()) return cudaErrorStreamCaptureUnsupported;
    return copy(to, from, size, kind, nullptr, true);
  });
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  return api([&] {
    if (width > to_pitch || width > from_pitch) return cudaErrorInvalidPitchValue;
    for (size_t y = 0; y < height; ++y)
      if (const cudaError_t e =
              copy(static_cast<char*>(to) + y * to_pitch,
                   static_cast<const char*>(from) + y * from_pitch, width, kind, stream, false);
          e != cudaSuccess)
        return e;
    return cudaSuccess;
  });
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t size, cudaStream_t stream) {
  return api([&] { return fill(p, value, size, stream); });
}

cudaError_t cudaMemset(void* p, int value, size_t size) {
  return api([&] {
    if (streams().forbidden_by_capture()) return cudaErrorStreamCaptureUnsupported;
    return fill(p, value, size, nullptr);
  });
}
}
