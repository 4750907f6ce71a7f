// The operations of the backend, one by one, over operands that lie too far apart to stay in a
// cache.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/cpu/cpu_backend.h"
#include "native/numerics/rotary.h"
#include "shapes.h"

namespace nvium::bench {

struct Operation {
  std::string name;
  double bytes;  // weights, cache or logits read by a call with these rows
  bool streams;  // bound by reading them, so that a share of the probe says something
  std::function<void()> call;
};

// Weights to take matrices from: more than any cache holds. Matrices of every shape share it.
class Pool {
 public:
  static constexpr size_t kBytes = size_t(320) << 20;

  explicit Pool(Backend& backend) : memory_(backend, kBytes) {
    uint16_t* to = reinterpret_cast<uint16_t*>(memory_.data());
    for (size_t i = 0; i < kBytes / 2; i += 4) {
      const numerics::Words w = numerics::philox(uint32_t(i), 0, 0, 0, 3, 4);
      const uint32_t words[] = {w.w0, w.w1, w.w2, w.w3};
      for (size_t j = 0; j < 4; j++) {
        to[i + j] = numerics::bf16_from_float(float(int32_t(words[j])) * 0x1p-31f * 0.05f);
      }
    }
  }

  const std::byte* data() const { return memory_.data(); }

  // The next `bytes` bytes; it begins again where the end is near.
  const std::byte* next(size_t bytes) {
    if (at_ + bytes > kBytes) at_ = 0;
    const std::byte* here = memory_.data() + at_;
    at_ += (bytes + 63) / 64 * 64;
    return here;
  }

  // (Integers may be any bytes: speed does not depend on them.)
  Matrix matrix(uint32_t rows, uint32_t cols, MatrixType type) {
    Matrix m{nullptr, rows, cols, type};
    m.tiles = next(m.bytes());
    return m;
  }

 private:
  Buffer memory_;
  size_t at_ = 0;
};

// Inputs and outputs of `rows` rows at a shape, and the operations over them.
class Operations {
 public:
  static constexpr uint32_t kMostRows = 32, kMostContext = 4096, kExits = 4;
  static constexpr uint32_t kBlocks = (kMostContext + kMostRows) / kBlockPositions + 1;

  // `type` is that of the matrices of layers and heads, `cache` that of keys and values.
  Operations(Backend& backend, Pool& pool, const Shape& shape, MatrixType type, CacheType cache)
      : backend_(backend),
        pool_(pool),
        shape_(shape),
        type_(type),
        input_(values(backend, size_t(kMostRows) * widest())),
        residual_(values(backend, size_t(kMostRows) * shape.hidden)),
        norm_(values(backend, widest())),
        output_(backend, size_t(kMostRows) * std::max(shape.vocab, widest()) * 4),
        inner_(backend, size_t(kMostRows) * shape.hidden * 4),
        outer_(backend, size_t(kMostRows) * shape.hidden * 4) {
    cache_.type = cache;
    make_cache();
  }

  std::vector<Operation> all(uint32_t rows) {
    const uint32_t d = shape_.hidden, width = shape_.heads * shape_.head_dim;
    std::vector<Operation> list = {
        project("qkv", rows, {.norm = norm_.floats(), .width = 3 * width}, 3 * width, d),
        project("output", rows, {.residual = residual_.floats(), .width = d}, d, width),
        project("gate_up", rows,
                {.norm = norm_.floats(), .activation = Activation::swiglu, .width = shape_.ffn},
                2 * shape_.ffn, d),
        project("down", rows, {.residual = residual_.floats(), .width = d}, d, shape_.ffn),
        draw(rows),
    };
    for (const uint32_t context : {128u, 512u, 1024u, 4096u}) list.push_back(attend(rows, context));
    list.push_back(route(rows));
    list.push_back(embed(rows));
    list.push_back(mix(rows));
    return list;
  }

 private:
  uint32_t widest() const {
    return std::max({shape_.ffn, 3 * shape_.heads * shape_.head_dim, shape_.hidden});
  }

  static Buffer values(Backend& backend, size_t count) {
    Buffer buffer(backend, count * sizeof(float));
    for (size_t i = 0; i < count; i++) {
      const numerics::Words w = numerics::philox(uint32_t(i), 0, 0, 0, 5, 6);
      buffer.floats()[i] = float(int32_t(w.w0)) * 0x1p-31f;
    }
    return buffer;
  }

  Operation project(const char* name, uint32_t rows, Projection p, uint32_t out, uint32_t in) {
    p.input = input_.floats();
    p.rows = rows;
    p.epsilon = 1e-6f;
    p.output = output_.floats();
    return {name, double(pool_.matrix(out, in, type_).bytes()), true, [=, this] {
              const Matrix matrix = pool_.matrix(out, in, type_);
              Projection projection = p;
              projection.matrix = &matrix;
              backend_.project(projection);
            }};
  }

  Operation draw(uint32_t rows) {
    const uint32_t d = shape_.hidden, vocab = shape_.vocab;
    return {"head and draw", double(pool_.matrix(vocab, d, type_).bytes()), true, [=, this] {
              const Matrix matrix = pool_.matrix(vocab, d, type_);
              Draw draws[kMostRows];
              uint32_t tokens[kMostRows];
              for (uint32_t r = 0; r < rows; r++) draws[r] = {.seed = 1, .position = r};
              backend_.draw({.matrix = &matrix,
                             .input = input_.floats(),
                             .rows = rows,
                             .norm = norm_.floats(),
                             .epsilon = 1e-6f,
                             .output = output_.floats(),
                             .width = vocab},
                            {draws, rows}, tokens);
            }};
  }

  // As many layers as fill the pool's size, so that each call meets a cache that is not in L3.
  void make_cache() {
    cache_.heads = cache_.kv_heads = shape_.heads;
    cache_.head_dim = shape_.head_dim;
    cache_.layers = uint32_t(Pool::kBytes / (kBlocks * cache_.layer_bytes())) + 1;
    keys_ = Buffer(backend_, kBlocks * cache_.block_bytes());
    for (size_t at = 0; at < keys_.bytes(); at += Pool::kBytes) {
      std::memcpy(keys_.data() + at, pool_.data(), std::min(Pool::kBytes, keys_.bytes() - at));
    }
    // Twice over, so that a sequence may begin at any of them.
    for (uint32_t b = 0; b < 2 * kBlocks; b++) {
      blocks_.push_back(keys_.data() + b % kBlocks * cache_.block_bytes());
    }
    const uint32_t positions = kBlocks * kBlockPositions, half = shape_.head_dim / 2;
    rotary_ = Buffer(backend_, size_t(positions) * half * 2 * sizeof(float));
    for (size_t i = 0; i < size_t(positions) * half; i++) {
      const double angle = double(i / half) * std::pow(10000.0, -double(i % half) / half);
      rotary_.floats()[2 * i] = float(std::cos(angle));
      rotary_.floats()[2 * i + 1] = float(std::sin(angle));
    }
  }

  Operation attend(uint32_t rows, uint32_t context) {
    const double bytes = double(cache_.layer_bytes()) * (context + rows) / kBlockPositions;
    return {"attend " + std::to_string(context), bytes, true, [=, this] {
              if (++layer_ == cache_.layers) {
                layer_ = 0;
                block_ = (block_ + ceil_div(context + rows, kBlockPositions)) % kBlocks;
              }
              const Span span{context, context + rows, 0, blocks_.data() + block_};
              backend_.attend({.shape = cache_,
                               .layer = layer_,
                               .spans = {&span, 1},
                               .qkv = input_.floats(),
                               .rotary = rotary_.floats(),
                               .output = output_.floats()});
            }};
  }

  Operation route(uint32_t rows) {
    const uint32_t d = shape_.hidden, inner = d * 2 / 3;
    const auto stored = [this](uint32_t rows, uint32_t cols) {
      return pool_.matrix(rows, cols, MatrixType::bf16);
    };
    const double bytes = double(2 * stored(inner, d).bytes());
    return {"route", bytes, true, [=, this] {
              const Router router{
                  norm_.floats(),
                  {{stored(inner, d), norm_.floats(), stored(d, inner), norm_.floats()}},
                  norm_.floats(),
                  stored(2, d),
                  norm_.floats()};
              float logits[2 * kMostRows];
              backend_.route({&router, input_.floats(), rows, 1e-6f, inner_.floats(),
                              outer_.floats(), logits});
            }};
  }

  Operation embed(uint32_t rows) {
    const uint32_t d = shape_.hidden, vocab = shape_.vocab;
    return {"embed", double(rows) * d * 2, false, [=, this] {
              const Matrix table{pool_.data(), vocab, d, MatrixType::bf16};
              uint32_t tokens[kMostRows];
              for (uint32_t r = 0; r < rows; r++) tokens[r] = (token_ += 7919) % vocab;
              backend_.embed(table, {tokens, rows}, output_.floats());
            }};
  }

  // The pool's bits, read as floats, are small numbers: they serve as logits.
  Operation mix(uint32_t rows) {
    const size_t bytes = size_t(kExits) * rows * shape_.vocab * sizeof(float);
    return {"mix", double(bytes), true, [=, this] {
              float log_exit[kExits * kMostRows];
              for (float& p : log_exit) p = -1.386f;
              backend_.mix({kExits, rows, shape_.vocab,
                            reinterpret_cast<const float*>(pool_.next(bytes)), log_exit,
                            output_.floats()});
            }};
  }

  Backend& backend_;
  Pool& pool_;
  const Shape shape_;
  const MatrixType type_;
  Buffer input_, residual_, norm_, output_, inner_, outer_;
  CacheShape cache_;
  Buffer keys_, rotary_;
  std::vector<std::byte*> blocks_;
  uint32_t layer_ = 0, block_ = 0, token_ = 0;
};

}  // namespace nvium::bench
