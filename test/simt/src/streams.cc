#include "streams.h"

#include <algorithm>

#include "arena.h"
#include "counters.h"
#include "report.h"
#include "scheduler.h"
#include "simt/emulator.h"

namespace simt {

extern const bool kChecksAvailable;

Streams::Streams() {
  create(true, 0);  // the legacy default stream
  create(true, 0);  // cudaStreamPerThread
}

CUstream_st* Streams::find(cudaStream_t handle) {
  if (!handle || handle == cudaStreamLegacy) return list_[0].get();
  if (handle == cudaStreamPerThread) return list_[1].get();
  for (const auto& s : list_)
    if (s.get() == handle && !s->destroyed) return s.get();
  return nullptr;
}

CUstream_st* Streams::create(bool blocking, int priority) {
  auto stream = std::make_unique<CUstream_st>();
  stream->id = uint32_t(list_.size());
  stream->device = current_device();
  stream->blocking = blocking;
  stream->priority = priority;
  stream->site = CallSite::here();
  list_.push_back(std::move(stream));
  return list_.back().get();
}

cudaError_t Streams::issue(CUstream_st& stream, Op op, std::function<cudaError_t(Op&)> run,
                           std::vector<Wait> waits, bool allowed_in_body,
                           std::function<void(Op&)> early) {
  op.site = CallSite::here();
  if (fails(Failing::launch)) return cudaErrorLaunchOutOfResources;
  if (stream.capture) {
    if (stream.capture->invalid) return cudaErrorStreamCaptureInvalidated;
    Node& node = stream.capture->graph->add(stream.capture_after);
    node.op = std::move(op);
    node.run = std::move(run);
    node.allowed_in_body = allowed_in_body;
    stream.capture_after = {node.index};
    return cudaSuccess;
  }
  if (&stream == &legacy()) {
    for (const auto& other : list_)
      if (other->blocking && other->capture) {
        other->capture->invalid = true;
        return cudaErrorStreamCaptureImplicit;
      }
    for (const auto& other : list_)
      if (other->blocking && other.get() != &stream)
        add_wait(stream, {other.get(), other->issued}, other->clock);
  } else if (stream.blocking) {
    add_wait(stream, {&legacy(), legacy().issued}, legacy().clock);
  }
  for (const Wait& w : waits) add_wait(stream, w, w.stream->clock);
  stream.clock.merge(history().host());
  const bool is_kernel = op.kernel != nullptr;
  op.stream = stream.id;
  op.sequence = ++stream.issued;
  op.host_time = history().host_issues();
  op.before.streams = stream.clock;
  op.dependent = op.dependent && stream.ahead;
  if (op.dependent) {
    op.ahead = stream.ahead;
    op.before_wait = stream.ahead->dependent ? stream.ahead->before_wait : stream.ahead->before;
    op.before_wait.streams.merge(history().host());
  }
  stream.clock.advance(stream.id, stream.issued);
  auto shared = std::make_shared<Op>(std::move(op));
  stream.ahead = is_kernel ? shared : nullptr;
  stream.queue.push_back({std::move(shared), std::move(run), {}, std::move(early)});
  return cudaSuccess;
}

void Streams::add_wait(CUstream_st& stream, const Wait& wait, const StreamClock& clock) {
  stream.clock.merge(clock);
  if (wait.stream->done < wait.sequence)
    stream.queue.push_back({nullptr, nullptr, {wait}, nullptr});
}

bool Streams::runnable(const CUstream_st& stream) const {
  if (stream.queue.empty()) return false;
  const auto& waits = stream.queue.front().waits;
  return std::all_of(waits.begin(), waits.end(),
                     [](const Wait& w) { return w.stream->done >= w.sequence; });
}

// The stream that has to run so that this one can go on.
CUstream_st* Streams::needed_by(CUstream_st* stream) const {
  while (!stream->queue.empty() && !runnable(*stream))
    for (const Wait& w : stream->queue.front().waits)
      if (w.stream->done < w.sequence) {
        stream = w.stream;
        break;
      }
  return stream;
}

bool Streams::step(CUstream_st* wanted) {
  std::vector<CUstream_st*> ready;
  for (const auto& s : list_)
    if (runnable(*s)) ready.push_back(s.get());
  if (ready.empty()) return false;
  CUstream_st* needed = wanted ? needed_by(wanted) : nullptr;
  switch (config().order) {
    case Order::forward:
      run(needed && runnable(*needed) ? *needed : *ready.front());
      break;
    case Order::reverse:
      run(ready.back() == needed && ready.size() > 1 ? *ready[ready.size() - 2] : *ready.back());
      break;
    default:
      run(*ready[host_choice().below(uint32_t(ready.size()))]);
  }
  return true;
}

void Streams::run(CUstream_st& stream) {
  Task task = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (task.op && task.run && sticky_error == cudaSuccess) {
    arena().guard(false);
    Op& op = *task.op;
    if (op.ahead && op.ahead->dependent)
      op.chain_waited = op.ahead->waited && op.ahead->chain_waited;
    begin(task.op);
    begin_next(stream, op);
    sticky_error = fails(Failing::execution) ? cudaErrorLaunchFailure : task.run(op);
    if (sticky_error != cudaSuccess) abandon_early();
    if (op.ahead && op.chain_waited) op.ahead.reset();
  }
  if (task.op) stream.done = task.op->sequence;
}

void Streams::begin(const std::shared_ptr<Op>& op) {
  if (op->blocks == 0) history().begin(op, op->grid.x * op->grid.y * op->grid.z);
}

// A dependent launch behind the kernel that is about to run begins before it, as it may where that
// one lets it: whoever does not wait sees what was there before. Only if it is certain to end on
// this thread; and counters want one launch after the other.
void Streams::begin_next(CUstream_st& stream, const Op& ahead) {
  if (stream.queue.empty() || hot.count) return;
  const Task& next = stream.queue.front();
  if (!next.early || !next.op->dependent || next.op->ahead.get() != &ahead) return;
  if (&stream != finished_ || next.op->sequence > finished_to_) return;
  begin(next.op);
  next.early(*next.op);
}

cudaError_t Streams::finish(CUstream_st& stream, uint64_t sequence) {
  finished_ = &stream, finished_to_ = sequence;
  while (stream.done < sequence && step(&stream)) {
  }
  finished_ = nullptr;
  arena().guard(hot.check && config().guard_device_memory);
  return sticky_error;
}

cudaError_t Streams::finish_all() {
  while (step(nullptr)) {
  }
  arena().guard(hot.check && config().guard_device_memory);
  return sticky_error;
}

void Streams::pass_time() {
  step(nullptr);
  arena().guard(hot.check && config().guard_device_memory);
}

bool Streams::capturing() const {
  return std::any_of(list_.begin(), list_.end(),
                     [](const auto& s) { return s->capture != nullptr; });
}

bool Streams::forbidden_by_capture() {
  bool forbidden = false;
  for (const auto& s : list_)
    if (s->capture && s->capture->mode != cudaStreamCaptureModeRelaxed)
      forbidden = s->capture->invalid = true;
  return forbidden;
}

void Streams::forget() {
  list_.clear();
  events.clear();
  graphs.clear();
  execs.clear();
  last_error = sticky_error = cudaSuccess;
  create(true, 0);
  create(true, 0);
}

Streams& streams() {
  static Streams& instance = *new Streams;
  return instance;
}

int& current_device() {
  static thread_local int device = 0;
  return device;
}

Choice& host_choice() {
  static Choice choice;
  return choice;
}

std::recursive_mutex& api_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

Config& config() {
  static Config instance;
  return instance;
}

cudaError_t api_gate() {
  switch (config().driver) {
    case Driver::missing:
    case Driver::too_old:
      return cudaErrorInsufficientDriver;
    case Driver::no_device:
      return cudaErrorNoDevice;
    case Driver::works:
      break;
  }
  hot.check = kChecksAvailable && config().check;
  hot.count = kChecksAvailable && config().count;
  observing = hot.check || hot.count;
  arena();
  return streams().sticky_error;
}

cudaError_t api_result(cudaError_t error) {
  if (error != cudaSuccess) streams().last_error = error;
  return error;
}

void report_leaks() {
  if (streams().sticky_error != cudaSuccess) return;  // nothing can be freed any more
  for (const auto& [address, allocation] : arena().allocations())
    if (!allocation.freed)
      report(Kind::leak, trail(allocation.site), address,
             std::to_string(allocation.size) + " bytes were never freed");
  for (const auto& s : streams().list())
    if (s->id > 1 && !s->destroyed)
      report(Kind::leak, trail(s->site), 0, "a stream was never destroyed");
  for (const auto& e : streams().events)
    report(Kind::leak, trail(e->site), 0, "an event was never destroyed");
  for (const auto& g : streams().graphs)
    if (!g->owned_by_node) report(Kind::leak, trail(g->site), 0, "a graph was never destroyed");
  for (const auto& e : streams().execs)
    report(Kind::leak, trail(e->site), 0, "an executable graph was never destroyed");
}

void reset_device() {
  arena().guard(false);
  abandon_early();
  streams().forget();
  history().forget();
  arena().release_all();
  forget_all_accesses();
  host_choice().seed(config().seed);
}

void reset() {
  std::lock_guard lock(api_mutex());
  reset_device();
  forget_reports();
  forget_counters();
}

}  // namespace simt
