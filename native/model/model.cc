#include "model.h"

#include "../error.h"

namespace nvium {
namespace {

CacheShape cache_shape(const Plan& plan) {
  // Keys and values follow the type of k_proj: bf16, else f32.
  const StoredType key = plan.tensors[plan.layer_plans[0].key].type;
  const CacheType type = key == StoredType::bf16 ? CacheType::bf16 : CacheType::f32;
  return {plan.layers, plan.heads, plan.kv_heads, plan.head_dim, plan.cache.value_or(type)};
}

// Positions of the shortest rotary table.
constexpr uint32_t kLeastRotary = 256;

}  // namespace

Model::Model(Backend& backend, Plan plan, TensorSource& source, const Control& control)
    : backend_(backend),
      plan_(std::move(plan)),
      weights_(load_weights(backend, plan_, source, control)),
      shape_(cache_shape(plan_)),
      cache_(backend, shape_.block_bytes()),
      boundary_(backend, size_t(kBlockPositions) * plan_.hidden_size * sizeof(float)) {
  const auto rows = [&](size_t width) {
    return Buffer(backend_, kPassRows * width * sizeof(float));
  };
  hidden_ = rows(plan_.hidden_size);
  qkv_ = rows(shape_.qkv_width());
  attention_ = rows(shape_.query_width());
  feed_forward_ = rows(plan_.intermediate_size);
}

Memory Model::memory() const {
  uint64_t workspace = 0;
  for (const Buffer* buffer : {&hidden_, &qkv_, &attention_, &feed_forward_, &exit_rows_, &outlet_,
                               &adapter_, &router_inner_, &router_outer_, &logits_, &rotary_}) {
    workspace += buffer->bytes();
  }
  return {weights_.memory.bytes(),    cache_.bytes(),        boundary_.bytes(), workspace,
          weights_.embedding.bytes(), weights_.integer_bytes};
}

void Model::reserve(const Sequence& sequence, std::span<const uint32_t> fresh, uint32_t positions,
                    const Control& control) {
  const auto need = [&](BlockStore& store, const BlockTable& table) {
    for (const std::vector<int32_t>* blocks : {&table.block, &table.spare}) {
      for (const int32_t block : *blocks) {
        if (block == kNoBlock || store.has(uint32_t(block))) continue;
        control.check();
        store.make(uint32_t(block));
      }
    }
  };
  try {
    need(cache_, sequence.cache);
    for (const BlockTable& table : sequence.boundary) need(boundary_, table);
    for (const uint32_t block : fresh) {
      control.check();
      backend_.zero(cache_.at(block), cache_.block_bytes());
    }
    extend_rotary(positions, control);
  } catch (...) {
    cache_.undo();
    boundary_.undo();
    throw;
  }
  cache_.keep();
  boundary_.keep();
}

void Model::extend_rotary(uint32_t positions, const Control& control) {
  if (positions <= rotary_positions_) return;
  constexpr uint32_t kLook = 1024;  // positions between two looks at an abort
  const uint32_t half = plan_.head_dim / 2;
  const uint32_t count = std::max({positions, 2 * rotary_positions_, kLeastRotary});
  std::vector<double> inverse(half);
  for (uint32_t i = 0; i < half; i++) {
    inverse[i] = numerics::inverse_frequency(int(i), int(plan_.head_dim), plan_.rotary_theta,
                                             plan_.rotary_scaling);
  }
  std::vector<float> table(size_t(count) * half * 2);
  for (uint32_t position = 0; position < count; position++) {
    if (position % kLook == 0) control.check();
    for (uint32_t i = 0; i < half; i++) {
      const numerics::Rotation r = numerics::rotation(position, inverse[i]);
      table[(size_t(position) * half + i) * 2] = r.cos;
      table[(size_t(position) * half + i) * 2 + 1] = r.sin;
    }
  }
  Buffer memory(backend_, table.size() * sizeof(float));
  backend_.write(memory.data(), table.data(), memory.bytes());
  rotary_ = std::move(memory);
  rotary_positions_ = count;
}

void Model::trim(std::span<const uint8_t> cache, std::span<const uint8_t> boundary,
                 uint32_t positions) {
  cache_.trim(cache);
  boundary_.trim(boundary);
  // The next call makes what it needs of the table again.
  if (rotary_positions_ / 4 <= std::max(positions, kLeastRotary)) return;
  rotary_ = {};
  rotary_positions_ = 0;
}

std::vector<std::byte> Model::read_block(bool cache, uint32_t block) {
  const BlockStore& store = cache ? cache_ : boundary_;
  if (!store.has(block)) {
    throw Failure{"ERR_NVIUM_INVALID_ARG", "There is no such block.", {{"argument", "block"}}};
  }
  std::vector<std::byte> bytes(store.block_bytes());
  backend_.read(bytes.data(), store.at(block), bytes.size());
  return bytes;
}

void Model::project(const Projection& projection) {
  backend_.project(projection);
  work_.weight_bytes += double(projection.matrix->bytes());
}

Failure Model::not_finite(const char* part, uint32_t m) {
  std::string where(part);
  where.append(" ").append(std::to_string(m + 1));
  return {"ERR_NVIUM_NON_FINITE",
          "A value that is not finite came out of " + where + ".",
          {{"where", where}}};
}

}  // namespace nvium
