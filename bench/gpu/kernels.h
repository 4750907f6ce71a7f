// Single operations at a shape, over operands that lie too far apart to stay in a cache.
#pragma once

#include <string>

#include "bench/native/shapes.h"
#include "device.h"
#include "native/numerics/rotary.h"

namespace nvium::bench {

constexpr uint32_t kRows[] = {1, 2, 4, 8, 16};
constexpr uint32_t kMostRows = 16;

// Matrices taken one after the other from memory larger than a cache.
class Pool {
 public:
  explicit Pool(Device& device) : memory_(device.random(size_t(device.quick ? 1 : 512) << 20)) {}

  uint32_t count(const Matrix& m) const {
    return uint32_t(std::max<size_t>(1, memory_.bytes() / m.bytes()));
  }
  // The i-th of count(shape) matrices.
  Matrix matrix(Matrix shape, uint32_t i) const {
    shape.tiles = memory_.data() + i % count(shape) * shape.bytes();
    return shape;
  }

 private:
  Buffer memory_;
};

class Kernels {
 public:
  Kernels(Device& device, const Shape& shape)
      : device_(device),
        backend_(device.backend),
        shape_(shape),
        pool_(device),
        input_(device.random(kMostRows * widest() * 4)),
        output_(backend_, kMostRows * widest() * 4),
        inner_(backend_, kMostRows * widest() * 4),
        norm_(device.random(widest() * 4)) {}

  void products() {
    const uint32_t d = shape_.hidden, width = shape_.heads * shape_.head_dim;
    product("qkv", {.norm = norm_.floats(), .width = 3 * width}, 3 * width, d);
    product("output", {.residual = input_.floats(), .width = d}, d, width);
    product("gate and up",
            {.norm = norm_.floats(), .activation = Activation::swiglu, .width = shape_.ffn},
            2 * shape_.ffn, d);
    product("down", {.residual = input_.floats(), .width = d}, d, shape_.ffn);
    product("adapter up",
            {.norm = norm_.floats(),
             .normed = inner_.floats(),
             .activation = Activation::silu,
             .width = d},
            d, d);
    product("router fc1",
            {.norm = norm_.floats(),
             .bias = norm_.floats(),
             .activation = Activation::gelu,
             .width = d * 2 / 3},
            d * 2 / 3, d);
    product("head", {.norm = norm_.floats(), .width = shape_.vocab}, shape_.vocab, d);
  }

  // What an exit and the end of a step do; the host waits for each.
  void exits() {
    for (const uint32_t k : kRows) {
      route(k);
      draw(k, 0);
    }
    for (const uint32_t k : {1, 16}) draw(k, 40);
    const double embed = each(100, [&](uint32_t i) {
      const uint32_t token = i * 7919 % shape_.vocab;
      backend_.embed(pool_.matrix({nullptr, shape_.vocab, shape_.hidden, MatrixType::bf16}, 0),
                     {&token, 1}, output_.floats());
    });
    add("exits", Row().add("kernel", "embedding, no wait").add("rows", 1), 2.0 * shape_.hidden,
        embed);
    const double finite =
        each(100, [&](uint32_t) { (void)backend_.finite(input_.floats(), shape_.hidden); });
    add("exits", Row().add("kernel", "is it finite").add("rows", 1), 4.0 * shape_.hidden, finite);
  }

  void attention(uint32_t context) {
    const CacheShape cache{shape_.layers, shape_.heads, shape_.heads, shape_.head_dim,
                           CacheType::bf16};
    const uint32_t count = ceil_div(context + kMostRows, kBlockPositions);
    const Buffer memory = device_.random(count * cache.block_bytes());
    std::vector<std::byte*> blocks;
    for (uint32_t b = 0; b < count; b++) blocks.push_back(memory.data() + b * cache.block_bytes());
    std::vector<float> table(size_t(count) * kBlockPositions * shape_.head_dim);
    for (size_t i = 0; i < table.size(); i += 2) table[i] = 1;
    Buffer rotary(backend_, table.size() * 4);
    backend_.write(rotary.data(), table.data(), rotary.bytes());
    for (const uint32_t k : kRows) {
      const Span span{context, context + k, 0, blocks.data()};
      const Timing t = device_.time(5, [&] {
        for (uint32_t layer = 0; layer < cache.layers; layer++) {
          backend_.attend(
              {cache, layer, {&span, 1}, input_.floats(), rotary.floats(), output_.floats()});
        }
      });
      add("attention", Row().add("context", context).add("rows", k),
          4.0 * (context + k) * cache.query_width(), t.done / cache.layers);
    }
  }

 private:
  uint32_t widest() const {
    return std::max({3 * shape_.heads * shape_.head_dim, 2 * shape_.ffn, shape_.vocab});
  }

  // Seconds a call, median of some rounds of `count` calls.
  template <class Call>
  double each(uint32_t count, const Call& call) {
    if (device_.quick) count = 1;
    const Timing t = device_.time(5, [&] {
      for (uint32_t i = 0; i < count; i++) call(i);
    });
    return t.done / count;
  }

  // A call that reads `bytes` of weights, or of keys and values, and takes `seconds`.
  void add(const char* table, Row row, double bytes, double seconds) {
    row.add("us", seconds * 1e6).add("GBps", bytes / seconds / 1e9);
    device_.report.add(table, row.add("ofCopy", bytes / seconds / device_.copy_rate));
  }

  void product(const std::string& name, Projection p, uint32_t rows, uint32_t cols) {
    const Matrix m{nullptr, rows, cols, MatrixType::bf16};
    const uint32_t count = device_.quick ? 1 : pool_.count(m);
    p.input = input_.floats();
    p.output = output_.floats();
    p.epsilon = 1e-6f;
    for (const uint32_t k : kRows) {
      p.rows = k;
      const Timing t = device_.time(7, [&] {
        for (uint32_t i = 0; i < count; i++) {
          const Matrix one = pool_.matrix(m, i);
          p.matrix = &one;
          backend_.project(p);
        }
      });
      add("products",
          Row().add("kernel", name).add("rows", k).add("hostUs", t.issued / count * 1e6),
          double(m.bytes()), t.done / count);
    }
  }

  void route(uint32_t k) {
    const uint32_t d = shape_.hidden, inner = d * 2 / 3;
    const Matrix fc1{nullptr, inner, d, MatrixType::bf16}, fc2{nullptr, d, inner, MatrixType::bf16},
        head{nullptr, 2, d, MatrixType::bf16};
    float logits[2 * kMostRows];
    const double seconds = each(30, [&](uint32_t i) {
      const Router router{norm_.floats(),
                          {{pool_.matrix(fc1, 2 * i), norm_.floats(), pool_.matrix(fc2, 2 * i + 1),
                            norm_.floats()}},
                          norm_.floats(),
                          pool_.matrix(head, i),
                          norm_.floats()};
      backend_.route(
          {&router, input_.floats(), k, 1e-6f, inner_.floats(), output_.floats(), logits});
    });
    add("exits", Row().add("kernel", "router").add("rows", k),
        double(fc1.bytes() + fc2.bytes() + head.bytes()), seconds);
  }

  void draw(uint32_t k, uint32_t top_k) {
    const Matrix head{nullptr, shape_.vocab, shape_.hidden, MatrixType::bf16};
    const std::vector<Draw> draws(k, Draw{1, top_k, 7, 8, 9});
    uint32_t tokens[kMostRows];
    const double seconds = each(20, [&](uint32_t i) {
      const Matrix one = pool_.matrix(head, i);
      backend_.draw({.matrix = &one,
                     .input = input_.floats(),
                     .rows = k,
                     .norm = norm_.floats(),
                     .epsilon = 1e-6f,
                     .output = output_.floats(),
                     .width = shape_.vocab},
                    draws, tokens);
    });
    const char* name = top_k == 0 ? "head and draw" : "head and draw by top-k";
    add("exits", Row().add("kernel", name).add("rows", k), double(head.bytes()), seconds);
  }

  Device& device_;
  Backend& backend_;
  const Shape shape_;
  const Pool pool_;
  Buffer input_, output_, inner_, norm_;
};

}  // namespace nvium::bench
