// Graphs: captured or built operations with their edges, and how one launch of them runs.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <vector>

#include "ops.h"

namespace simt {

struct GraphBody;

struct Node {
  size_t index = 0;
  std::vector<size_t> after;            // indices of the nodes it depends on
  Op op;                                // what each execution starts from
  std::function<cudaError_t(Op&)> run;  // empty for conditional and empty nodes
  bool allowed_in_body = true;
  unsigned long long condition = 0;  // a handle, or zero
  cudaGraphConditionalNodeType condition_type = cudaGraphCondTypeIf;
  std::vector<std::shared_ptr<GraphBody>> bodies;
  std::shared_ptr<GraphBody> child;
};

struct GraphBody {
  std::vector<std::unique_ptr<Node>> nodes;
  std::vector<unsigned long long> conditions;  // handles that belong to it
  bool is_body = false;                        // of a conditional node

  Node& add(std::vector<size_t> after);
  std::shared_ptr<GraphBody> clone() const;
};

// Runs all nodes in an order that the edges allow, as one operation of a stream.
cudaError_t run_graph(const GraphBody& graph, const Op& launch);

unsigned long long new_condition(unsigned initial, bool assign_at_launch);

}  // namespace simt

struct CUgraph_st {
  std::shared_ptr<simt::GraphBody> body;
  simt::CallSite site;
  bool owned_by_node = false;
};

struct CUgraphExec_st {
  std::shared_ptr<const simt::GraphBody> body;
  simt::CallSite site;
  cudaStream_t last_stream = nullptr;  // of its last launch: it does not run beside itself
  uint64_t last_sequence = 0;
};
