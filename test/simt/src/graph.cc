#include "graph.h"

#include <algorithm>
#include <map>
#include <optional>

#include "choice.h"
#include "report.h"
#include "scheduler.h"
#include "streams.h"

namespace simt {

namespace {

struct Condition {
  unsigned initial = 0;
  bool assign_at_launch = false;
  std::optional<unsigned> value;
  // Who set it last.
  uint32_t block = 0;
  uint16_t thread = 0;
};

std::map<unsigned long long, Condition>& conditions() {
  static auto& instance = *new std::map<unsigned long long, Condition>;
  return instance;
}

using Known = std::vector<bool>;  // executions, by number

void unite(Known& into, const Known& other) {
  if (other.size() > into.size()) into.resize(other.size());
  for (size_t i = 0; i < other.size(); ++i)
    if (other[i]) into[i] = true;
}

// One launch of a graph. Each execution of a node gets a number, and knows the executions before
// it.
class Run {
 public:
  explicit Run(const Op& launch) : launch_(launch), id_(++runs()) {}

  cudaError_t body(const GraphBody& graph, const Known& context, Known* finished) {
    const size_t count = graph.nodes.size();
    std::vector<Known> known(count);  // after each node
    std::vector<std::shared_ptr<const Op>> ran(count);
    std::vector<bool> done(count);
    for (size_t step = 0; step < count; ++step) {
      std::vector<uint32_t> ready;
      for (size_t i = 0; i < count; ++i) {
        const auto& after = graph.nodes[i]->after;
        if (!done[i] && std::all_of(after.begin(), after.end(), [&](size_t d) { return done[d]; }))
          ready.push_back(uint32_t(i));
      }
      const size_t i = ready[host_choice().index(config().order, uint32_t(ready.size()))];
      const Node& node = *graph.nodes[i];
      auto op = std::make_shared<Op>(node.op);
      op->stream = launch_.stream;
      op->sequence = launch_.sequence;
      op->host_time = launch_.host_time;
      op->graph_run = id_;
      op->node = next_++;
      op->before = {launch_.before.streams, context};
      for (size_t d : node.after) unite(op->before.nodes, known[d]);
      const auto& ahead = node.after.size() == 1 ? ran[node.after[0]] : nullptr;
      op->dependent = op->dependent && ahead && ahead->kernel;
      if (op->dependent) {
        // If the kernel ahead never waited, its end says nothing of what is ahead of it.
        if (ahead->dependent && !ahead->waited) {
          op->before = ahead->before_wait;
          add(op->before.nodes, ahead->node);
        }
        op->before_wait = ahead->dependent ? ahead->before_wait : ahead->before;
      }
      if (const cudaError_t e = execute(node, op); e != cudaSuccess) return e;
      ran[i] = op;
      known[i] = op->before.nodes;
      add(known[i], op->node);
      if (node.condition || node.child)
        if (const cudaError_t e = bodies(node, known[i]); e != cudaSuccess) return e;
      done[i] = true;
    }
    if (finished)
      for (const Known& k : known) unite(*finished, k);
    return cudaSuccess;
  }

 private:
  static uint64_t& runs() {
    static uint64_t count = 0;
    return count;
  }
  static void add(Known& known, uint32_t node) {
    if (known.size() <= node) known.resize(node + 1);
    known[node] = true;
  }

  cudaError_t execute(const Node& node, const std::shared_ptr<Op>& op) {
    if (!node.run) return cudaSuccess;
    history().begin(op, op->grid.x * op->grid.y * op->grid.z);
    return node.run(*op);
  }

  cudaError_t bodies(const Node& node, Known& known) {
    const auto run_one = [&](const GraphBody& graph) {
      const Known context = known;
      return body(graph, context, &known);
    };
    if (node.child) return run_one(*node.child);
    switch (node.condition_type) {
      case cudaGraphCondTypeWhile:
        while (value(node))
          if (const cudaError_t e = run_one(*node.bodies[0]); e != cudaSuccess) return e;
        return cudaSuccess;
      case cudaGraphCondTypeSwitch: {
        const unsigned v = value(node);
        return v < node.bodies.size() ? run_one(*node.bodies[v]) : cudaSuccess;
      }
      default:
        if (value(node)) return run_one(*node.bodies[0]);
        return node.bodies.size() > 1 ? run_one(*node.bodies[1]) : cudaSuccess;
    }
  }

  unsigned value(const Node& node) {
    const auto& condition = conditions()[node.condition];
    if (!condition.value)
      report(Kind::undefined_condition, trail(launch_.site), 0,
             "a conditional node runs before anything has set its condition");
    return condition.value.value_or(0);
  }

  const Op& launch_;
  uint64_t id_;
  uint32_t next_ = 0;
};

void assign_initial(const GraphBody& graph) {
  for (const auto handle : graph.conditions) {
    Condition& c = conditions()[handle];
    c.value = c.assign_at_launch ? std::optional(c.initial) : std::nullopt;
    c.block = 0;
  }
  for (const auto& node : graph.nodes) {
    for (const auto& body : node->bodies) assign_initial(*body);
    if (node->child) assign_initial(*node->child);
  }
}

}  // namespace

Node& GraphBody::add(std::vector<size_t> after) {
  auto node = std::make_unique<Node>();
  node->index = nodes.size();
  node->after = std::move(after);
  nodes.push_back(std::move(node));
  return *nodes.back();
}

std::shared_ptr<GraphBody> GraphBody::clone() const {
  auto copy = std::make_shared<GraphBody>();
  copy->conditions = conditions;
  copy->is_body = is_body;
  for (const auto& node : nodes) {
    copy->nodes.push_back(std::make_unique<Node>(*node));
    for (auto& body : copy->nodes.back()->bodies) body = body->clone();
    if (auto& child = copy->nodes.back()->child) child = child->clone();
  }
  return copy;
}

cudaError_t run_graph(const GraphBody& graph, const Op& launch) {
  assign_initial(graph);
  return Run(launch).body(graph, {}, nullptr);
}

unsigned long long new_condition(unsigned initial, bool assign_at_launch) {
  const unsigned long long handle = conditions().size() + 1;
  conditions()[handle] = {initial, assign_at_launch, std::nullopt, 0, 0};
  return handle;
}

void set_graph_condition(unsigned long long handle, unsigned value, const Place& place) {
  InEmulator scope;
  const Lane& me = *hot.lane;
  const auto it = conditions().find(handle);
  if (it == conditions().end()) {
    report(Kind::bad_launch, {as_site(place)}, 0, "there is no such conditional handle");
    return abort_launch(cudaErrorIllegalAddress);
  }
  Condition& c = it->second;
  const Op& op = hot.grid->op;
  if (c.block >= op.first_block && (c.block != me.block->serial || c.thread != me.id))
    report(Kind::condition_set_twice, {as_site(place)}, 0,
           "another thread of this launch has set the same condition: the result is undefined");
  c.value = value;
  c.block = me.block->serial;
  c.thread = me.id;
}

}  // namespace simt
