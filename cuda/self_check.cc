#include "self_check.h"

#include <cstring>
#include <utility>
#include <vector>

#include "../native/cpu/cpu_backend.h"
#include "../native/numerics/functions.h"
#include "../native/numerics/philox.h"
#include "../native/numerics/rotary.h"
#include "../native/numerics/types.h"

namespace nvium::cuda {
namespace {

using Bytes = std::vector<std::byte>;

// Deterministic values of mixed sign and size, as many as asked for.
std::vector<float> sample(uint32_t stream, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; i++) {
    const numerics::Words w = numerics::philox(uint32_t(i), stream, 0, 0, 0, 0);
    values[i] = (float(int32_t(w.w0)) * 0x1p-31f) * (w.w1 & 1 ? 1.0f : 0.125f);
  }
  return values;
}

// What one backend computes, a piece of bytes for each thing that is looked at.
class Results {
 public:
  explicit Results(Backend& backend) : b_(backend) {
    backend.enter([&] {
      for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
        projections(type);
      }
      for (const CacheType type : {CacheType::bf16, CacheType::f32}) attention(type);
      router();
      draws();
      mixture();
      tables();
    });
  }

  // The first thing in which the two differ.
  std::string difference(const Results& other) const {
    for (size_t i = 0; i < pieces_.size(); i++) {
      if (pieces_[i].second != other.pieces_[i].second) return pieces_[i].first;
    }
    return "";
  }

 private:
  Buffer put(const std::vector<float>& values) {
    Buffer buffer(b_, values.size() * sizeof(float));
    b_.write(buffer.data(), values.data(), buffer.bytes());
    return buffer;
  }

  // Tiles of values; the first output row is zeros. As an f16 pattern the upper half of a float is
  // some other finite number, which serves as well.
  Buffer tiles(Matrix& m, uint32_t stream) {
    Bytes bytes(m.bytes());
    const std::vector<float> values = sample(stream, size_t(m.rows) * m.cols);
    for (uint32_t r = 1; r < m.rows; r++) {
      std::byte* tile = bytes.data() + r / kTileRows * m.tile_bytes();
      for (uint32_t c = 0; c < m.cols; c++) {
        const float value = values[size_t(r) * m.cols + c];
        const size_t at = tile_index(m.type, r % kTileRows, c) * bytes_of(m.type);
        const uint16_t half = numerics::bf16_from_float(value) & 0xbfff;
        std::memcpy(tile + at, m.type == MatrixType::f32 ? static_cast<const void*>(&value) : &half,
                    bytes_of(m.type));
      }
    }
    Buffer buffer(b_, bytes.size());
    b_.write(buffer.data(), bytes.data(), bytes.size());
    m.tiles = buffer.data();
    return buffer;
  }

  void note(std::string what, Bytes bytes) {
    pieces_.emplace_back(std::move(what), std::move(bytes));
  }
  void note(std::string what, const void* data, size_t bytes) {
    const auto* from = static_cast<const std::byte*>(data);
    note(std::move(what), Bytes(from, from + bytes));
  }
  void note(std::string what, const Buffer& buffer) {
    Bytes bytes(buffer.bytes());
    b_.read(bytes.data(), buffer.data(), bytes.size());
    note(std::move(what), std::move(bytes));
  }

  void projections(MatrixType type) {
    constexpr Activation kActivations[] = {Activation::none, Activation::silu, Activation::gelu,
                                           Activation::swiglu};
    const uint32_t cols = 275, width = 40;
    Matrix m{nullptr, 4 * kTileRows, cols, type};
    const Buffer memory = tiles(m, 1);
    const Buffer norm = put(sample(3, cols)), bias = put(sample(4, width));
    int turn = int(type);
    for (const uint32_t rows : {1u, 2u, 3u, 7u, 16u, 21u}) {
      const Activation activation = kActivations[turn++ % 4];
      const Buffer input = put(sample(2, rows * cols));
      std::vector<float> residual = sample(5, rows * width);
      // Beside the row of zeros: what is left of it is for the flushing to decide.
      for (uint32_t r = 0; r < rows; r++) residual[r * width] = 0x1p-127f;
      const Buffer output = put(residual), normed = put(sample(6, rows * cols));
      b_.project({.matrix = &m,
                  .input = input.floats(),
                  .rows = rows,
                  .norm = rows % 2 == 1 ? norm.floats() : nullptr,
                  .epsilon = 1e-6f,
                  .normed = rows % 2 == 1 ? normed.floats() : nullptr,
                  .bias = rows % 3 == 0 ? bias.floats() : nullptr,
                  .residual = output.floats(),
                  .activation = activation,
                  .output = output.floats(),
                  .width = width});
      const std::string what = "a product of " + std::to_string(rows) + " rows";
      note(what, output);
      note(what + ", normalised", normed);
    }
  }

  // Two spans, both on two sides of a block's end; two query heads on one key head.
  void attention(CacheType type) {
    const CacheShape shape{1, 2, 1, 24, type};
    const uint32_t length = 67, first = 62;
    Buffer one(b_, 2 * shape.block_bytes()), other(b_, 2 * shape.block_bytes());
    std::vector<std::byte*> blocks;
    for (const Buffer* memory : {&one, &other}) {
      b_.zero(memory->data(), memory->bytes());
      blocks.push_back(memory->data());
      blocks.push_back(memory->data() + shape.block_bytes());
    }
    std::vector<float> table;
    for (uint32_t position = 0; position < length; position++) {
      for (uint32_t i = 0; i < shape.head_dim / 2; i++) {
        const numerics::Rotation r = numerics::rotation(position, 1.0 / (1 + i));
        table.insert(table.end(), {r.cos, r.sin});
      }
    }
    const Buffer rotary = put(table);
    const auto run = [&](const std::vector<Span>& spans, uint32_t rows) {
      const Buffer qkv = put(sample(7 + rows, rows * shape.qkv_width()));
      Buffer output(b_, rows * shape.query_width() * sizeof(float));
      b_.attend({shape, 0, spans, qkv.floats(), rotary.floats(), output.floats()});
      note("attention", output);
    };
    run({{0, first, 0, blocks.data()}, {0, first, first, blocks.data() + 2}}, 2 * first);
    run({{first, length, 0, blocks.data()}, {first, first + 1, length - first, blocks.data() + 2}},
        length - first + 1);
    note("keys and values", one);
    b_.erase(shape, {first, length, 0, blocks.data()}, 0, 1);
    note("erased keys and values", one);
  }

  void router() {
    const uint32_t hidden = 40, inner = 33, outer = 70, rows = 3;
    Router r;
    const Buffer vector = put(sample(20, outer)), input = put(sample(21, rows * hidden));
    Matrix fc1{nullptr, inner, hidden, MatrixType::bf16},
        fc2{nullptr, outer, inner, MatrixType::bf16};
    r.head = {nullptr, 2, outer, MatrixType::bf16};
    const Buffer one = tiles(fc1, 22), two = tiles(fc2, 23), head = tiles(r.head, 24);
    r.input_norm = r.norm = r.bias = vector.floats();
    r.blocks = {{fc1, vector.floats(), fc2, vector.floats()}};
    Buffer in(b_, rows * inner * sizeof(float)), out(b_, rows * outer * sizeof(float));
    float logits[2 * rows];
    b_.route({&r, input.floats(), rows, 1e-6f, in.floats(), out.floats(), logits});
    note("a router", logits, sizeof logits);
  }

  void draws() {
    const uint32_t vocab = 301, cols = 24, rows = 3;
    Matrix head{nullptr, vocab, cols, MatrixType::bf16};
    const Buffer memory = tiles(head, 30), input = put(sample(31, rows * cols));
    Buffer logits(b_, rows * vocab * sizeof(float));
    const std::vector<Draw> draws{{.temperature = 0.75f, .seed = 5, .position = 3},
                                  {.temperature = 1, .top_k = 9, .seed = 6},
                                  {.temperature = 0}};
    uint32_t tokens[rows];
    b_.draw({.matrix = &head,
             .input = input.floats(),
             .rows = rows,
             .output = logits.floats(),
             .width = vocab},
            draws, tokens);
    note("a draw", tokens, sizeof tokens);
  }

  void mixture() {
    const uint32_t exits = 2, rows = 2, vocab = 301;
    const Buffer logits = put(sample(40, exits * rows * vocab));
    const float log_exit[] = {-0.25f, -1.0f, -1.5f, -0.5f};
    Buffer output(b_, rows * vocab * sizeof(float));
    b_.mix({exits, rows, vocab, logits.floats(), log_exit, output.floats()});
    note("a mixture", output);
  }

  void tables() {
    Matrix table{nullptr, 70, 45, MatrixType::bf16};
    const Buffer memory = tiles(table, 50);
    const std::vector<uint32_t> tokens{0, 69, 31, 32};
    Buffer output(b_, tokens.size() * table.cols * sizeof(float));
    b_.embed(table, tokens, output.floats());
    note("an embedding", output);
    const Buffer hidden = put(sample(52, 20 * table.cols)), weight = put(sample(53, table.cols));
    for (const uint32_t count : {3u, 20u}) {
      std::vector<NormRow> rows;
      for (uint32_t r = 0; r < count; r++) {
        rows.push_back({hidden.floats() + (count - 1 - r) * table.cols, weight.floats()});
      }
      Buffer normed(b_, count * table.cols * sizeof(float));
      b_.normalise(rows, table.cols, 1e-6f, normed.floats());
      note("a norm", normed);
    }
    std::vector<float> values = sample(51, 600);
    values.back() = numerics::kInfinity;
    const Buffer spoilt = put(values);
    const bool finite[] = {b_.finite(spoilt.floats(), 599), b_.finite(spoilt.floats(), 600)};
    note("finiteness", finite, sizeof finite);
  }

  Backend& b_;
  std::vector<std::pair<std::string, Bytes>> pieces_;
};

const Results& expected() {
  static const Results results = [] {
    cpu::CpuBackend backend({1, false, "portable"});
    return Results(backend);
  }();
  return results;
}

}  // namespace

std::string find_difference(Backend& device) { return expected().difference(Results(device)); }

}  // namespace nvium::cuda
