// The runtime API: streams and events.
#include <cuda_runtime_api.h>

#include <chrono>

#include "report.h"
#include "simt/emulator.h"
#include "streams.h"

using namespace simt;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class F>
cudaError_t with_stream(cudaStream_t handle, F body) {
  return api([&]() -> cudaError_t {
    CUstream_st* stream = streams().find(handle);
    return stream ? body(*stream) : cudaErrorInvalidResourceHandle;
  });
}

template <class F>
cudaError_t with_event(cudaEvent_t handle, F body) {
  return api([&]() -> cudaError_t {
    for (const auto& e : streams().events)
      if (e.get() == handle) return body(*e);
    return cudaErrorInvalidResourceHandle;
  });
}

bool reached(const CUevent_st& e) { return !e.stream || e.stream->done >= e.sequence; }

// While a stream is captured, recording an event on it names a place in the graph.
cudaError_t record(CUevent_st& event, CUstream_st& stream) {
  if (stream.capture) {
    event.capture = stream.capture;
    event.capture_after = stream.capture_after;
    return cudaSuccess;
  }
  event.capture.reset();
  event.time = std::make_shared<double>(0.0);
  Op op;
  op.what = "event";
  const auto ahead = stream.ahead;
  const cudaError_t e = streams().issue(stream, op, [time = event.time](Op&) {
    *time = now();
    return cudaSuccess;
  });
  stream.ahead = ahead;  // an event between two launches does not keep them from overlapping
  event.stream = &stream;
  event.sequence = stream.issued;
  event.clock = stream.clock;
  return e;
}

cudaError_t wait(CUstream_st& stream, CUevent_st& event) {
  if (event.capture) {
    if (stream.capture && stream.capture != event.capture) {
      stream.capture->invalid = true;
      return cudaErrorStreamCaptureMerge;
    }
    if (!stream.capture) {
      stream.capture = event.capture;
      stream.capture_after.clear();
    }
    auto& after = stream.capture_after;
    after.insert(after.end(), event.capture_after.begin(), event.capture_after.end());
    return cudaSuccess;
  }
  if (stream.capture) {
    stream.capture->invalid = true;
    return cudaErrorStreamCaptureIsolation;
  }
  if (event.stream) streams().add_wait(stream, {event.stream, event.sequence}, event.clock);
  stream.ahead.reset();
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* to, unsigned flags, int priority) {
  return api([&] {
    *to = streams().create(!(flags & cudaStreamNonBlocking), priority);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* to, unsigned flags) {
  return cudaStreamCreateWithPriority(to, flags, 0);
}

cudaError_t cudaStreamCreate(cudaStream_t* to) {
  return cudaStreamCreateWithPriority(to, cudaStreamDefault, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return with_stream(handle, [](CUstream_st& s) {
    if (s.id <= 1) return cudaErrorInvalidResourceHandle;
    s.destroyed = true;  // what it has queued still runs
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  return with_stream(handle, [&](CUstream_st& s) {
    *flags = s.blocking ? cudaStreamDefault : cudaStreamNonBlocking;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  return with_stream(handle, [&](CUstream_st& s) {
    *priority = s.priority;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return with_stream(handle, [](CUstream_st& s) {
    if (s.capture) {
      s.capture->invalid = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    const cudaError_t e = streams().finish(s, s.issued);
    history().host_learns(s.clock);
    return e;
  });
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return with_stream(handle, [](CUstream_st& s) {
    if (s.capture) {
      s.capture->invalid = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    streams().pass_time();
    if (streams().sticky_error != cudaSuccess) return streams().sticky_error;
    if (s.done < s.issued) return cudaErrorNotReady;
    history().host_learns(s.clock);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  return with_stream(handle, [&](CUstream_st& s) {
    for (const auto& e : streams().events)
      if (e.get() == event) return wait(s, *e);
    return cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  return with_stream(handle, [&](CUstream_st& s) {
    Op op;
    op.what = "host function";
    return streams().issue(
        s, op,
        [=](Op&) {
          function(data);
          return cudaSuccess;
        },
        {}, false);
  });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* to, unsigned flags) {
  return api([&] {
    auto event = std::make_unique<CUevent_st>();
    event->timed = !(flags & cudaEventDisableTiming);
    event->site = CallSite::here();
    *to = event.get();
    streams().events.push_back(std::move(event));
    return cudaSuccess;
  });
}

cudaError_t cudaEventCreate(cudaEvent_t* to) {
  return cudaEventCreateWithFlags(to, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return with_event(handle, [](CUevent_st& event) {
    std::erase_if(streams().events, [&](const auto& e) { return e.get() == &event; });
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
  return with_event(handle, [&](CUevent_st& e) {
    CUstream_st* s = streams().find(stream);
    return s ? record(e, *s) : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return with_event(handle, [](CUevent_st& e) {
    if (e.capture) {
      e.capture->invalid = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    if (!e.stream) return cudaSuccess;
    const cudaError_t error = streams().finish(*e.stream, e.sequence);
    history().host_learns(e.clock);
    return error;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return with_event(handle, [](CUevent_st& e) {
    if (e.capture) {
      e.capture->invalid = true;
      return cudaErrorStreamCaptureUnsupported;
    }
    streams().pass_time();
    if (streams().sticky_error != cudaSuccess) return streams().sticky_error;
    if (!reached(e)) return cudaErrorNotReady;
    history().host_learns(e.clock);
    return cudaSuccess;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return with_event(from, [&](CUevent_st& a) {
    for (const auto& b : streams().events) {
      if (b.get() != to) continue;
      if (!a.timed || !b->timed || !a.stream || !b->stream) return cudaErrorInvalidResourceHandle;
      if (!reached(a) || !reached(*b)) return cudaErrorNotReady;
      *milliseconds = float(1e3 * (*b->time - *a.time));
      return cudaSuccess;
    }
    return cudaErrorInvalidResourceHandle;
  });
}
}
