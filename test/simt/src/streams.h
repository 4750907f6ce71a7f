// Streams as queues that run only when something waits for them: what is not synchronised shows.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "choice.h"
#include "graph.h"
#include "ops.h"
#include "simt/emulator.h"
#include "state.h"

namespace simt {

// A stream capture in progress, shared by the streams that have joined it.
struct Capture {
  std::shared_ptr<GraphBody> graph;
  unsigned long long id = 0;
  cudaStream_t origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  bool into_existing = false;  // cudaStreamBeginCaptureToGraph
  bool invalid = false;
};

struct Wait {
  CUstream_st* stream;
  uint64_t sequence;
};

struct Task {
  std::shared_ptr<Op> op;
  std::function<cudaError_t(Op&)> run;  // empty: it only waits
  std::vector<Wait> waits;
  std::function<void(Op&)> early;  // of a launch: begins it before the one ahead of it has run
};

}  // namespace simt

struct CUstream_st {
  uint32_t id = 0;
  int device = 0;
  bool blocking = true;  // ordered with the legacy default stream
  bool destroyed = false;
  int priority = 0;
  simt::CallSite site;

  std::deque<simt::Task> queue;
  uint64_t issued = 0, done = 0;
  simt::StreamClock clock;          // what its next operation may rely on
  std::shared_ptr<simt::Op> ahead;  // its last operation, if that is a kernel

  std::shared_ptr<simt::Capture> capture;
  std::vector<size_t> capture_after;  // nodes that the next one depends on
  std::vector<cudaGraphNode_t> capture_view;
};

struct CUevent_st {
  bool timed = true;
  simt::CallSite site;
  CUstream_st* stream = nullptr;  // null: never recorded
  uint64_t sequence = 0;
  simt::StreamClock clock;
  std::shared_ptr<simt::Capture> capture;
  std::vector<size_t> capture_after;
  std::shared_ptr<double> time;  // seconds, set when the stream reaches it
};

namespace simt {

class Streams {
 public:
  Streams();

  // The stream that a handle names, or null.
  CUstream_st* find(cudaStream_t handle);
  CUstream_st* create(bool blocking, int priority);
  CUstream_st& legacy() { return *list_[0]; }
  const std::vector<std::unique_ptr<CUstream_st>>& list() const { return list_; }

  // Queues an operation, or adds it to the graph that the stream captures.
  cudaError_t issue(CUstream_st& stream, Op op, std::function<cudaError_t(Op&)> run,
                    std::vector<Wait> waits = {}, bool allowed_in_body = true,
                    std::function<void(Op&)> early = {});
  void add_wait(CUstream_st& stream, const Wait& wait, const StreamClock& clock);

  cudaError_t finish(CUstream_st& stream, uint64_t sequence);
  cudaError_t finish_all();
  // Lets some work go on, as time would.
  void pass_time();

  bool capturing() const;
  // A call that is not allowed while a capture goes on.
  bool forbidden_by_capture();

  cudaError_t last_error = cudaSuccess, sticky_error = cudaSuccess;
  std::vector<std::unique_ptr<CUevent_st>> events;
  std::vector<std::unique_ptr<CUgraph_st>> graphs;
  std::vector<std::unique_ptr<CUgraphExec_st>> execs;

  void forget();

 private:
  bool runnable(const CUstream_st& stream) const;
  bool step(CUstream_st* wanted);
  void run(CUstream_st& stream);
  static void begin(const std::shared_ptr<Op>& op);
  void begin_next(CUstream_st& stream, const Op& ahead);
  CUstream_st* needed_by(CUstream_st* stream) const;

  std::vector<std::unique_ptr<CUstream_st>> list_;
  // What is waited for.
  const CUstream_st* finished_ = nullptr;
  uint64_t finished_to_ = 0;
};

// Whether this is the one that simt::fail_after() means.
bool fails(Failing what);

Streams& streams();
// Of the calling thread.
int& current_device();
Choice& host_choice();
void reset_device();

// Every call of the runtime API goes through one of these: one at a time, with the errors that the
// state of driver and device brings, and the last error recorded.
std::recursive_mutex& api_mutex();
cudaError_t api_gate();
cudaError_t api_result(cudaError_t error);

template <class F>
cudaError_t api(F body) {
  std::lock_guard lock(api_mutex());
  const cudaError_t gate = api_gate();
  return api_result(gate != cudaSuccess ? gate : body());
}

}  // namespace simt
