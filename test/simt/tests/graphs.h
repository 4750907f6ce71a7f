// Small handles for graphs, for the cases that use them.
#pragma once

#include "corpus.h"

namespace corpus {

// Ends the capture of a stream and makes it executable.
class Graph {
 public:
  explicit Graph(cudaStream_t captured) {
    cudaStreamEndCapture(captured, &graph_);
    if (graph_) cudaGraphInstantiate(&exec_, graph_, 0);
  }
  ~Graph() {
    if (exec_) cudaGraphExecDestroy(exec_);
    if (graph_) cudaGraphDestroy(graph_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  operator cudaGraphExec_t() const { return exec_; }
  void launch(cudaStream_t stream) const { cudaGraphLaunch(exec_, stream); }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t exec_ = nullptr;
};

// A condition of the graph that a stream captures.
struct Condition {
  cudaGraphConditionalHandle handle = 0;

  Condition(cudaStream_t stream, bool has_default, unsigned initial = 0) {
    cudaGraphConditionalHandleCreate(&handle, capturing(stream).graph, initial,
                                     has_default ? cudaGraphCondAssignDefault : 0);
  }

  // Adds a node behind what the stream has captured, with a body for each function.
  template <class... Bodies>
  void add(cudaStream_t stream, cudaGraphConditionalNodeType type, Bodies... bodies) const {
    const Captured at = capturing(stream);
    cudaGraphNodeParams params{};
    params.type = cudaGraphNodeTypeConditional;
    params.conditional.handle = handle;
    params.conditional.type = type;
    params.conditional.size = sizeof...(bodies);
    cudaGraphNode_t node;
    cudaGraphAddNode(&node, at.graph, at.after, nullptr, at.count, &params);
    cudaStreamUpdateCaptureDependencies(stream, &node, nullptr, 1,
                                        cudaStreamSetCaptureDependencies);
    cudaGraph_t* out = params.conditional.phGraph_out;
    (capture_body(*out++, bodies), ...);
  }

 private:
  struct Captured {
    cudaGraph_t graph = nullptr;
    const cudaGraphNode_t* after = nullptr;
    size_t count = 0;
  };
  static Captured capturing(cudaStream_t stream) {
    Captured c;
    cudaStreamCaptureStatus status;
    cudaStreamGetCaptureInfo(stream, &status, nullptr, &c.graph, &c.after, nullptr, &c.count);
    return c;
  }
  template <class Body>
  static void capture_body(cudaGraph_t graph, Body body) {
    Stream side;
    cudaStreamBeginCaptureToGraph(side, graph, nullptr, nullptr, 0,
                                  cudaStreamCaptureModeThreadLocal);
    body(side);
    cudaGraph_t same;
    cudaStreamEndCapture(side, &same);
  }
};

}  // namespace corpus
