// Faults of captured graphs.
#include "corpus.h"
#include "graphs.h"

namespace corpus {
namespace {

constexpr int kN = 64;

__global__ void branch_a(float* p) {
  // fault branches_share_memory: missing order between streams
  p[threadIdx.x] = 1;
}
__global__ void branch_b(float* p) {
  // fault branches_share_memory: missing order between streams
  p[threadIdx.x] = 2;
}

// Two branches of a graph, joined at the end, write the same memory.
void branches_share_memory() {
  Stream a, b;
  Event fork, join;
  Device<float> p(kN, 0);
  cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal);
  cudaEventRecord(fork, a);
  cudaStreamWaitEvent(b, fork, 0);
  nv::launch(branch_a, dim3(1), dim3(kN), a, {}, p.data());
  nv::launch(branch_b, dim3(1), dim3(kN), b, {}, p.data());
  cudaEventRecord(join, b);
  cudaStreamWaitEvent(a, join, 0);
  Graph graph(a);
  graph.launch(a);
  cudaStreamSynchronize(a);
}

__global__ void set_by_all(cudaGraphConditionalHandle handle) {
  // fault condition_set_by_all: condition set twice
  cudaGraphSetConditional(handle, 1);
}

void condition_set_by_all() {
  Stream s;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  const Condition condition(s, true);
  nv::launch(set_by_all, dim3(1), dim3(32), s, {}, condition.handle);
  condition.add(s, cudaGraphCondTypeIf, [](cudaStream_t) {});
  Graph graph(s);
  graph.launch(s);
  cudaStreamSynchronize(s);
}

void condition_never_set() {
  Stream s;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  const Condition condition(s, false);
  condition.add(s, cudaGraphCondTypeIf, [](cudaStream_t) {});
  Graph graph(s);
  // fault condition_never_set: undefined condition
  cudaGraphLaunch(graph, s);
  cudaStreamSynchronize(s);
}

void leak_graph() {
  Stream s;
  cudaGraph_t graph;
  cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
  // fault leak_graph: leak
  cudaStreamEndCapture(s, &graph);
}

constexpr Fault kFaults[] = {
    {"branches_share_memory", branches_share_memory},
    {"condition_set_by_all", condition_set_by_all},
    {"condition_never_set", condition_never_set},
    {"leak_graph", leak_graph},
};

}  // namespace

std::span<const Fault> graph_faults() { return kFaults; }

}  // namespace corpus
