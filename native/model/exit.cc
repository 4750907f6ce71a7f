// Exits: the router that decides whether a token leaves, and the outlet that turns its hidden state
// into logits (SPEC §1).
#include <cstring>

#include "model.h"

namespace nvium {

void Model::reserve_exits(uint32_t rows) {
  if (rows <= exit_capacity_) return;
  size_t adapter = 0, inner = 0, outer = 0;
  for (const Outlet& outlet : weights_.outlets) {
    if (outlet.adapter) adapter = std::max<size_t>(adapter, outlet.adapter->up.rows);
  }
  for (const Router& router : weights_.routers) {
    for (const RouterBlock& block : router.blocks) {
      inner = std::max<size_t>(inner, block.fc1.rows);
      outer = std::max<size_t>(outer, block.fc2.rows);
    }
  }
  const auto make = [&](size_t width) { return Buffer(backend_, rows * width * sizeof(float)); };
  Buffer exit_rows = make(plan_.hidden_size), outlet = make(plan_.hidden_size),
         adapted = make(adapter), in = make(inner), out = make(outer),
         head = make(std::max(plan_.vocab_size, 2u));
  exit_rows_ = std::move(exit_rows);
  outlet_ = std::move(outlet);
  adapter_ = std::move(adapted);
  router_inner_ = std::move(in);
  router_outer_ = std::move(out);
  logits_ = std::move(head);
  exit_capacity_ = rows;
}

void Model::route(uint32_t m, const float* hidden, uint32_t rows, float* out) {
  const Router& router = weights_.routers[m];
  const float* input = hidden;
  const float* norm = weights_.outlets[m].norm;
  for (const RouterBlock& block : router.blocks) {
    project({.matrix = &block.fc1,
             .input = input,
             .rows = rows,
             .norm = norm,
             .epsilon = plan_.norm_epsilon,
             .bias = block.bias1,
             .activation = Activation::gelu,
             .output = router_inner_.floats(),
             .width = block.fc1.rows});
    project({.matrix = &block.fc2,
             .input = router_inner_.floats(),
             .rows = rows,
             .bias = block.bias2,
             .output = router_outer_.floats(),
             .width = block.fc2.rows});
    input = router_outer_.floats();
    norm = nullptr;
  }
  // The two logits lie where the head's will: it comes later.
  project({.matrix = &router.head,
           .input = input,
           .rows = rows,
           .norm = router.norm,
           .epsilon = plan_.norm_epsilon,
           .bias = router.bias,
           .output = logits_.floats(),
           .width = 2});
  require_finite(logits_.floats(), size_t(rows) * 2, "router " + std::to_string(m + 1));
  backend_.read(out, logits_.data(), rows * 2 * sizeof(float));
}

Projection Model::head(uint32_t m, const float* hidden, uint32_t rows) {
  const Outlet& outlet = weights_.outlets[m];
  Projection head{.matrix = &outlet.head,
                  .input = hidden,
                  .rows = rows,
                  .norm = outlet.norm,
                  .epsilon = plan_.norm_epsilon,
                  .output = logits_.floats(),
                  .width = plan_.vocab_size};
  if (!outlet.adapter) return head;
  const Adapter& adapter = *outlet.adapter;
  float* z = outlet_.floats();
  backend_.normalize(hidden, outlet.norm, plan_.norm_epsilon, rows, plan_.hidden_size, z);
  project({.matrix = &adapter.up,
           .input = z,
           .rows = rows,
           .activation = Activation::silu,
           .output = adapter_.floats(),
           .width = adapter.up.rows});
  project({.matrix = &adapter.down,
           .input = adapter_.floats(),
           .rows = rows,
           .residual = z,
           .output = z,
           .width = plan_.hidden_size});
  head.input = z;
  head.norm = nullptr;
  return head;
}

void Model::emit(uint32_t m, const float* hidden, std::span<const Draw> draws, uint32_t* tokens) {
  const Projection projection = head(m, hidden, uint32_t(draws.size()));
  backend_.draw(projection, draws, tokens);
  work_.weight_bytes += projection.matrix->bytes();
  for (size_t r = 0; r < draws.size(); r++) {
    if (tokens[r] == kNoToken) {
      const std::string where = "head " + std::to_string(m + 1);
      throw Failure{"ERR_NVIUM_NON_FINITE",
                    "A value that is not finite came out of " + where + ".",
                    {{"where", where}}};
    }
  }
}

void Model::logits(uint32_t m, const float* hidden, uint32_t rows, float* out) {
  Projection projection = head(m, hidden, rows);
  projection.output = out;
  project(projection);
  require_finite(out, size_t(rows) * plan_.vocab_size, "head " + std::to_string(m + 1));
}

}  // namespace nvium
