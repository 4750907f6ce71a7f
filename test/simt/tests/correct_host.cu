// Correct host programs, some of them odd: streams, events, pinned memory, pools, graphs, and the
// errors of the API.
#include <thread>

#include "corpus.h"
#include "graphs.h"
#include "simt/emulator.h"

namespace corpus {
namespace {

constexpr int kN = 100;
constexpr size_t kBytes = kN * sizeof(float);

void add(cudaStream_t s, float* p, nv::LaunchOptions options = {}) {
  nv::launch(add_one, dim3(4), dim3(32), s, options, p, kN);
}

bool two_streams_and_an_event() {
  Stream a, b;
  Event e;
  Device<float> p(kN, 0);
  Pinned<float> host(kN);
  cudaDeviceSynchronize();
  add(a, p.data());
  cudaEventRecord(e, a);
  cudaStreamWaitEvent(b, e, 0);
  add(b, p.data());
  cudaMemcpyAsync(host.data(), p.data(), kBytes, cudaMemcpyDeviceToHost, b);
  cudaStreamSynchronize(b);
  return host.data()[kN - 1] == 2;
}

// The event stands for all that the first stream had done, also for what it had waited for.
bool order_through_three_streams() {
  Stream a, b, c;
  Event ab, bc;
  Device<float> p(kN, 0);
  cudaDeviceSynchronize();
  add(a, p.data());
  cudaEventRecord(ab, a);
  cudaStreamWaitEvent(b, ab, 0);
  cudaEventRecord(bc, b);
  cudaStreamWaitEvent(c, bc, 0);
  add(c, p.data());
  cudaStreamSynchronize(c);
  return p.read()[0] == 2;
}

bool legacy_stream_orders_blocking_streams() {
  Stream a(cudaStreamDefault), b(cudaStreamDefault);
  Device<float> p(kN, 0);
  add(a, p.data());
  add(nullptr, p.data());
  add(b, p.data());
  return p.read()[0] == 3;
}

bool host_waits_for_an_event() {
  Stream a, b;
  Event e;
  Device<float> p(kN, 0);
  cudaDeviceSynchronize();
  add(a, p.data());
  cudaEventRecord(e, a);
  while (cudaEventQuery(e) == cudaErrorNotReady) {
  }
  cudaGetLastError();
  add(b, p.data());
  cudaStreamSynchronize(b);
  return p.read()[0] == 2;
}

bool pageable_source_is_staged() {
  Stream a;
  Device<float> p(kN);
  std::vector<float> host(kN, 1);
  cudaMemcpyAsync(p.data(), host.data(), kBytes, cudaMemcpyHostToDevice, a);
  host.assign(kN, 2);
  cudaStreamSynchronize(a);
  return p.read()[0] == 1;
}

bool pinned_buffer_reused_after_sync() {
  Stream a;
  Device<float> p(kN);
  Pinned<float> host(kN);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kN; ++i) host.data()[i] = float(round);
    cudaMemcpyAsync(p.data(), host.data(), kBytes, cudaMemcpyHostToDevice, a);
    cudaMemcpyAsync(host.data(), p.data(), kBytes, cudaMemcpyDeviceToHost, a);
    cudaStreamSynchronize(a);
  }
  return host.data()[5] == 2;
}

__global__ void decide(float* x, volatile int* flag) {
  x[0] += 1;
  *flag = x[0] > 2.5f;
}

// The decision of each step is a word in mapped memory.
bool host_flag_in_mapped_memory() {
  Stream s;
  Device<float> x(1, 0);
  Pinned<int> flag(1);
  flag.data()[0] = 0;
  int steps = 0;
  do {
    nv::launch(decide, dim3(1), dim3(1), s, {}, x.data(),
               static_cast<volatile int*>(flag.on_device()));
    cudaStreamSynchronize(s);
    ++steps;
  } while (!flag.data()[0]);
  return steps == 3;
}

bool pool_memory_across_streams() {
  Stream a, b;
  Event ready, used;
  void* p = nullptr;
  cudaMallocAsync(&p, kBytes, a);
  cudaMemsetAsync(p, 0, kBytes, a);
  cudaEventRecord(ready, a);
  cudaStreamWaitEvent(b, ready, 0);
  add(b, static_cast<float*>(p));
  Pinned<float> host(kN);
  cudaMemcpyAsync(host.data(), p, kBytes, cudaMemcpyDeviceToHost, b);
  cudaEventRecord(used, b);
  cudaStreamWaitEvent(a, used, 0);
  cudaFreeAsync(p, a);
  cudaStreamSynchronize(a);
  return host.data()[0] == 1;
}

__global__ void waits_then_adds(const float* weights, float* x) {
  const float w = weights[threadIdx.x];  // nobody writes weights
  nv::grid_dependency_wait();
  x[threadIdx.x] += w;
}

bool dependent_launches() {
  Stream s;
  Device<float> weights(32, 2), x(32, 0);
  cudaDeviceSynchronize();
  for (int i = 0; i < 4; ++i)
    nv::launch(waits_then_adds, dim3(1), dim3(32), s, {.dependent = true}, weights.data(),
               x.data());
  cudaStreamSynchronize(s);
  return x.read()[3] == 8;
}

__global__ void one_thread_waits(float* x) {
  if (threadIdx.x == 0) nv::grid_dependency_wait();
  __syncthreads();
  x[threadIdx.x] += 1;
}

bool one_thread_waits_for_its_block() {
  Stream s;
  Device<float> x(32, 0);
  cudaDeviceSynchronize();
  for (int i = 0; i < 3; ++i)
    nv::launch(one_thread_waits, dim3(1), dim3(32), s, {.dependent = true}, x.data());
  cudaStreamSynchronize(s);
  return x.read()[31] == 3;
}

bool graph_with_branches() {
  Stream a, b;
  Event fork, join;
  Device<float> p(kN, 0), q(kN, 0);
  cudaDeviceSynchronize();
  cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal);
  add(a, p.data());
  cudaEventRecord(fork, a);
  cudaStreamWaitEvent(b, fork, 0);
  add(b, q.data());
  add(a, p.data());
  cudaEventRecord(join, b);
  cudaStreamWaitEvent(a, join, 0);
  cudaMemcpyAsync(p.data(), q.data(), sizeof(float), cudaMemcpyDeviceToDevice, a);
  Graph graph(a);
  graph.launch(a);
  graph.launch(b);  // after the first launch of it, whatever the stream
  cudaDeviceSynchronize();
  const auto values = p.read();
  return values[0] == 2 && values[1] == 4;
}

__global__ void set_if_below(const float* x, float limit, cudaGraphConditionalHandle handle) {
  if (threadIdx.x == 0) cudaGraphSetConditional(handle, *x < limit);
}

bool graph_with_if_and_else() {
  Stream s;
  Device<float> x(kN, 0);
  cudaDeviceSynchronize();
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  const Condition condition(s, true);
  nv::launch(set_if_below, dim3(1), dim3(32), s, {}, x.data(), 1.5f, condition.handle);
  condition.add(
      s, cudaGraphCondTypeIf, [&](cudaStream_t body) { add(body, x.data()); },
      [&](cudaStream_t body) { cudaMemsetAsync(x.data(), 0, kBytes, body); });
  Graph graph(s);
  float seen[4];
  for (float& value : seen) {
    graph.launch(s);
    cudaMemcpyAsync(&value, x.data(), sizeof value, cudaMemcpyDeviceToHost, s);
  }
  return seen[0] == 1 && seen[1] == 2 && seen[2] == 0 && seen[3] == 1;
}

bool graph_with_loop() {
  Stream s;
  Device<float> x(kN, 0);
  cudaDeviceSynchronize();
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  const Condition condition(s, true, 1);
  condition.add(s, cudaGraphCondTypeWhile, [&](cudaStream_t body) {
    add(body, x.data());
    nv::launch(set_if_below, dim3(1), dim3(32), body, {}, x.data(), 6.5f, condition.handle);
  });
  Graph graph(s);
  graph.launch(s);
  cudaStreamSynchronize(s);
  return x.read()[kN - 1] == 7;
}

bool graph_update() {
  Stream s;
  Device<float> p(kN, 0), q(kN, 0);
  cudaDeviceSynchronize();
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  add(s, p.data());
  Graph graph(s);
  cudaGraph_t other;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  add(s, q.data());
  cudaStreamEndCapture(s, &other);
  cudaGraphExecUpdateResultInfo info;
  const bool updated = cudaGraphExecUpdate(graph, other, &info) == cudaSuccess;
  cudaGraphDestroy(other);
  graph.launch(s);
  cudaStreamSynchronize(s);
  return updated && p.read()[0] == 0 && q.read()[0] == 1;
}

bool host_function_in_stream() {
  Stream s;
  Device<float> p(kN, 0);
  Pinned<float> host(kN);
  cudaDeviceSynchronize();
  add(s, p.data());
  cudaMemcpyAsync(host.data(), p.data(), kBytes, cudaMemcpyDeviceToHost, s);
  int calls = 0;
  cudaLaunchHostFunc(
      s, [](void* count) { ++*static_cast<int*>(count); }, &calls);
  cudaStreamSynchronize(s);
  return calls == 1 && host.data()[0] == 1;
}

bool launch_from_another_thread() {
  Device<float> p(kN, 0);
  for (int i = 0; i < 2; ++i) {
    add(nullptr, p.data());
    std::thread([&] {
      add(nullptr, p.data());
      cudaDeviceSynchronize();
    }).join();
  }
  return p.read()[0] == 4;
}

// ---- errors as on hardware

bool errors_of_a_missing_driver() {
  simt::config().driver = simt::Driver::missing;
  int count = 7, version = 7;
  void* p;
  bool right = cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver && count == 7;
  right &= cudaDriverGetVersion(&version) == cudaSuccess && version == 0;
  right &= cudaMalloc(&p, 4) == cudaErrorInsufficientDriver;
  right &=
      nv::launch(add_one, dim3(1), dim3(1), nullptr, {}, nullptr, 0) == cudaErrorInsufficientDriver;
  simt::config().driver = simt::Driver::no_device;
  right &= cudaGetDeviceCount(&count) == cudaErrorNoDevice && count == 7;
  right &= cudaDeviceSynchronize() == cudaErrorNoDevice;
  simt::config().driver = simt::Driver::works;
  right &= cudaGetLastError() == cudaErrorNoDevice && cudaGetLastError() == cudaSuccess;
  return right && cudaGetDeviceCount(&count) == cudaSuccess && count == 1;
}

bool errors_of_memory() {
  void *p = nullptr, *q = nullptr;
  simt::config().device_memory = 1 << 20;
  size_t free = 0, total = 0;
  bool right = cudaMalloc(&p, 1 << 19) == cudaSuccess;
  right &= cudaMemGetInfo(&free, &total) == cudaSuccess && free == 1 << 19 && total == 1 << 20;
  right &= cudaMalloc(&q, 1 << 20) == cudaErrorMemoryAllocation && q == nullptr;
  right &= cudaPeekAtLastError() == cudaErrorMemoryAllocation;
  right &= cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess;
  right &= cudaFree(p) == cudaSuccess && cudaFree(nullptr) == cudaSuccess;
  simt::config().device_memory = size_t(16) << 30;
  return right;
}

bool errors_of_capture() {
  Stream s, other;
  Event e;
  void* p = nullptr;
  cudaGraph_t graph;
  bool right = cudaStreamBeginCapture(nullptr, cudaStreamCaptureModeGlobal) ==
               cudaErrorStreamCaptureUnsupported;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  right &= cudaMalloc(&p, 64) == cudaErrorStreamCaptureUnsupported;
  right &= cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated && !graph;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  right &= cudaStreamSynchronize(s) == cudaErrorStreamCaptureUnsupported;
  right &= cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureInvalidated;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  cudaEventRecord(e, s);
  cudaStreamWaitEvent(other, e, 0);
  nv::launch(add_one, dim3(1), dim3(1), other, {}, nullptr, 0);
  right &= cudaStreamEndCapture(s, &graph) == cudaErrorStreamCaptureUnjoined;
  right &= cudaStreamEndCapture(s, &graph) == cudaErrorIllegalState;
  cudaGetLastError();
  return right;
}

bool names_of_errors() {
  return std::string_view(cudaGetErrorName(cudaErrorNoDevice)) == "cudaErrorNoDevice" &&
         std::string_view(cudaGetErrorString(cudaErrorMemoryAllocation)) == "out of memory";
}

bool attributes_of_kernels_and_devices() {
  int value = 0, blocks = 0;
  cudaDeviceProp properties;
  cudaFuncAttributes attributes;
  bool right = cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, 0) == cudaSuccess &&
               value == simt::config().multiprocessors;
  right &= cudaGetDeviceProperties(&properties, 0) == cudaSuccess && properties.warpSize == 32;
  right &=
      cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(decide)) == cudaSuccess &&
      attributes.maxThreadsPerBlock == 1024;
  right &= cudaOccupancyMaxActiveBlocksPerMultiprocessor(
               &blocks, reinterpret_cast<const void*>(decide), 256, 0) == cudaSuccess &&
           blocks == 8;
  return right;
}

constexpr Correct kCases[] = {
    {"two_streams_and_an_event", two_streams_and_an_event},
    {"order_through_three_streams", order_through_three_streams},
    {"legacy_stream_orders_blocking_streams", legacy_stream_orders_blocking_streams},
    {"host_waits_for_an_event", host_waits_for_an_event},
    {"pageable_source_is_staged", pageable_source_is_staged},
    {"pinned_buffer_reused_after_sync", pinned_buffer_reused_after_sync},
    {"host_flag_in_mapped_memory", host_flag_in_mapped_memory},
    {"pool_memory_across_streams", pool_memory_across_streams},
    {"dependent_launches", dependent_launches},
    {"one_thread_waits_for_its_block", one_thread_waits_for_its_block},
    {"graph_with_branches", graph_with_branches},
    {"graph_with_if_and_else", graph_with_if_and_else},
    {"graph_with_loop", graph_with_loop},
    {"graph_update", graph_update},
    {"host_function_in_stream", host_function_in_stream},
    {"launch_from_another_thread", launch_from_another_thread},
    {"errors_of_a_missing_driver", errors_of_a_missing_driver},
    {"errors_of_memory", errors_of_memory},
    {"errors_of_capture", errors_of_capture},
    {"names_of_errors", names_of_errors},
    {"attributes_of_kernels_and_devices", attributes_of_kernels_and_devices},
};

}  // namespace

std::span<const Correct> correct_host() { return kCases; }

}  // namespace corpus
