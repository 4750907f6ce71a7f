// The models the benchmarks run: shapes with generated weights, routers set to given exit shares.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "native/model/weights.h"
#include "native/numerics/philox.h"
#include "native/numerics/types.h"

namespace nvium::bench {

struct Shape {
  const char* name;
  uint32_t layers, hidden, ffn, heads, head_dim, vocab;
  bool exits;  // at 1/4, 1/2, 3/4 of the layers, with adapters and routers; else the dense twin
};

// A dense twin has as many parameters: its ffn is wider by what exits add. A plain shape is the
// layers alone.
constexpr Shape kShapes[] = {
    {"S-dense", 24, 768, 2176, 12, 64, 32000, false},
    {"S-plain", 24, 768, 2048, 12, 64, 32000, false},
    {"S", 24, 768, 2048, 12, 64, 32000, true},
    {"M-dense", 24, 1536, 4352, 24, 64, 32000, false},
    {"M-plain", 24, 1536, 4096, 24, 64, 32000, false},
    {"M", 24, 1536, 4096, 24, 64, 32000, true},
    {"XL-dense", 48, 1536, 4224, 12, 128, 32000, false},
    {"XL-plain", 48, 1536, 4096, 12, 128, 32000, false},
    {"XL", 48, 1536, 4096, 12, 128, 32000, true},
};

// Null, and a message, where there is none of that name.
inline const Shape* find_shape(const std::string& name) {
  for (const Shape& shape : kShapes) {
    if (name == shape.name) return &shape;
  }
  std::fprintf(stderr, "There is no shape %s.\n", name.c_str());
  return nullptr;
}

constexpr double kExitShares[] = {0.35, 0.15, 0.10, 0.40};

// What --dtype names: bf16, as the tensors are stored, where it names nothing.
struct Held {
  std::string name;
  Matrices matrices;
  MatrixType type;
};

inline Held find_held(const std::string& name) {
  if (name == "int8") return {name, Matrices::int8, MatrixType::int8};
  if (name == "int4") return {name, Matrices::int4, MatrixType::int4};
  return {"bf16", Matrices::as_stored, MatrixType::bf16};
}

// A plan with one tensor of each kind; every tensor's values come from its index.
inline Plan make_plan(const Shape& s) {
  Plan plan{};
  plan.layers = s.layers;
  plan.hidden_size = s.hidden;
  plan.intermediate_size = s.ffn;
  plan.heads = plan.kv_heads = s.heads;
  plan.head_dim = s.head_dim;
  plan.vocab_size = s.vocab;
  plan.norm_epsilon = 1e-6f;
  plan.router_temperature = 1;
  plan.rotary_theta = 10000;
  plan.files = {"generated"};
  const auto tensor = [&](const std::string& name, uint32_t rows, uint32_t cols) {
    plan.tensors.push_back({name, 0, 0, rows, cols, StoredType::bf16});
    return TensorIndex(plan.tensors.size() - 1);
  };
  const uint32_t d = s.hidden, width = s.heads * s.head_dim;
  plan.embedding = tensor("embedding", s.vocab, d);
  for (uint32_t i = 0; i < s.layers; i++) {
    plan.layer_plans.push_back(
        {tensor("norm", d, 1), tensor("query", width, d), tensor("key", width, d),
         tensor("value", width, d), tensor("output", d, width), tensor("norm", d, 1),
         tensor("gate", s.ffn, d), tensor("up", s.ffn, d), tensor("down", d, s.ffn)});
  }
  const TensorIndex head = tensor("head", s.vocab, d);
  const auto outlet = [&] {
    OutletPlan outlet{tensor("norm", d, 1), {}, head};
    if (s.exits) outlet.adapter = {tensor("up", d, d), tensor("down", d, d)};
    return outlet;
  };
  double reached = 1;
  for (uint32_t k = 0; s.exits && k < 3; k++) {
    const uint32_t inner = d * 2 / 3;
    RouterPlan router{{{tensor("fc1", inner, d), tensor("bias", inner, 1), tensor("fc2", d, inner),
                        tensor("bias", d, 1)}},
                      tensor("norm", d, 1),
                      tensor("zero", 2, d),
                      0};
    // The head's weights are zero, so its bias alone sets the share: the name carries the log-odds.
    const double q = kExitShares[k] / reached;
    router.head_bias = tensor("odds " + std::to_string(std::log(q / (1 - q))), 2, 1);
    reached -= kExitShares[k];
    plan.exits.push_back({s.layers * (k + 1) / 4, outlet(), router});
  }
  plan.final = outlet();
  return plan;
}

// Weights of mixed sign, small enough that activations stay finite; norms are one.
class GeneratedSource final : public TensorSource {
 public:
  GeneratedSource() : values_(1 << 16) {
    for (size_t i = 0; i < values_.size(); i++) {
      const numerics::Words w = numerics::philox(uint32_t(i), 0, 0, 0, 1, 2);
      values_[i] = numerics::bf16_from_float(float(int32_t(w.w0)) * 0x1p-31f * 0.05f);
    }
  }

  void read(const TensorPlan& tensor, uint32_t first, uint32_t count, std::byte* out) override {
    uint16_t* to = reinterpret_cast<uint16_t*>(out);
    const size_t elements = size_t(count) * tensor.cols;
    if (tensor.name == "norm") {
      std::fill(to, to + elements, numerics::bf16_from_float(1));
    } else if (tensor.name == "zero") {
      std::fill(to, to + elements, uint16_t(0));
    } else if (tensor.name.starts_with("odds ")) {
      to[0] = 0;
      to[1] = numerics::bf16_from_float(std::stof(tensor.name.substr(5)));
    } else {
      // Each row begins elsewhere in the table.
      for (uint32_t r = 0; r < count; r++) {
        size_t at = (size_t(first + r) * 2654435761u + tensor.name.size() * 977) % values_.size();
        for (uint32_t c = 0; c < tensor.cols; c++) {
          to[size_t(r) * tensor.cols + c] = values_[at];
          if (++at == values_.size()) at = 0;
        }
      }
    }
  }

 private:
  std::vector<uint16_t> values_;
};

}  // namespace nvium::bench
