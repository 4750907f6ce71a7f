// One digest for all: what the kernels of every instruction set compute from fixed pseudo-random
// inputs, hashed. The digests are committed, so that machines which never meet are compared too,
// 64-bit Arm with x86 among them. A change of the arithmetic changes them, and is then on purpose.
#include <cinttypes>
#include <cstring>
#include <span>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/instruction_sets.h"
#include "numerics/noise.h"
#include "numerics/rotary.h"
#include "numerics/types.h"
#include "testing.h"

using namespace nvium;

namespace {

// FNV-1a.
class Digest {
 public:
  void add(std::span<const std::byte> bytes) {
    for (const std::byte byte : bytes) hash_ = (hash_ ^ uint64_t(byte)) * 0x100000001b3;
  }
  void add(const std::vector<float>& values) { add(std::as_bytes(std::span(values))); }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

// Values of mixed sign and size, none so small that a product of two comes near 2^-125.
std::vector<float> values(uint32_t stream, size_t count) {
  std::vector<float> all(count);
  for (size_t i = 0; i < count; i++) {
    const numerics::Words w = numerics::philox(uint32_t(i), stream, 1, 2, 3, 4);
    const float size = w.w1 & 1 ? 1.0f : w.w1 & 2 ? 0.03125f : 4.0f;
    all[i] = w.w1 % 61 == 0 ? 0.0f : (float(int32_t(w.w0)) + 0.5f) * 0x1p-31f * size;
  }
  return all;
}

// A matrix of such values in tiles, or of f16 patterns with exponents about 1.
struct Weights {
  Weights(Backend& backend, MatrixType type, uint32_t rows, uint32_t cols, uint32_t stream)
      : matrix{nullptr, rows, cols, type}, tiles(backend, matrix.bytes()) {
    backend.zero(tiles.data(), tiles.bytes());
    const std::vector<float> source = values(stream, size_t(rows) * cols);
    for (uint32_t r = 0; r < rows; r++) {
      for (uint32_t c = 0; c < cols; c++) {
        std::byte* tile = tiles.data() + r / kTileRows * matrix.tile_bytes();
        const size_t at = tile_index(type, r % kTileRows, c);
        const float value = source[size_t(r) * cols + c];
        const uint32_t raw = numerics::bits(value);
        if (type == MatrixType::f32) {
          std::memcpy(tile + 4 * at, &value, 4);
        } else {
          const uint16_t half = type == MatrixType::bf16
                                    ? numerics::bf16_from_float(value)
                                    : uint16_t((raw >> 16 & 0x8000) | (raw >> 8 & 0x3fff));
          std::memcpy(tile + 2 * at, &half, 2);
        }
      }
    }
    matrix.tiles = tiles.data();
  }

  Matrix matrix;
  Buffer tiles;
};

uint64_t projections(cpu::CpuBackend& backend) {
  Digest digest;
  const uint32_t cols = 301, width = 45;
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    const Weights plain(backend, type, width, cols, 1), paired(backend, type, 128, cols, 2);
    for (const uint32_t rows : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 33u}) {
      const std::vector<float> input = values(3, rows * cols), norm = values(4, cols),
                               bias = values(5, width), residual = values(6, rows * width);
      for (const Activation activation :
           {Activation::none, Activation::silu, Activation::gelu, Activation::swiglu}) {
        std::vector<float> output(rows * width);
        backend.project(
            {.matrix = activation == Activation::swiglu ? &paired.matrix : &plain.matrix,
             .input = input.data(),
             .rows = rows,
             .norm = rows % 2 == 0 ? norm.data() : nullptr,
             .epsilon = 1e-5f,
             .bias = bias.data(),
             .residual = residual.data(),
             .activation = activation,
             .output = output.data(),
             .width = width});
        digest.add(output);
      }
    }
  }
  return digest.value();
}

// A matrix of bytes of all kinds, with scales about 1 of either sign.
struct IntegerWeights {
  IntegerWeights(Backend& backend, MatrixType type, uint32_t rows, uint32_t cols)
      : matrix{nullptr, rows, cols, type}, tiles(backend, matrix.bytes()) {
    for (size_t i = 0; i < matrix.bytes(); i++) {
      const uint32_t word = numerics::philox(uint32_t(i), 11, 1, 2, 3, 4).w0;
      tiles.data()[i] = std::byte(type == MatrixType::int8 ? 1 + word % 255 : word);
    }
    const uint32_t group = type == MatrixType::int8 ? 128 : 32;
    std::byte* at = tiles.data();
    while (at < tiles.data() + matrix.bytes()) {
      for (uint32_t begin = 0; begin < cols; begin += group) {
        for (uint32_t n = 0; n < kTileRows; n++) {
          uint16_t& scale = reinterpret_cast<uint16_t*>(at)[n];
          scale = uint16_t((scale & 0x80ff) | 0x3f00);
        }
        at += 64 +
              ceil_div(std::min(group, cols - begin), 32) * (type == MatrixType::int8 ? 1024 : 512);
      }
    }
    matrix.tiles = tiles.data();
  }

  Matrix matrix;
  Buffer tiles;
};

uint64_t integers(cpu::CpuBackend& backend) {
  Digest digest;
  const uint32_t cols = 301, width = 45;
  for (const MatrixType type : {MatrixType::int8, MatrixType::int4}) {
    const IntegerWeights weights(backend, type, width, cols);
    for (const uint32_t rows : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 33u}) {
      const std::vector<float> input = values(3, rows * cols), norm = values(4, cols);
      std::vector<float> output(rows * width);
      backend.project({.matrix = &weights.matrix,
                       .input = input.data(),
                       .rows = rows,
                       .norm = rows % 2 == 0 ? norm.data() : nullptr,
                       .epsilon = 1e-5f,
                       .output = output.data(),
                       .width = width});
      digest.add(output);
    }
  }
  return digest.value();
}

std::vector<float> rotary_table(uint32_t positions, uint32_t head_dim,
                                const numerics::RotaryScaling& scaling) {
  std::vector<float> table;
  for (uint32_t position = 0; position < positions; position++) {
    for (uint32_t i = 0; i < head_dim / 2; i++) {
      const numerics::Rotation r = numerics::rotation(
          position, numerics::inverse_frequency(int(i), int(head_dim), 10000, scaling));
      table.insert(table.end(), {r.cos, r.sin});
    }
  }
  return table;
}

uint64_t attention_over(cpu::CpuBackend& backend, std::initializer_list<CacheShape> shapes) {
  Digest digest;
  for (const CacheShape& shape : shapes) {
    const uint32_t length = 150, layer = shape.layers - 1;
    Buffer memory(backend, 3 * shape.block_bytes());
    backend.zero(memory.data(), memory.bytes());
    std::vector<std::byte*> blocks;
    for (uint32_t b = 0; b < 3; b++) blocks.push_back(memory.data() + b * shape.block_bytes());
    const std::vector<float> rotary = rotary_table(length, shape.head_dim, {});
    std::vector<float> qkv = values(7, length * shape.qkv_width());
    std::vector<float> output(length * shape.query_width());
    for (uint32_t begin = 0; begin < length; begin += 40) {
      const Span span{begin, std::min(length, begin + 40), begin, blocks.data()};
      backend.attend({shape, layer, {&span, 1}, qkv.data(), rotary.data(), output.data()});
    }
    digest.add(output);
    digest.add({memory.data(), memory.bytes()});
  }
  return digest.value();
}

uint64_t attention(cpu::CpuBackend& backend) {
  return attention_over(
      backend,
      {CacheShape{2, 4, 2, 24, CacheType::f32}, CacheShape{1, 6, 3, 32, CacheType::bf16},
       CacheShape{1, 9, 1, 64, CacheType::bf16}, CacheShape{1, 2, 2, 128, CacheType::f32}});
}

uint64_t attention_over_integers(cpu::CpuBackend& backend) {
  return attention_over(backend, {CacheShape{2, 4, 2, 24, CacheType::int8},
                                  CacheShape{1, 9, 1, 64, CacheType::int8}});
}

uint64_t draws(cpu::CpuBackend& backend) {
  Digest digest;
  const cpu::Kernels& kernels = backend.kernels();
  const uint32_t vocab = 1003;
  const std::vector<float> logits = values(8, vocab);
  std::vector<uint32_t> kept;
  for (uint32_t token = 1; token < vocab; token += 9) kept.push_back(token);
  const auto add = [&](const cpu::Best& best) { digest.add(std::as_bytes(std::span(&best, 1))); };
  for (uint32_t position = 0; position < 400; position++) {
    const Draw draw{.temperature = 0.25f * float(1 + position % 7),
                    .seed = 0x123456789abcdefu * (position / 100),
                    .stream = position % 3,
                    .position = position};
    add(kernels.draw(logits.data(), draw, 0, vocab));
    add(kernels.draw_kept(logits.data(), draw, kept.data(), uint32_t(kept.size())));
  }
  return digest.value();
}

uint64_t mixtures(cpu::CpuBackend& backend) {
  Digest digest;
  const uint32_t exits = 4, rows = 3, vocab = 1003;
  const std::vector<float> logits = values(9, size_t(exits) * rows * vocab);
  std::vector<float> log_exit = values(10, exits * rows), output(size_t(rows) * vocab);
  for (float& value : log_exit) value = -8.0f * value * value;
  backend.mix({exits, rows, vocab, logits.data(), log_exit.data(), output.data()});
  digest.add(output);
  return digest.value();
}

struct Operation {
  const char* name;
  uint64_t (*digest)(cpu::CpuBackend& backend);
  uint64_t committed;
};

const Operation kOperations[] = {
    {"projection", projections, 0xf81256f5b9923841},
    {"integers", integers, 0xc5af00e9866a450d},
    {"attention", attention, 0xe6ee9b58714dba26},
    {"int8 cache", attention_over_integers, 0x897583d45528ad75},
    {"draw", draws, 0x3f8ac6184686274c},
    {"mixture", mixtures, 0x29a386918c59cc2b},
};

constexpr uint64_t kRotaryTable = 0x35bc22e4aeab36ea;

void expect(const char* set, const char* operation, uint64_t digest, uint64_t committed) {
  std::printf("  %-12s %-10s %016" PRIx64 "\n", set, operation, digest);
  CHECK_EQ(digest, committed);
}

}  // namespace

TEST(every_instruction_set_gives_the_committed_digests) {
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    cpu::CpuBackend backend({1, false, kernels->name});
    backend.enter([&] {
      for (const Operation& operation : kOperations) {
        expect(kernels->name, operation.name, operation.digest(backend), operation.committed);
      }
    });
  }
}

TEST(the_rotary_table_has_the_committed_digest) {
  Digest digest;
  for (const auto kind : {numerics::RotaryKind::standard, numerics::RotaryKind::linear,
                          numerics::RotaryKind::llama3}) {
    digest.add(rotary_table(2000, 96, {kind, 4.0, 1.0, 4.0, 512.0}));
  }
  expect("", "rotary", digest.value(), kRotaryTable);
}
