// The runtime API: stream capture and graphs.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <set>

#include "report.h"
#include "simt/emulator.h"
#include "streams.h"

using namespace simt;

namespace {

unsigned long long next_capture = 1;

cudaGraphNode_t handle_of(Node& node) { return reinterpret_cast<cudaGraphNode_t>(&node); }
Node& node_of(cudaGraphNode_t handle) { return *reinterpret_cast<Node*>(handle); }

std::vector<size_t> indices(const cudaGraphNode_t* nodes, size_t count) {
  std::vector<size_t> result;
  for (size_t i = 0; i < count; ++i) result.push_back(node_of(nodes[i]).index);
  return result;
}

CUgraph_st* find_graph(cudaGraph_t handle) {
  for (const auto& g : streams().graphs)
    if (g.get() == handle) return g.get();
  return nullptr;
}

CUgraph_st* graph_of(const std::shared_ptr<GraphBody>& body, bool owned_by_node) {
  for (const auto& g : streams().graphs)
    if (g->body == body) return g.get();
  auto graph = std::make_unique<CUgraph_st>();
  graph->body = body;
  graph->site = CallSite::here();
  graph->owned_by_node = owned_by_node;
  streams().graphs.push_back(std::move(graph));
  return streams().graphs.back().get();
}

cudaError_t begin(cudaStream_t handle, std::shared_ptr<GraphBody> graph, std::vector<size_t> after,
                  bool into_existing, cudaStreamCaptureMode mode) {
  CUstream_st* stream = streams().find(handle);
  if (!stream) return cudaErrorInvalidResourceHandle;
  if (stream->id == 0) return cudaErrorStreamCaptureUnsupported;
  if (stream->capture) return cudaErrorIllegalState;
  stream->capture = std::make_shared<Capture>(
      Capture{std::move(graph), next_capture++, stream, mode, into_existing, false});
  stream->capture_after = std::move(after);
  return cudaSuccess;
}

// Whether every node captured by other streams leads to where the origin is now.
bool joined(const CUstream_st& origin) {
  const GraphBody& graph = *origin.capture->graph;
  std::set<size_t> reached;
  std::vector<size_t> to_visit = origin.capture_after;
  while (!to_visit.empty()) {
    const size_t i = to_visit.back();
    to_visit.pop_back();
    if (!reached.insert(i).second) continue;
    const auto& after = graph.nodes[i]->after;
    to_visit.insert(to_visit.end(), after.begin(), after.end());
  }
  for (const auto& s : streams().list())
    if (s.get() != &origin && s->capture == origin.capture)
      for (size_t i : s->capture_after)
        if (!reached.contains(i)) return false;
  return true;
}

cudaError_t end(cudaStream_t handle, cudaGraph_t* to) {
  *to = nullptr;
  CUstream_st* origin = streams().find(handle);
  if (!origin) return cudaErrorInvalidResourceHandle;
  if (!origin->capture) return cudaErrorIllegalState;
  const auto capture = origin->capture;
  if (capture->origin != origin) return cudaErrorStreamCaptureUnmatched;
  const bool complete = joined(*origin);
  for (const auto& s : streams().list())
    if (s->capture == capture) {
      s->capture.reset();
      s->capture_after.clear();
    }
  for (const auto& e : streams().events)
    if (e->capture == capture) e->capture.reset();
  if (capture->invalid) return cudaErrorStreamCaptureInvalidated;
  if (!complete) return cudaErrorStreamCaptureUnjoined;
  *to = graph_of(capture->graph, capture->into_existing);
  return cudaSuccess;
}

// Conditional bodies hold what can run without the host.
bool bodies_allowed(const GraphBody& graph) {
  for (const auto& node : graph.nodes) {
    if (graph.is_body && !node->allowed_in_body) return false;
    for (const auto& body : node->bodies)
      if (!bodies_allowed(*body)) return false;
  }
  return true;
}

bool same_shape(const GraphBody& a, const GraphBody& b) {
  return std::equal(a.nodes.begin(), a.nodes.end(), b.nodes.begin(), b.nodes.end(),
                    [](const auto& x, const auto& y) {
                      return x->after == y->after && x->op.kernel == y->op.kernel &&
                             std::string_view(x->op.what) == y->op.what &&
                             x->bodies.size() == y->bodies.size();
                    });
}

cudaError_t add_conditional(cudaGraphNode_t* to, CUgraph_st& graph, std::vector<size_t> after,
                            cudaConditionalNodeParams& p) {
  const auto& known = graph.body->conditions;
  if (std::find(known.begin(), known.end(), p.handle) == known.end() || p.size == 0)
    return cudaErrorInvalidValue;
  Node& node = graph.body->add(std::move(after));
  node.condition = p.handle;
  node.condition_type = p.type;
  static std::vector<std::unique_ptr<std::vector<cudaGraph_t>>> outputs;
  auto& out = *outputs.emplace_back(std::make_unique<std::vector<cudaGraph_t>>());
  for (unsigned i = 0; i < p.size; ++i) {
    node.bodies.push_back(std::make_shared<GraphBody>());
    node.bodies.back()->is_body = true;
    out.push_back(graph_of(node.bodies.back(), true));
  }
  p.phGraph_out = out.data();
  *to = handle_of(node);
  return cudaSuccess;
}

}  // namespace

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return api([&] { return begin(stream, std::make_shared<GraphBody>(), {}, false, mode); });
}

cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t graph,
                                          const cudaGraphNode_t* after, const cudaGraphEdgeData*,
                                          size_t count, cudaStreamCaptureMode mode) {
  return api([&] {
    CUgraph_st* g = find_graph(graph);
    return g ? begin(stream, g->body, indices(after, count), true, mode)
             : cudaErrorInvalidResourceHandle;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return api([&] { return end(stream, graph); });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
  return api([&] {
    const CUstream_st* s = streams().find(handle);
    if (!s) return cudaErrorInvalidResourceHandle;
    *status = !s->capture           ? cudaStreamCaptureStatusNone
              : s->capture->invalid ? cudaStreamCaptureStatusInvalidated
                                    : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {
  return api([] { return cudaSuccess; });
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t handle, cudaStreamCaptureStatus* status,
                                     unsigned long long* id, cudaGraph_t* graph,
                                     const cudaGraphNode_t** after, const cudaGraphEdgeData** edges,
                                     size_t* count) {
  return api([&] {
    CUstream_st* s = streams().find(handle);
    if (!s) return cudaErrorInvalidResourceHandle;
    *status = s->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    if (!s->capture) return cudaSuccess;
    const auto& body = s->capture->graph;
    s->capture_view.clear();
    for (size_t i : s->capture_after) s->capture_view.push_back(handle_of(*body->nodes[i]));
    if (id) *id = s->capture->id;
    if (graph) *graph = graph_of(body, true);
    if (after) *after = s->capture_view.data();
    if (edges) *edges = nullptr;
    if (count) *count = s->capture_view.size();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t handle, cudaGraphNode_t* nodes,
                                                const cudaGraphEdgeData*, size_t count,
                                                unsigned flags) {
  return api([&] {
    CUstream_st* s = streams().find(handle);
    if (!s) return cudaErrorInvalidResourceHandle;
    if (!s->capture) return cudaErrorIllegalState;
    if (flags == cudaStreamSetCaptureDependencies) s->capture_after.clear();
    for (size_t i : indices(nodes, count)) s->capture_after.push_back(i);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphCreate(cudaGraph_t* graph, unsigned) {
  return api([&] {
    *graph = graph_of(std::make_shared<GraphBody>(), false);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return api([&] {
    const CUgraph_st* g = find_graph(graph);
    if (!g || g->owned_by_node) return cudaErrorInvalidValue;
    std::erase_if(streams().graphs, [&](const auto& other) { return other.get() == g; });
    return cudaSuccess;
  });
}

cudaError_t cudaGraphConditionalHandleCreate(cudaGraphConditionalHandle* handle, cudaGraph_t graph,
                                             unsigned initial, unsigned flags) {
  return api([&] {
    CUgraph_st* g = find_graph(graph);
    if (!g) return cudaErrorInvalidValue;
    *handle = new_condition(initial, flags & cudaGraphCondAssignDefault);
    g->body->conditions.push_back(*handle);
    return cudaSuccess;
  });
}

cudaError_t cudaGraphAddNode(cudaGraphNode_t* to, cudaGraph_t graph, const cudaGraphNode_t* after,
                             const cudaGraphEdgeData*, size_t count, cudaGraphNodeParams* params) {
  return api([&] {
    CUgraph_st* g = find_graph(graph);
    if (!g) return cudaErrorInvalidValue;
    switch (params->type) {
      case cudaGraphNodeTypeConditional:
        return add_conditional(to, *g, indices(after, count), params->conditional);
      case cudaGraphNodeTypeEmpty:
        *to = handle_of(g->body->add(indices(after, count)));
        break;
      case cudaGraphNodeTypeGraph: {
        const CUgraph_st* child = find_graph(params->graph.graph);
        if (!child) return cudaErrorInvalidValue;
        Node& node = g->body->add(indices(after, count));
        node.child = child->body->clone();
        *to = handle_of(node);
        break;
      }
      // A kernel node names its kernel by a pointer without types: capture the launch instead.
      default:
        return cudaErrorNotSupported;
    }
    return cudaSuccess;
  });
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, size_t* count) {
  return api([&] {
    const CUgraph_st* g = find_graph(graph);
    if (!g) return cudaErrorInvalidValue;
    const auto& all = g->body->nodes;
    if (nodes)
      for (size_t i = 0; i < std::min(*count, all.size()); ++i) nodes[i] = handle_of(*all[i]);
    *count = all.size();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* to, cudaGraph_t graph, unsigned long long) {
  return api([&] {
    const CUgraph_st* g = find_graph(graph);
    if (!g) return cudaErrorInvalidValue;
    if (!bodies_allowed(*g->body)) return cudaErrorNotSupported;
    auto exec = std::make_unique<CUgraphExec_st>();
    exec->body = g->body->clone();
    exec->site = CallSite::here();
    *to = exec.get();
    streams().execs.push_back(std::move(exec));
    return cudaSuccess;
  });
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* to, cudaGraph_t graph,
                                          unsigned long long flags) {
  return cudaGraphInstantiate(to, graph, flags);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  return api([] { return cudaSuccess; });
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info) {
  return api([&] {
    const CUgraph_st* g = find_graph(graph);
    if (!g) return cudaErrorInvalidValue;
    const bool same = same_shape(*exec->body, *g->body);
    if (info) {
      *info = {};
      info->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    }
    if (!same) return cudaErrorGraphExecUpdateFailure;
    exec->body = g->body->clone();
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle) {
  return api([&] {
    CUstream_st* stream = streams().find(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->capture) return cudaErrorNotSupported;
    std::vector<Wait> waits;
    if (exec->last_stream) waits.push_back({exec->last_stream, exec->last_sequence});
    Op op;
    op.what = "graph";
    const cudaError_t e = streams().issue(
        *stream, op, [body = exec->body](Op& o) { return run_graph(*body, o); }, waits);
    exec->last_stream = stream;
    exec->last_sequence = stream->issued;
    return e;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  return api([&] {
    std::erase_if(streams().execs, [&](const auto& e) { return e.get() == exec; });
    return cudaSuccess;
  });
}
}
