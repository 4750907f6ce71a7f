// Every instruction set's kernels against the definitions of docs/numerics.md written out plainly,
// bit for bit, over ragged shapes.
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/instruction_sets.h"
#include "numerics/dot.h"
#include "numerics/functions.h"
#include "numerics/integers.h"
#include "numerics/noise.h"
#include "numerics/rotary.h"
#include "numerics/sums.h"
#include "testing.h"

using namespace nvium;

namespace {

std::mt19937 random_bits(7);

float random_value() {
  // Mixed sign and size, zeros of both signs among them.
  const uint32_t r = random_bits();
  if (r % 37 == 0) return r & 64 ? -0.0f : 0.0f;
  return (float(int32_t(random_bits())) * 0x1p-31f) * (r & 1 ? 1.0f : 0.03125f);
}

std::vector<float> random_values(size_t count) {
  std::vector<float> values(count);
  for (float& v : values) v = random_value();
  return values;
}

uint16_t half_of(MatrixType type, float value) {
  if (type == MatrixType::bf16) return numerics::bf16_from_float(value);
  // An f16 pattern with the value's sign and some finite magnitude, subnormals among them.
  const uint16_t pattern = uint16_t(random_bits() % 0x3c00);
  return uint16_t(pattern | (value < 0 ? 0x8000 : 0));
}

// Stored weights and what they are worth.
struct Stored {
  std::vector<float> values;  // [rows, cols]
  Buffer tiles;
  Matrix matrix;
};

Stored random_matrix(Backend& backend, MatrixType type, uint32_t rows, uint32_t cols) {
  Stored s;
  s.matrix = {nullptr, rows, cols, type};
  s.tiles = Buffer(backend, s.matrix.bytes());
  std::memset(s.tiles.data(), 0, s.tiles.bytes());
  s.matrix.tiles = s.tiles.data();
  s.values.resize(size_t(rows) * cols);
  for (uint32_t r = 0; r < rows; r++) {
    for (uint32_t c = 0; c < cols; c++) {
      float value = random_value();
      std::byte* tile = s.tiles.data() + r / kTileRows * s.matrix.tile_bytes();
      const size_t at = tile_index(type, r % kTileRows, c);
      if (type == MatrixType::f32) {
        reinterpret_cast<float*>(tile)[at] = value;
      } else {
        const uint16_t half = half_of(type, value);
        reinterpret_cast<uint16_t*>(tile)[at] = half;
        value =
            type == MatrixType::bf16 ? numerics::bf16_to_float(half) : numerics::f16_to_float(half);
      }
      s.values[size_t(r) * cols + c] = value;
    }
  }
  return s;
}

float defined_dot(MatrixType type, uint32_t cols, const float* weights, const float* input) {
  return numerics::dot(
      int(cols), [&](int k) { return weights[k]; },
      [&](int k) {
        return type == MatrixType::bf16 ? numerics::round_to_bf16(input[k]) : input[k];
      });
}

std::vector<float> defined_norm(const float* x, const float* w, uint32_t width, float epsilon) {
  const float scale =
      numerics::norm_scale(numerics::sum_of_squares(x, int(width)), int(width), epsilon);
  std::vector<float> out(width);
  for (uint32_t i = 0; i < width; i++) out[i] = numerics::normalised(x[i], scale, w[i]);
  return out;
}

bool same(float a, float b) { return std::memcmp(&a, &b, 4) == 0; }

// Runs `test` on a backend of each instruction set of this machine, with one thread and with three.
template <class Test>
void on_each_backend(const Test& test) {
  for (const cpu::Kernels* kernels : cpu::available_kernels()) {
    for (const uint32_t threads : {1u, 3u}) {
      cpu::CpuBackend backend({threads, true, kernels->name, true});
      backend.enter([&] { test(backend); });
    }
  }
}

}  // namespace

TEST(projections_are_the_definition) {
  on_each_backend([](Backend& backend) {
    for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
      for (const uint32_t rows : {1u, 2u, 3u, 5u, 8u, 9u, 10u, 12u, 13u, 14u, 31u, 32u, 33u, 70u}) {
        const uint32_t cols = 1 + random_bits() % 300, width = 1 + random_bits() % 70;
        const Stored m = random_matrix(backend, type, width, cols);
        const std::vector<float> input = random_values(rows * cols), norm = random_values(cols),
                                 bias = random_values(width),
                                 residual = random_values(rows * width);
        const bool normed = random_bits() & 1, biased = random_bits() & 1,
                   added = random_bits() & 1;
        const Activation activation = Activation(random_bits() % 3);
        std::vector<float> output(rows * width);
        backend.project({.matrix = &m.matrix,
                         .input = input.data(),
                         .rows = rows,
                         .norm = normed ? norm.data() : nullptr,
                         .epsilon = 1e-6f,
                         .bias = biased ? bias.data() : nullptr,
                         .residual = added ? residual.data() : nullptr,
                         .activation = activation,
                         .output = output.data(),
                         .width = width});
        int wrong = 0;
        for (uint32_t r = 0; r < rows; r++) {
          std::vector<float> x(&input[r * cols], &input[r * cols] + cols);
          if (normed) x = defined_norm(x.data(), norm.data(), cols, 1e-6f);
          for (uint32_t n = 0; n < width; n++) {
            float y = defined_dot(type, cols, &m.values[size_t(n) * cols], x.data());
            if (biased) y += bias[n];
            if (activation == Activation::silu) y = numerics::silu(y);
            if (activation == Activation::gelu) y = numerics::gelu(y);
            if (added) y += residual[r * width + n];
            wrong += !same(y, output[r * width + n]);
          }
        }
        CHECK_EQ(wrong, 0);
      }
    }
  });
}

TEST(gate_and_up_make_swiglu) {
  on_each_backend([](Backend& backend) {
    const uint32_t rows = 5, cols = 130, width = 50, padded = 64;
    // Tiles of gate and up take turns: rows [0, 32) of the matrix are gate 0 … 31, the next 32 are
    // up 0 … 31, and so on.
    const Stored m = random_matrix(backend, MatrixType::bf16, 2 * padded, cols);
    const auto row = [&](uint32_t n, uint32_t which) {
      return &m.values[size_t(n / 32 * 64 + which * 32 + n % 32) * cols];
    };
    const std::vector<float> input = random_values(rows * cols);
    std::vector<float> output(rows * width);
    backend.project({.matrix = &m.matrix,
                     .input = input.data(),
                     .rows = rows,
                     .activation = Activation::swiglu,
                     .output = output.data(),
                     .width = width});
    int wrong = 0;
    for (uint32_t r = 0; r < rows; r++) {
      for (uint32_t n = 0; n < width; n++) {
        const float gate = defined_dot(MatrixType::bf16, cols, row(n, 0), &input[r * cols]);
        const float up = defined_dot(MatrixType::bf16, cols, row(n, 1), &input[r * cols]);
        wrong += !same(numerics::silu(gate) * up, output[r * width + n]);
      }
    }
    CHECK_EQ(wrong, 0);
  });
}

namespace {

// Integers and scales, as tiles and plainly.
struct StoredIntegers {
  std::vector<int> values;    // [rows, cols]
  std::vector<float> scales;  // [rows, groups]
  Buffer tiles;
  Matrix matrix;
};

// `value` gives an integer from `least` to `most`.
template <class Value>
StoredIntegers integers(Backend& backend, MatrixType type, uint32_t rows, uint32_t cols,
                        const Value& value) {
  const bool halves = type == MatrixType::int4;
  const uint32_t group = halves ? 32 : 128, groups = ceil_div(cols, group);
  StoredIntegers s;
  s.matrix = {nullptr, rows, cols, type};
  s.tiles = Buffer(backend, s.matrix.bytes());
  std::byte* at = s.tiles.data();
  s.matrix.tiles = at;
  s.values.resize(size_t(rows) * cols);
  s.scales.resize(size_t(rows) * groups);
  for (uint32_t first = 0; first < rows; first += 32) {
    for (uint32_t g = 0; g < groups; g++) {
      uint16_t* scales = reinterpret_cast<uint16_t*>(at);
      at += 64;
      const uint32_t begin = g * group, end = std::min(cols, begin + group);
      const uint32_t padded = ceil_div(end - begin, 32) * 32;
      std::memset(at, halves ? 0x88 : 0x80, halves ? padded * 16 : padded * 32);
      for (uint32_t n = 0; n < 32; n++) {
        scales[n] = 0;
        if (first + n >= rows) continue;
        scales[n] = numerics::bf16_from_float(random_value());
        s.scales[size_t(first + n) * groups + g] = numerics::bf16_to_float(scales[n]);
        for (uint32_t k = begin; k < end; k++) {
          const int w = value();
          s.values[size_t(first + n) * cols + k] = w;
          const uint32_t c = k - begin;
          if (halves) {
            std::byte& both = at[(c / 8 * 32 + n) * 4 + c % 4];
            const uint32_t shift = c % 8 < 4 ? 0 : 4;
            both = (both & std::byte(0xf0 >> shift)) | std::byte((w + 8) << shift);
          } else {
            at[(c / 4 * 32 + n) * 4 + c % 4] = std::byte(w + 128);
          }
        }
      }
      at += halves ? padded * 16 : padded * 32;
    }
  }
  CHECK_EQ(size_t(at - s.tiles.data()), s.matrix.bytes());
  return s;
}

// A product by the definition of docs/numerics.md, rounding to integers by the library.
template <class T>
float defined_integers(const StoredIntegers& m, uint32_t row, const float* x) {
  const uint32_t cols = m.matrix.cols, groups = ceil_div(cols, uint32_t(T::kGroup));
  std::vector<int> inputs(cols);
  std::vector<float> steps;
  for (uint32_t begin = 0; begin < cols; begin += 128) {
    float largest = 0;
    const uint32_t end = std::min(cols, begin + 128);
    for (uint32_t k = begin; k < end; k++) largest = std::max(largest, std::fabs(x[k]));
    const bool nothing = largest < 127 * 0x1p-126f;
    steps.push_back(nothing ? 0 : largest / 127);
    for (uint32_t k = begin; k < end; k++) {
      inputs[k] = nothing ? 0 : int(std::nearbyint(x[k] * (127 / largest)));
    }
  }
  return numerics::integer_dot<T>(
      int(cols), [&](int k) { return m.values[size_t(row) * cols + k]; },
      [&](int g) { return m.scales[size_t(row) * groups + g]; }, [&](int k) { return inputs[k]; },
      [&](int c) { return steps[c]; });
}

template <class Value>
int wrong_products(Backend& backend, MatrixType type, uint32_t rows, uint32_t cols,
                   const std::vector<float>& input, const Value& value) {
  const uint32_t width = 1 + random_bits() % 70;
  const StoredIntegers m = integers(backend, type, width, cols, value);
  std::vector<float> output(rows * width);
  backend.project({.matrix = &m.matrix,
                   .input = input.data(),
                   .rows = rows,
                   .output = output.data(),
                   .width = width});
  int wrong = 0;
  for (uint32_t r = 0; r < rows; r++) {
    for (uint32_t n = 0; n < width; n++) {
      const float y = type == MatrixType::int8
                          ? defined_integers<numerics::Int8>(m, n, &input[r * cols])
                          : defined_integers<numerics::Int4>(m, n, &input[r * cols]);
      wrong += !same(y, output[r * width + n]);
    }
  }
  return wrong;
}

int any_integer(MatrixType type) {
  return type == MatrixType::int8 ? int(random_bits() % 255) - 127 : int(random_bits() % 16) - 8;
}

constexpr MatrixType kIntegers[] = {MatrixType::int8, MatrixType::int4};

}  // namespace

TEST(products_of_integers_are_the_definition) {
  on_each_backend([](Backend& backend) {
    for (const MatrixType type : kIntegers) {
      for (const uint32_t rows :
           {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 11u, 13u, 14u, 15u, 16u, 31u, 33u, 70u}) {
        const uint32_t cols = 1 + random_bits() % 300;
        CHECK_EQ(wrong_products(backend, type, rows, cols, random_values(rows * cols),
                                [=] { return any_integer(type); }),
                 0);
      }
    }
  });
}

// The largest sums there are, of either sign; chunks of zeros, of what counts as zeros, of one that
// is large among small ones.
TEST(products_of_integers_are_the_definition_at_their_ends) {
  on_each_backend([](Backend& backend) {
    const uint32_t cols = 391;
    std::vector<std::vector<float>> inputs(8, std::vector<float>(cols));
    for (uint32_t k = 0; k < cols; k++) {
      inputs[0][k] = 3;
      inputs[1][k] = k & 1 ? -0x1p-30f : 0x1p-30f;
      inputs[2][k] = k == 130 ? -1e30f : 1e22f;
      inputs[3][k] = k < 128 ? 0 : -0.0f;
      inputs[4][k] = k < 200 ? 0x1p-120f : 0x1p-119f;
      inputs[5][k] = k < 128 ? 127 * 0x1p-126f : std::nextafter(127 * 0x1p-126f, 0.0f);
      inputs[6][k] = k % 7 == 0 ? 1e-40f : float(k) - 200;
      inputs[7][k] = float(k % 128) * 0.5f - 31.5f;  // integers that are ties
    }
    for (const MatrixType type : kIntegers) {
      const int least = type == MatrixType::int8 ? -127 : -8;
      const int most = type == MatrixType::int8 ? 127 : 7;
      for (const std::vector<float>& input : inputs) {
        for (const int value : {least, most, 0}) {
          CHECK_EQ(wrong_products(backend, type, 1, cols, input, [=] { return value; }), 0);
        }
        CHECK_EQ(wrong_products(backend, type, 1, cols, input, [=] { return any_integer(type); }),
                 0);
      }
    }
  });
}

TEST(what_is_not_finite_spoils_its_own_row_of_integers) {
  on_each_backend([](Backend& backend) {
    const uint32_t rows = 3, cols = 200;
    for (const MatrixType type : kIntegers) {
      for (const float bad : {std::nanf(""), -std::nanf(""), INFINITY, -INFINITY}) {
        const StoredIntegers m =
            integers(backend, type, 40, cols, [=] { return any_integer(type); });
        std::vector<float> input = random_values(rows * cols), output(rows * 40);
        input[cols + 150] = bad;
        backend.project({.matrix = &m.matrix,
                         .input = input.data(),
                         .rows = rows,
                         .output = output.data(),
                         .width = 40});
        for (uint32_t i = 0; i < output.size(); i++) {
          CHECK_EQ(numerics::is_finite(output[i]), i / 40 != 1);
        }
      }
    }
  });
}

TEST(every_f16_pattern_is_multiplied_exactly) {
  on_each_backend([](Backend& backend) {
    Matrix m{nullptr, 32, 64512 / 32, MatrixType::f16};
    Buffer tiles(backend, m.bytes());
    backend.zero(tiles.data(), tiles.bytes());
    m.tiles = tiles.data();
    // Column c of row n holds one of the finite patterns; a product with a unit vector reads it.
    uint16_t* halves = reinterpret_cast<uint16_t*>(tiles.data());
    for (uint32_t i = 0; i < 31744; i++)
      halves[i] = uint16_t(i), halves[i + 31744] = uint16_t(i | 0x8000);
    std::vector<float> input(m.cols, 0.0f), output(32);
    int wrong = 0;
    for (uint32_t c = 0; c < m.cols; c++) {
      input[c] = 1;
      backend.project(
          {.matrix = &m, .input = input.data(), .rows = 1, .output = output.data(), .width = 32});
      input[c] = 0;
      for (uint32_t n = 0; n < 32; n++) {
        wrong += output[n] != numerics::f16_to_float(halves[c * 32 + n]);
      }
    }
    CHECK_EQ(wrong, 0);
  });
}

namespace {

// Attention by the definition, from keys and values kept as plain rows.
struct PlainAttention {
  CacheShape shape;
  std::vector<std::vector<float>> keys,
      values;  // [position][kv_heads * head_dim], rounded as stored

  std::vector<std::vector<float>> key_steps, value_steps;  // [position][kv_heads], of int8

  // Keeps a position's rows of all kv heads: rounded, or integers and what they are worth.
  void keep(std::vector<float> row, std::vector<std::vector<float>>& rows,
            std::vector<std::vector<float>>& steps) const {
    const uint32_t dim = shape.head_dim;
    std::vector<float> worth;
    for (uint32_t h = 0; h < shape.kv_heads; h++) {
      float* x = &row[h * dim];
      float largest = 0;
      for (uint32_t i = 0; i < dim; i++) largest = std::max(largest, std::fabs(x[i]));
      for (uint32_t i = 0; i < dim; i++) {
        x[i] = shape.type == CacheType::int8 ? std::nearbyint(x[i] * (127 / largest)) : round(x[i]);
      }
      worth.push_back(largest / 127);
    }
    rows.push_back(std::move(row));
    steps.push_back(std::move(worth));
  }

  float round(float v) const {
    return shape.type == CacheType::bf16 ? numerics::round_to_bf16(v) : v;
  }

  std::vector<float> row(uint32_t position, const float* query, uint32_t head) const {
    const uint32_t dim = shape.head_dim, kv = head / (shape.heads / shape.kv_heads);
    const float scale = 1.0f / numerics::sqrt(float(dim));
    float running_max = 0, running_sum = 0;
    std::vector<float> out(dim);
    for (uint32_t b = 0; b <= position / 64; b++) {
      float p[64], slots[64], max = 0;
      for (uint32_t i = 0; i < 64; i++) {
        p[i] = 0;
        if (b * 64 + i > position) continue;
        const float* key = &keys[b * 64 + i][kv * dim];
        p[i] = numerics::dot(
            int(dim), [&](int k) { return key[k]; }, [&](int k) { return round(query[k]); });
        if (shape.type == CacheType::int8) p[i] *= key_steps[b * 64 + i][kv];
        p[i] *= scale;
        max = i == 0 ? p[0] : numerics::larger(max, p[i]);
      }
      for (uint32_t i = 0; i < 64; i++) {
        slots[i] = p[i] = b * 64 + i > position ? 0.0f : numerics::exp(p[i] - max);
      }
      const float sum = numerics::halving_tree<64>(slots);
      const numerics::Merge merge = numerics::merge_blocks(running_max, max);
      for (uint32_t i = 0; shape.type == CacheType::int8 && i < 64 && b * 64 + i <= position; i++) {
        p[i] *= value_steps[b * 64 + i][kv];
      }
      for (uint32_t d = 0; d < dim; d++) {
        const float o = numerics::dot(
            64,
            [&](int i) { return b * 64 + i > position ? 0.0f : values[b * 64 + i][kv * dim + d]; },
            [&](int i) { return round(p[i]); });
        out[d] = b == 0 ? o : numerics::merged(merge, out[d], o);
      }
      running_sum = b == 0 ? sum : numerics::merged(merge, running_sum, sum);
      running_max = b == 0 ? max : merge.max;
    }
    for (float& o : out) o = o / running_sum;
    return out;
  }
};

}  // namespace

TEST(attention_is_the_definition_for_every_split_into_spans) {
  on_each_backend([](Backend& backend) {
    for (const CacheShape shape :
         {CacheShape{2, 4, 2, 24, CacheType::f32}, CacheShape{1, 6, 3, 32, CacheType::bf16},
          CacheShape{1, 40, 1, 16, CacheType::bf16}, CacheShape{1, 2, 2, 128, CacheType::f32},
          CacheShape{2, 4, 2, 24, CacheType::int8}, CacheShape{1, 8, 1, 64, CacheType::int8}}) {
      const uint32_t length = 150, layer = shape.layers - 1, half = shape.head_dim / 2;
      const std::vector<float> given = random_values(length * shape.qkv_width());
      std::vector<float> rotary(length * shape.head_dim);
      for (uint32_t p = 0; p < length; p++) {
        for (uint32_t i = 0; i < half; i++) {
          const auto r = numerics::rotation(
              p, numerics::inverse_frequency(int(i), int(shape.head_dim), 10000, {}));
          rotary[(p * half + i) * 2] = r.cos;
          rotary[(p * half + i) * 2 + 1] = r.sin;
        }
      }
      PlainAttention plain{shape, {}, {}};
      std::vector<float> rotated = given, expected(length * shape.query_width());
      for (uint32_t p = 0; p < length; p++) {
        float* row = &rotated[p * shape.qkv_width()];
        for (uint32_t h = 0; h < shape.heads + shape.kv_heads; h++) {
          for (uint32_t i = 0; i < half; i++) {
            float* x = row + h * shape.head_dim + i;
            const auto pair = numerics::rotate(x[0], x[half], rotary[(p * half + i) * 2],
                                               rotary[(p * half + i) * 2 + 1]);
            x[0] = pair.lo, x[half] = pair.hi;
          }
        }
        const float* keys = row + shape.query_width();
        const uint32_t width = shape.kv_heads * shape.head_dim;
        plain.keep({keys, keys + width}, plain.keys, plain.key_steps);
        plain.keep({keys + width, keys + 2 * width}, plain.values, plain.value_steps);
        for (uint32_t h = 0; h < shape.heads; h++) {
          const auto out = plain.row(p, row + h * shape.head_dim, h);
          std::copy(out.begin(), out.end(),
                    &expected[p * shape.query_width() + h * shape.head_dim]);
        }
      }
      for (const uint32_t step : {1u, 7u, 40u, 150u}) {
        Buffer memory(backend, 3 * shape.block_bytes());
        backend.zero(memory.data(), memory.bytes());
        std::vector<std::byte*> blocks;
        for (uint32_t b = 0; b < 3; b++) blocks.push_back(memory.data() + b * shape.block_bytes());
        std::vector<float> qkv = given, output(length * shape.query_width());
        for (uint32_t begin = 0; begin < length; begin += step) {
          const Span span{begin, std::min(length, begin + step), begin, blocks.data()};
          const Attention a{shape, layer, {&span, 1}, qkv.data(), rotary.data(), output.data()};
          backend.attend(a);
        }
        CHECK(std::memcmp(output.data(), expected.data(), output.size() * 4) == 0);
      }
    }
  });
}

TEST(erasing_a_span_leaves_zeros_in_its_slots_and_nothing_else) {
  cpu::CpuBackend backend({1, true, ""});
  for (const CacheType type : {CacheType::bf16, CacheType::f32, CacheType::int8}) {
    const CacheShape shape{3, 2, 2, 24, type};
    Buffer one(backend, 2 * shape.block_bytes()), other(backend, 2 * shape.block_bytes());
    std::vector<std::vector<std::byte*>> blocks(2);
    for (uint32_t b = 0; b < 2; b++) {
      blocks[0].push_back(one.data() + b * shape.block_bytes());
      blocks[1].push_back(other.data() + b * shape.block_bytes());
    }
    backend.zero(one.data(), one.bytes());
    backend.zero(other.data(), other.bytes());
    std::vector<float> rotary(100 * shape.head_dim, 0.5f), output(100 * shape.query_width());
    const auto append = [&](uint32_t which, uint32_t begin, uint32_t end) {
      std::vector<float> qkv(100 * shape.qkv_width(), 1.0f);
      const Span span{begin, end, 0, blocks[which].data()};
      for (uint32_t layer = 0; layer < 3; layer++) {
        backend.attend({shape, layer, {&span, 1}, qkv.data(), rotary.data(), output.data()});
      }
    };
    append(0, 0, 100);
    backend.erase(shape, {60, 70, 0, blocks[0].data()}, 0, 3);
    append(1, 0, 60);
    append(1, 70, 100);
    CHECK(std::memcmp(one.data(), other.data(), one.bytes()) == 0);
  }
}

TEST(draws_are_the_definition) {
  on_each_backend([](Backend& backend) {
    const uint32_t vocab = 1003, cols = 8;
    const Stored m = random_matrix(backend, MatrixType::f32, vocab, cols);
    const std::vector<float> input = random_values(cols);
    std::vector<float> logits(vocab), room(vocab);
    Projection head{.matrix = &m.matrix,
                    .input = input.data(),
                    .rows = 1,
                    .output = logits.data(),
                    .width = vocab};
    backend.project(head);
    head.output = room.data();
    for (uint32_t position = 0; position < 40; position++) {
      const float temperature = position % 4 == 0 ? 0.0f : 0.25f * float(position % 4);
      const Draw draw{temperature, position % 5 == 0 ? 20u : 0u, 12345, 6, position};
      uint32_t token;
      backend.draw(head, {&draw, 1}, &token);
      uint32_t best = 0;
      float score = 0;
      for (uint32_t v = 0; v < vocab; v++) {
        uint32_t before = 0;  // tokens ahead of v by (logit descending, id ascending)
        for (uint32_t u = 0; u < vocab && draw.top_k != 0; u++) {
          before += logits[u] > logits[v] || (logits[u] == logits[v] && u < v);
        }
        if (draw.top_k != 0 && before >= draw.top_k) continue;
        const float s = temperature == 0 ? logits[v]
                                         : logits[v] / temperature +
                                               numerics::token_noise(12345, 6, position, v);
        if (score == 0 || s > score) score = s, best = v;
      }
      CHECK_EQ(token, best);
    }
  });
}

TEST(rows_drawn_together_are_rows_drawn_alone) {
  on_each_backend([](Backend& backend) {
    const uint32_t vocab = 1003, cols = 8, rows = 3;
    const Stored m = random_matrix(backend, MatrixType::f32, vocab, cols);
    const std::vector<float> input = random_values(rows * cols);
    std::vector<float> room(rows * vocab);
    for (const uint32_t top_k : {0u, 20u}) {
      const Draw draws[rows] = {{1.0f, 0, 1, 2, 3}, {0.0f, 0, 1, 2, 4}, {0.5f, top_k, 1, 2, 5}};
      Projection head{.matrix = &m.matrix,
                      .input = input.data(),
                      .rows = rows,
                      .output = room.data(),
                      .width = vocab};
      uint32_t together[rows];
      backend.draw(head, draws, together);
      head.rows = 1;
      for (uint32_t r = 0; r < rows; r++) {
        head.input = input.data() + r * cols;
        uint32_t alone;
        backend.draw(head, {&draws[r], 1}, &alone);
        CHECK_EQ(together[r], alone);
      }
    }
  });
}

TEST(ties_go_to_the_lowest_token) {
  on_each_backend([](Backend& backend) {
    const uint32_t vocab = 20000;
    Matrix m{nullptr, vocab, 2, MatrixType::f32};
    Buffer tiles(backend, m.bytes());
    backend.zero(tiles.data(), tiles.bytes());
    m.tiles = tiles.data();
    const auto weight = [&](uint32_t v) -> float& {
      return reinterpret_cast<float*>(
          tiles.data() + v / 32 * m.tile_bytes())[tile_index(MatrixType::f32, v % 32, 0)];
    };
    for (const uint32_t v : {777u, 7000u, 19999u}) weight(v) = 3;
    const float input[2] = {1, 0};
    std::vector<float> logits(vocab);
    const Draw greedy{.temperature = 0};
    uint32_t token;
    backend.draw({.matrix = &m, .input = input, .rows = 1, .output = logits.data(), .width = vocab},
                 {&greedy, 1}, &token);
    CHECK_EQ(token, 777u);
  });
}

TEST(a_logit_that_is_not_finite_gives_no_token) {
  on_each_backend([](Backend& backend) {
    Matrix m{nullptr, 40, 2, MatrixType::f32};
    Buffer tiles(backend, m.bytes());
    backend.zero(tiles.data(), tiles.bytes());
    m.tiles = tiles.data();
    reinterpret_cast<float*>(tiles.data() + m.tile_bytes())[tile_index(MatrixType::f32, 7, 0)] =
        3e38f;
    const float input[2] = {1e5f, 0};
    std::vector<float> logits(40);
    for (const float temperature : {0.0f, 1.0f}) {
      const Draw draw{.temperature = temperature};
      uint32_t token = 0;
      backend.draw({.matrix = &m, .input = input, .rows = 1, .output = logits.data(), .width = 40},
                   {&draw, 1}, &token);
      CHECK_EQ(token, kNoToken);
    }
  });
}

TEST(mixtures_are_the_definition) {
  on_each_backend([](Backend& backend) {
    const uint32_t exits = 3, rows = 2, vocab = 517;
    const std::vector<float> logits = random_values(exits * rows * vocab);
    const std::vector<float> log_exit = {-0.5f, -1.0f, -2.0f, -0.25f, -3.0f, -40.0f};
    std::vector<float> output(rows * vocab);
    backend.mix({exits, rows, vocab, logits.data(), log_exit.data(), output.data()});
    int wrong = 0;
    for (uint32_t r = 0; r < rows; r++) {
      float norm[exits];
      for (uint32_t k = 0; k < exits; k++) {
        const float* l = &logits[(k * rows + r) * vocab];
        float max = l[0];
        for (uint32_t v = 1; v < vocab; v++) max = numerics::larger(max, l[v]);
        uint64_t sum = 0;
        for (uint32_t v = 0; v < vocab; v++)
          sum += numerics::fixed_point(numerics::exp(l[v] - max));
        norm[k] = max + numerics::log(numerics::from_fixed(sum));
      }
      for (uint32_t v = 0; v < vocab; v++) {
        float t[exits];
        for (uint32_t k = 0; k < exits; k++) {
          t[k] = log_exit[k * rows + r] + (logits[(k * rows + r) * vocab + v] - norm[k]);
        }
        const float m = numerics::larger(numerics::larger(t[0], t[1]), t[2]);
        float sum = 0;
        for (uint32_t k = 0; k < exits; k++) sum += numerics::exp(t[k] - m);
        wrong += !same(m + numerics::log(sum), output[r * vocab + v]);
      }
    }
    CHECK_EQ(wrong, 0);
  });
}
