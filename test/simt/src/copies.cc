#include "copies.h"

#include <cstring>
#include <memory>
#include <vector>

#include "arena.h"
#include "report.h"
#include "streams.h"

namespace simt {

namespace {

uintptr_t number(const void* p) { return reinterpret_cast<uintptr_t>(p); }

bool on_device(const void* p) { return arena().zone(p) == Zone::device; }
bool in_arena(const void* p) { return arena().zone(p) != Zone::outside; }

// The range has to lie in one live allocation when the call is made.
cudaError_t validate(const void* p, size_t size, const char* what) {
  if (!in_arena(p) || arena().find(p, size)) return cudaSuccess;
  const Kind kind = arena().was_freed(number(p)) ? Kind::use_after_free : Kind::bad_copy;
  report(kind, trail(CallSite::here()), number(p),
         std::string(what) + " of " + std::to_string(size) + " bytes");
  return cudaErrorInvalidValue;
}

bool fits(cudaMemcpyKind kind, bool to_device, bool from_device) {
  switch (kind) {
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    default:
      return true;
  }
}

// The same again when the stream gets there: a free may have come first.
bool still_there(const Op& op, const void* p, size_t size) {
  if (!in_arena(p)) return true;
  const Allocation* a = arena().find(p, size);
  if (a && !a->pending) return true;
  report(a ? Kind::missing_stream_order : Kind::use_after_free, trail(op.site), number(p),
         std::string("a ") + op.what + " of " + std::to_string(size) + " bytes");
  return false;
}

void check(Op& op, const void* p, size_t size, Access access) {
  if (hot.check && in_arena(p))
    check_races({op.first_block, nullptr, &op}, number(p), size, access, nullptr);
}

cudaError_t run_copy(Op& op, void* to, const void* from, size_t size) {
  if (!still_there(op, to, size) || !still_there(op, from, size)) return cudaErrorIllegalAddress;
  check(op, from, size, Access::read);
  check(op, to, size, Access::write);
  std::memmove(to, from, size);
  if (on_device(to) && on_device(from)) {
    std::memmove(arena().state(to), arena().state(from), size);
  } else if (on_device(to)) {
    arena().set_state(to, size, kAddressable | kInitialised);
  } else if (on_device(from) && hot.check && !arena().initialised(from, size)) {
    report(Kind::uninitialised_read, trail(op.site), number(from),
           "a copy of " + std::to_string(size) + " bytes to the host");
  }
  return cudaSuccess;
}

cudaError_t settle(CUstream_st& stream) {
  const cudaError_t e = streams().finish(stream, stream.issued);
  history().host_learns(stream.clock);
  return e;
}

}  // namespace

cudaError_t copy(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t handle,
                 bool wait) {
  CUstream_st* stream = streams().find(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (size == 0) return cudaSuccess;
  if (!fits(kind, on_device(to), on_device(from))) {
    report(Kind::bad_copy, trail(CallSite::here()), number(on_device(to) ? to : from),
           "the direction of the copy does not fit the pointers");
    return cudaErrorInvalidMemcpyDirection;
  }
  if (const cudaError_t e = validate(to, size, "copy to"); e != cudaSuccess) return e;
  if (const cudaError_t e = validate(from, size, "copy from"); e != cudaSuccess) return e;
  Op op;
  op.what = "copy";
  cudaError_t e;
  if (!in_arena(from) && !stream->capture) {  // a pageable source is staged before the call returns
    const auto* bytes = static_cast<const char*>(from);
    auto staged = std::make_shared<std::vector<char>>(bytes, bytes + size);
    e = streams().issue(*stream, op, [=](Op& o) { return run_copy(o, to, staged->data(), size); });
  } else {
    e = streams().issue(*stream, op, [=](Op& o) { return run_copy(o, to, from, size); });
  }
  // A pageable target is complete before the call returns as well.
  if (e != cudaSuccess || stream->capture || (!wait && in_arena(to))) return e;
  return settle(*stream);
}

cudaError_t fill(void* p, int value, size_t size, cudaStream_t handle) {
  CUstream_st* stream = streams().find(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (size == 0) return cudaSuccess;
  if (!in_arena(p)) {
    report(Kind::bad_copy, trail(CallSite::here()), number(p), "a fill of ordinary host memory");
    return cudaErrorInvalidValue;
  }
  if (const cudaError_t e = validate(p, size, "fill"); e != cudaSuccess) return e;
  Op op;
  op.what = "fill";
  return streams().issue(*stream, op, [=](Op& o) {
    if (!still_there(o, p, size)) return cudaErrorIllegalAddress;
    check(o, p, size, Access::write);
    std::memset(p, value, size);
    arena().set_state(p, size, kAddressable | kInitialised);
    return cudaSuccess;
  });
}

}  // namespace simt
