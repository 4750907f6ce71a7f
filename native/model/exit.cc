// Exits: the router that decides whether a token leaves, and the outlet that turns its hidden state
// into logits (SPEC §1).
#include "../numerics/types.h"
#include "model.h"

namespace nvium {

void Model::reserve_exits(uint32_t rows, uint32_t heads) {
  const auto make = [&](uint32_t count, size_t width) {
    return Buffer(backend_, count * width * sizeof(float));
  };
  if (rows > exit_capacity_) {
    size_t inner = 0, outer = 0;
    for (const Router& router : weights_.routers) {
      for (const RouterBlock& block : router.blocks) {
        inner = std::max<size_t>(inner, block.fc1.rows);
        outer = std::max<size_t>(outer, block.fc2.rows);
      }
    }
    Buffer exit_rows = make(rows, plan_.hidden_size), in = make(rows, inner),
           out = make(rows, outer);
    exit_rows_ = std::move(exit_rows);
    router_inner_ = std::move(in);
    router_outer_ = std::move(out);
    exit_capacity_ = rows;
  }
  if (heads > head_capacity_) {
    size_t adapter = 0;
    for (const Outlet& outlet : weights_.outlets) {
      if (outlet.adapter) adapter = std::max<size_t>(adapter, outlet.adapter->up.rows);
    }
    Buffer outlet = make(heads, plan_.hidden_size), adapted = make(heads, adapter),
           head = make(heads, plan_.vocab_size);
    outlet_ = std::move(outlet);
    adapter_ = std::move(adapted);
    logits_ = std::move(head);
    head_capacity_ = heads;
  }
}

void Model::route(uint32_t m, const float* hidden, uint32_t rows, float* out) {
  const Router& router = weights_.routers[m];
  backend_.route({&router, hidden, rows, plan_.norm_epsilon, router_inner_.floats(),
                  router_outer_.floats(), out});
  for (const RouterBlock& block : router.blocks) {
    work_.weight_bytes += double(block.fc1.bytes() + block.fc2.bytes());
  }
  work_.weight_bytes += double(router.head.bytes());
}

void Model::refine(uint32_t m, uint32_t at, uint32_t rows) {
  const Outlet& outlet = weights_.outlets[m];
  if (!outlet.adapter) return;
  const Adapter& adapter = *outlet.adapter;
  float* z = outlet_.floats() + size_t(at) * plan_.hidden_size;
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
}

void Model::emit(std::span<Leaving> leaving) {
  const auto head_of = [&](const Leaving& l) { return &weights_.outlets[l.exit].head; };
  // Rows of one head together, and among them those of one exit.
  std::sort(leaving.begin(), leaving.end(), [&](const Leaving& a, const Leaving& b) {
    const auto *left = head_of(a)->tiles, *right = head_of(b)->tiles;
    return left != right ? std::less<>()(left, right) : a.exit < b.exit;
  });
  for (size_t begin = 0, end = 0; begin < leaving.size(); begin = end) {
    const Matrix& head = *head_of(leaving[begin]);
    norms_.clear(), draws_.clear();
    while (end < leaving.size() && end - begin < head_capacity_ &&
           head_of(leaving[end])->tiles == head.tiles) {
      const Leaving& l = leaving[end++];
      norms_.push_back({exit_row(l.row), weights_.outlets[l.exit].norm});
      draws_.push_back(l.draw);
    }
    const uint32_t rows = uint32_t(end - begin);
    backend_.normalise(norms_, plan_.hidden_size, plan_.norm_epsilon, outlet_.floats());
    for (size_t at = begin, next; at < end; at = next) {
      next = at;
      while (next < end && leaving[next].exit == leaving[at].exit) next++;
      refine(leaving[at].exit, uint32_t(at - begin), uint32_t(next - at));
    }
    tokens_.resize(rows);
    backend_.draw({.matrix = &head,
                   .input = outlet_.floats(),
                   .rows = rows,
                   .output = logits_.floats(),
                   .width = plan_.vocab_size},
                  draws_, tokens_.data());
    work_.weight_bytes += double(head.bytes());
    for (uint32_t i = 0; i < rows; i++) leaving[begin + i].token = tokens_[i];
  }
}

void Model::logits(uint32_t m, const float* hidden, uint32_t rows, float* out) {
  const Outlet& outlet = weights_.outlets[m];
  norms_.clear();
  for (uint32_t r = 0; r < rows; r++) {
    norms_.push_back({hidden + size_t(r) * plan_.hidden_size, outlet.norm});
  }
  backend_.normalise(norms_, plan_.hidden_size, plan_.norm_epsilon, outlet_.floats());
  refine(m, 0, rows);
  project({.matrix = &outlet.head,
           .input = outlet_.floats(),
           .rows = rows,
           .output = out,
           .width = plan_.vocab_size});
  if (!backend_.finite(out, size_t(rows) * plan_.vocab_size)) throw not_finite("head", m);
}

}  // namespace nvium
