// Exits: the router that decides whether a token leaves, and the outlet that turns its hidden state
// into logits (SPEC §1).
#include "../numerics/types.h"
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
         head = make(plan_.vocab_size);
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
  backend_.route({&router, hidden, rows, plan_.norm_epsilon, router_inner_.floats(),
                  router_outer_.floats(), out});
  for (const RouterBlock& block : router.blocks) {
    work_.weight_bytes += block.fc1.bytes() + block.fc2.bytes();
  }
  work_.weight_bytes += router.head.bytes();
  for (uint32_t i = 0; i < 2 * rows; i++) {
    if (!numerics::is_finite(out[i])) fail_finite("router " + std::to_string(m + 1));
  }
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
  project({.matrix = &adapter.up,
           .input = hidden,
           .rows = rows,
           .norm = outlet.norm,
           .epsilon = plan_.norm_epsilon,
           .normed = z,
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
    if (tokens[r] == kNoToken) fail_finite("head " + std::to_string(m + 1));
  }
}

void Model::logits(uint32_t m, const float* hidden, uint32_t rows, float* out) {
  Projection projection = head(m, hidden, rows);
  projection.output = out;
  project(projection);
  if (!backend_.finite(out, size_t(rows) * plan_.vocab_size)) {
    fail_finite("head " + std::to_string(m + 1));
  }
}

}  // namespace nvium
