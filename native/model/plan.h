// The checked description of a checkpoint, as lib/checkpoint/plan.ts gives it. Indices and shapes
// were checked there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../backend.h"
#include "../numerics/rotary.h"

namespace nvium {

// Element type of a tensor in its file. Integers have their scales in another tensor.
enum class StoredType : uint8_t { bf16, f16, f32, int8, int4 };

constexpr bool holds_integers(StoredType type) { return type >= StoredType::int8; }

// Of an element that is a float.
constexpr size_t bytes_of(StoredType type) { return type == StoredType::f32 ? 4 : 2; }

// What becomes of the matrices of layers, adapters and heads when a model is loaded.
enum class Matrices : uint8_t { as_stored, int8, int4 };

using TensorIndex = uint32_t;

struct TensorPlan {
  std::string name;
  uint32_t file = 0;
  uint64_t offset = 0;
  uint32_t rows = 0;
  uint32_t cols = 0;
  StoredType type = StoredType::f32;

  std::optional<TensorIndex> scales;  // of integers

  size_t row_bytes() const {
    if (type == StoredType::int4) return (size_t(cols) + 1) / 2;
    return type == StoredType::int8 ? cols : cols * bytes_of(type);
  }
  size_t bytes() const { return rows * row_bytes(); }
};

struct AdapterPlan {
  TensorIndex up, down;
};

struct LayerPlan {
  TensorIndex input_norm, query, key, value, output, post_norm, gate, up, down;
};

struct RouterBlockPlan {
  TensorIndex fc1_weight, fc1_bias, fc2_weight, fc2_bias;
};

struct RouterPlan {
  std::vector<RouterBlockPlan> blocks;
  TensorIndex norm, head_weight, head_bias;
};

struct OutletPlan {
  TensorIndex norm;
  std::optional<AdapterPlan> adapter;
  TensorIndex head;
};

struct ExitPlan {
  uint32_t after_layer;
  OutletPlan outlet;
  RouterPlan router;
};

struct Plan {
  uint32_t layers, hidden_size, intermediate_size, heads, kv_heads, head_dim, vocab_size;
  float norm_epsilon;
  float router_temperature;
  double rotary_theta;
  numerics::RotaryScaling rotary_scaling;

  std::vector<std::string> files;
  std::vector<TensorPlan> tensors;

  TensorIndex embedding;
  std::vector<LayerPlan> layer_plans;
  std::vector<ExitPlan> exits;
  OutletPlan final;
  std::vector<std::pair<TensorIndex, TensorIndex>> must_equal;

  Matrices matrices = Matrices::as_stored;
  std::optional<CacheType> cache;  // none: what k_proj is stored as says it

  uint32_t segments() const { return uint32_t(exits.size()) + 1; }
  // Segment m is layers [segment_begin(m), segment_end(m)).
  uint32_t segment_begin(uint32_t m) const { return m == 0 ? 0 : exits[m - 1].after_layer; }
  uint32_t segment_end(uint32_t m) const {
    return m == exits.size() ? layers : exits[m].after_layer;
  }
};

}  // namespace nvium
