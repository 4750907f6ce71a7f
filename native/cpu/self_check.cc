#include "self_check.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "../numerics/environment.h"
#include "../numerics/philox.h"
#include "../numerics/rotary.h"
#include "../numerics/sums.h"
#include "../numerics/types.h"
#include "memory.h"

namespace nvium::cpu {
namespace {

// Zeroed memory, aligned as the backend's is.
class Block {
 public:
  explicit Block(size_t bytes) : bytes_(bytes), at_(static_cast<std::byte*>(allocate(bytes))) {
    std::memset(at_, 0, bytes);
  }
  ~Block() { release(at_, bytes_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  std::byte* data() const { return at_; }
  std::span<const std::byte> bytes() const { return {at_, bytes_}; }

 private:
  size_t bytes_;
  std::byte* at_;
};

// Deterministic values of mixed sign and size, as many as asked for.
std::vector<float> sample(uint32_t stream, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; i++) {
    const numerics::Words w = numerics::philox(uint32_t(i), stream, 0, 0, 0, 0);
    values[i] = (float(int32_t(w.w0)) * 0x1p-31f) * (w.w1 & 1 ? 1.0f : 0.125f);
  }
  return values;
}

void put(std::byte* at, MatrixType type, size_t index, float value) {
  if (type == MatrixType::f32) {
    reinterpret_cast<float*>(at)[index] = value;
  } else {
    // As an f16 pattern the upper half of a float is some other finite number, which serves as
    // well.
    reinterpret_cast<uint16_t*>(at)[index] = numerics::bf16_from_float(value) & 0xbfff;
  }
}

// Bytes of every kind but the one that is no integer of int8, and scales about 1 of either sign.
void put_integers(std::byte* at, const Matrix& m) {
  for (size_t i = 0; i < m.bytes(); i++) {
    const uint32_t word = numerics::philox(uint32_t(i), 10, 0, 0, 0, 0).w0;
    at[i] = std::byte(m.type == MatrixType::int8 ? 1 + word % 255 : word);
  }
  const uint32_t group = group_columns(m.type);
  for (uint32_t t = 0; t < m.tile_count(); t++) {
    std::byte* tile = at + t * m.tile_bytes();
    for (uint32_t begin = 0; begin < m.cols; begin += group) {
      uint16_t* scales = reinterpret_cast<uint16_t*>(tile);
      for (uint32_t n = 0; n < kTileRows; n++) {
        scales[n] = uint16_t((scales[n] & 0x80ff) | 0x3f00);
      }
      tile += kScalesBytes +
              ceil_div(std::min(group, m.cols - begin), kIntegerBlock) * block_bytes(m.type);
    }
  }
}

// What one table computes on the fixed inputs, one result after the other. Two tables agree when
// these bytes are the same.
class Results {
 public:
  explicit Results(const Kernels& kernels) : kernels_(kernels) {
    projection(MatrixType::bf16, Activation::gelu);
    projection(MatrixType::f16, Activation::silu);
    projection(MatrixType::f32, Activation::swiglu);
    projection(MatrixType::int8, Activation::none);
    projection(MatrixType::int4, Activation::swiglu);
    for (const CacheType type : {CacheType::bf16, CacheType::f32, CacheType::int8}) attention(type);
    draws();
    mixture();
  }

  bool operator==(const Results& other) const { return bytes_ == other.bytes_; }

 private:
  template <class T>
  void add(std::span<const T> values) {
    const auto bytes = std::as_bytes(values);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  template <class T>
  void add(const T& value) {
    add(std::span<const T>(&value, 1));
  }

  // Every number of rows up to 15 may be code of its own: up to eight share a load, and more go by
  // in blocks, the first of which may leave its weights to the others. Two chunks of columns, the
  // second one odd.
  void projection(MatrixType type, Activation activation) {
    const uint32_t most = 15, cols = 131, width = 20;
    const bool paired = activation == Activation::swiglu;
    Matrix m{nullptr, kTileRows * (paired ? 2 : 1), cols, type};
    const Block tiles(m.bytes());
    if (holds_integers(type)) {
      put_integers(tiles.data(), m);
    } else {
      const std::vector<float> weights = sample(1, m.bytes() / bytes_of(type));
      for (size_t i = 0; i < weights.size(); i++) put(tiles.data(), type, i, weights[i]);
    }
    m.tiles = tiles.data();
    const std::vector<float> input = sample(2, most * cols), norm = sample(3, cols),
                             bias = sample(4, width), residual = sample(5, most * width);
    for (uint32_t rows = 1; rows <= most; rows++) {
      const bool last = rows == most;
      std::vector<float> output(rows * width), normed(last ? rows * cols : 0);
      const Block operand(operand_bytes(rows, cols));
      kernels_.pack({operand_of(type), input.data(), last ? norm.data() : nullptr, 1e-6f,
                     last ? normed.data() : nullptr, rows, cols, operand.data()},
                    0, rows);
      kernels_.project({.matrix = &m,
                        .input = input.data(),
                        .rows = rows,
                        .bias = bias.data(),
                        .residual = residual.data(),
                        .activation = activation,
                        .output = output.data(),
                        .width = width},
                       operand.data(), 0, 1);
      add(std::span<const float>(normed));
      add(std::span<const float>(output));
    }
  }

  // Positions on both sides of a block's end, two query heads on one key head. The rows before the
  // span are only appended.
  void attention(CacheType type) {
    const CacheShape shape{1, 2, 1, 24, type};
    const uint32_t length = 67, first = 62;
    Block one(shape.block_bytes()), other(shape.block_bytes());
    std::byte* const blocks[] = {one.data(), other.data()};
    std::vector<float> qkv = sample(6, length * shape.qkv_width()), rotary;
    for (uint32_t position = 0; position < length; position++) {
      for (uint32_t i = 0; i < shape.head_dim / 2; i++) {
        const numerics::Rotation r = numerics::rotation(position, 1.0 / (1 + i));
        rotary.insert(rotary.end(), {r.cos, r.sin});
      }
    }
    std::vector<float> output(length * shape.query_width());
    const Span all{0, length, 0, blocks}, span{first, length, first, blocks};
    const Attention a{shape, 0, {&span, 1}, qkv.data(), rotary.data(), output.data()};
    kernels_.append(a, all, 0);
    const Block memory(attention_scratch_bytes(shape));
    kernels_.attend({&a, &span, 0, 0, 2 * span.rows(), memory.data()});
    add(std::span<const float>(qkv));
    add(one.bytes());
    add(other.bytes());
    add(std::span<const float>(output));
  }

  void draws() {
    const uint32_t vocab = 301;
    const std::vector<float> logits = sample(7, vocab);
    std::vector<uint32_t> kept;
    for (uint32_t token = 3; token < vocab; token += 7) kept.push_back(token);
    for (uint32_t position = 0; position < 4; position++) {
      const Draw draw{.temperature = 0.75f + 0.25f * float(position), .position = position};
      const Best best = kernels_.draw(logits.data(), draw, 0, vocab);
      const Best of_kept =
          kernels_.draw_kept(logits.data(), draw, kept.data(), uint32_t(kept.size()));
      add(best.score), add(best.token), add(of_kept.score), add(of_kept.token);
    }
    const Draw greedy{.temperature = 0};
    add(kernels_.draw(logits.data(), greedy, 0, vocab).token);
  }

  void mixture() {
    const uint32_t vocab = 301;
    const std::vector<float> near = sample(8, vocab), far = sample(9, vocab);
    const float* const logits[] = {near.data(), far.data()};
    const float log_exit[] = {-0.25f, -1.5f};
    float log_norm[2];
    for (int k = 0; k < 2; k++) {
      const float maximum = kernels_.maximum(logits[k], vocab);
      const uint64_t sum = kernels_.fixed_sum(logits[k], vocab, maximum);
      log_norm[k] = maximum + numerics::log(numerics::from_fixed(sum));
      add(maximum), add(sum);
    }
    std::vector<float> output(vocab);
    kernels_.mix(logits, log_exit, log_norm, 2, 0, vocab, output.data());
    add(std::span<const float>(output));
    add(kernels_.finite(output.data(), vocab));
    output[vocab - 2] = numerics::kInfinity;
    add(kernels_.finite(output.data(), vocab));
  }

  const Kernels& kernels_;
  std::vector<std::byte> bytes_;
};

}  // namespace

bool agrees(const Kernels& kernels) {
  bool same = false;
  numerics::with_flushing([&] {
    static const Results expected(kPortableKernels);
    same = Results(kernels) == expected;
  });
  return same;
}

}  // namespace nvium::cpu
