// Around the smallest normal number, 2^-126: equal bits where no intermediate result other than
// zero is below 2^-125 (docs/numerics.md); below that it is told how many differ.
#include "both.h"

using namespace equality;

namespace {

// One output row and one row of activations, of which one or two products are not zero.
struct Term {
  uint32_t column;
  float weight, input;
};
struct Sum {
  std::vector<Term> terms;
  float bias = 0, residual = 0;
};

float sign(Random& random) { return random.coin() ? 1.0f : -1.0f; }

// With all 24 bits, or as many as an operand of the type has.
float mantissa(Random& random, MatrixType type) {
  const uint32_t bits = type == MatrixType::f32 ? 23 : 7;
  return 1 + float(random.below(1u << bits)) / float(1u << bits);
}

void put(Bytes& tiles, const Matrix& m, uint32_t row, uint32_t column, float value) {
  std::byte* tile = tiles.data() + row / kTileRows * m.tile_bytes();
  const size_t at = tile_index(m.type, row % kTileRows, column);
  if (m.type == MatrixType::f32) {
    reinterpret_cast<float*>(tile)[at] = value;
  } else if (m.type == MatrixType::bf16) {
    // Exact for what is put here, and subnormals stay.
    reinterpret_cast<uint16_t*>(tile)[at] = uint16_t(numerics::bits(value) >> 16);
  } else {
    // Only numbers of f16 are put here, its subnormals among them.
    uint16_t half = 0;
    while (numerics::f16_to_float(half) < std::abs(value)) half++;
    reinterpret_cast<uint16_t*>(tile)[at] = uint16_t(half | (value < 0 ? 0x8000 : 0));
  }
}

constexpr uint32_t kCols = 200;  // two chunks of the dot

// Row i of the activations belongs to sum i, and so does output i: all others are products of other
// sums' terms, which lie in columns of their own.
Bytes project(Backend& backend, MatrixType type, const std::vector<Sum>& sums,
              Activation activation = Activation::none) {
  Bytes result;
  for (size_t begin = 0; begin < sums.size(); begin += 16) {
    const uint32_t count = uint32_t(std::min<size_t>(16, sums.size() - begin));
    Matrix m{nullptr, count, kCols, type};
    Bytes tiles(m.bytes());
    std::vector<float> input(count * kCols), bias(count), residual(count * count);
    for (uint32_t i = 0; i < count; i++) {
      const Sum& sum = sums[begin + i];
      // Twelve columns a sum: those of the others are zero here.
      for (const Term& term : sum.terms) {
        const uint32_t column = 12 * i + term.column;
        put(tiles, m, i, column, term.weight);
        input[i * kCols + column] = term.input;
      }
      bias[i] = sum.bias;
      residual[i * count + i] = sum.residual;
    }
    const Buffer on = on_device(backend, tiles), x = on_device(backend, input),
                 b = on_device(backend, bias), r = on_device(backend, residual);
    m.tiles = on.data();
    Buffer output(backend, size_t(count) * count * 4);
    backend.project({.matrix = &m,
                     .input = x.floats(),
                     .rows = count,
                     .bias = b.floats(),
                     .residual = r.floats(),
                     .activation = activation,
                     .output = output.floats(),
                     .width = count});
    append(result, read(backend, output));
  }
  return result;
}

const char* name_of(MatrixType type) {
  return type == MatrixType::bf16 ? "bf16" : type == MatrixType::f16 ? "f16" : "f32";
}

constexpr MatrixType kTypes[] = {MatrixType::bf16, MatrixType::f16, MatrixType::f32};

// Products whose magnitudes lie in [2^low, 2^(low + 2)), rounded unless both operands are short.
std::vector<Sum> products(MatrixType type, int low) {
  Random random(1);
  std::vector<Sum> sums;
  for (int i = 0; i < 96; i++) {
    // f16 reaches down to 2^-24, so its activations do the rest.
    const int part = type == MatrixType::f16 ? -int(random.below(25)) : -30 - int(random.below(60));
    const float w = type == MatrixType::f16 ? 1.0f : mantissa(random, type);
    const float x = mantissa(random, type == MatrixType::bf16 ? type : MatrixType::f32);
    sums.push_back({{{random.below(12), sign(random) * std::ldexp(w, part),
                      sign(random) * std::ldexp(x, low - part)}}});
  }
  return sums;
}

// Two terms, of which the second takes away from the first until about 2^low is left.
std::vector<Sum> differences(int low) {
  Random random(2);
  std::vector<Sum> sums;
  while (sums.size() < 96) {
    const float s = sign(random), a = std::ldexp(mantissa(random, MatrixType::bf16), low + 3),
                b = std::ldexp(mantissa(random, MatrixType::bf16), low + 3);
    const double left = std::abs(double(a) - double(b));
    if (left != 0 && (left < std::ldexp(1, low) || left >= std::ldexp(1, low + 2))) continue;
    const uint32_t column = random.below(11);
    switch (random.below(3)) {
      case 0:
        sums.push_back({{{column, 1, s * a}, {column + 1, 1, -s * b}}});
        break;
      case 1:
        sums.push_back({{{column, 1, s * a}}, -s * b});
        break;
      default:
        sums.push_back({{{column, 1, s * a}}, 0, -s * b});
    }
  }
  return sums;
}

// Each value as a bias: what activations make of it.
std::vector<Sum> biases(const std::vector<float>& values) {
  std::vector<Sum> sums;
  for (const float v : values) sums.push_back({{}, v});
  return sums;
}

std::vector<float> range(float first, float last, int count) {
  std::vector<float> values;
  for (int i = 0; i < count; i++) {
    values.push_back(first + (last - first) * float(i) / float(count - 1));
  }
  return values;
}

// Of both signs, with random mantissas.
std::vector<float> of_exponents(int first, int last) {
  Random random(3);
  std::vector<float> values;
  for (int e = first; e <= last; e++) {
    for (int i = 0; i < 8; i++) {
      values.push_back(sign(random) * std::ldexp(mantissa(random, MatrixType::f32), e));
    }
  }
  return values;
}

}  // namespace

TEST(products_and_sums_down_to_twice_the_smallest_normal) {
  for (const MatrixType type : kTypes) {
    same_on_both(std::string("products, ") + name_of(type),
                 [&](Backend& b) { return project(b, type, products(type, -125)); });
    same_on_both(std::string("differences, ") + name_of(type),
                 [&](Backend& b) { return project(b, type, differences(-125)); });
  }
}

// An operand that is subnormal is a zero; one of the smallest normal numbers is not.
TEST(subnormal_operands_are_zeros) {
  for (const MatrixType type : kTypes) {
    std::vector<Sum> sums;
    for (const float small : {0x1p-126f, -0x1p-126f, 0x1.8p-126f, 0x1.fcp-127f, 0x1p-127f,
                              -0x1.4p-130f, 0x1p-133f, 0x1p-149f}) {
      // As activations; as weights, where these are not f16; as what is added.
      sums.push_back({{{5, 1, small}}});
      sums.push_back({{{6, 0.5f, small}, {7, 1, 1}}});
      if (type != MatrixType::f16) sums.push_back({{{3, small, 1}}});
      if (type != MatrixType::f16) sums.push_back({{{4, small, 0x1.8p+100f}}});
      sums.push_back({{{2, 1, 0x1.8p-120f}}, small});
      sums.push_back({{{1, 1, 0x1.8p-120f}}, 0, small});
    }
    // Subnormal numbers of f16 are no zeros.
    if (type == MatrixType::f16) {
      for (const float w : {0x1p-24f, 0x1.8p-16f, -0x1p-15f}) sums.push_back({{{9, w, 0x1p-100f}}});
    }
    same_on_both(std::string("subnormal operands, ") + name_of(type),
                 [&](Backend& b) { return project(b, type, sums); });
  }
}

TEST(activations_with_small_results) {
  std::vector<float> silu = range(-86.6f, -80, 60), gelu = range(-13.5f, -10, 60);
  for (const float v : of_exponents(-124, -118)) silu.push_back(v);
  for (const float v : of_exponents(-122, -116)) gelu.push_back(v);
  same_on_both("silu", [&](Backend& b) {
    return project(b, MatrixType::f32, biases(silu), Activation::silu);
  });
  same_on_both("gelu", [&](Backend& b) {
    return project(b, MatrixType::f32, biases(gelu), Activation::gelu);
  });
}

namespace {

// RMSNorm of small numbers, made visible by a product with one.
Bytes norm(Backend& backend, float size, float epsilon) {
  Random random(4);
  const uint32_t rows = 4;
  std::vector<float> input(rows * kCols);
  for (float& v : input) v = sign(random) * size * mantissa(random, MatrixType::f32);
  Matrix m{nullptr, 1, kCols, MatrixType::f32};
  Bytes tiles(m.bytes());
  put(tiles, m, 0, 0, 1);
  const Buffer on = on_device(backend, tiles), x = on_device(backend, input),
               ones = on_device(backend, std::vector<float>(kCols, 1));
  m.tiles = on.data();
  Buffer output(backend, rows * 4), normed(backend, x.bytes());
  backend.project({.matrix = &m,
                   .input = x.floats(),
                   .rows = rows,
                   .norm = ones.floats(),
                   .epsilon = epsilon,
                   .normed = normed.floats(),
                   .output = output.floats(),
                   .width = 1});
  return read(backend, normed);
}

// One head of 8: scores fall by `fall` from position to position, values have the size `value`.
Bytes attend(Backend& backend, CacheType type, float fall, float value) {
  Random random(5);
  const CacheShape shape{1, 1, 1, 8, type};
  const uint32_t rows = 80, blocks = 2;
  Buffer memory(backend, blocks * shape.block_bytes());
  backend.zero(memory.data(), memory.bytes());
  std::byte* const table[] = {memory.data(), memory.data() + shape.block_bytes()};
  // Nothing turns: cosines of one.
  std::vector<float> still(rows * 8);
  for (size_t i = 0; i < still.size(); i += 2) still[i] = 1;
  const Buffer rotary = on_device(backend, still);
  std::vector<float> qkv(rows * 24);
  for (uint32_t r = 0; r < rows; r++) {
    qkv[r * 24] = std::sqrt(8.0f);
    qkv[r * 24 + 8] = -fall * float(r % 8);
    for (uint32_t i = 0; i < 8; i++) {
      qkv[r * 24 + 16 + i] = sign(random) * value * mantissa(random, MatrixType::f32);
    }
  }
  const Buffer on = on_device(backend, qkv);
  Buffer output(backend, rows * 8 * 4);
  const Span span{0, rows, 0, table};
  backend.attend({shape, 0, {&span, 1}, on.floats(), rotary.floats(), output.floats()});
  Bytes result = read(backend, output);
  append(result, read(backend, memory));
  return result;
}

}  // namespace

TEST(norms_of_small_numbers) {
  same_on_both("squares from 2^-124 on", [](Backend& b) { return norm(b, 0x1p-62f, 0); });
  same_on_both("squares that are zeros", [](Backend& b) { return norm(b, 0x1p-80f, 1e-6f); });
}

// exp(-12.2 * 7) is 2^-123.2.
TEST(attention_with_small_weights_and_small_values) {
  for (const CacheType type : {CacheType::bf16, CacheType::f32}) {
    same_on_both(std::string("small weights, ") + name_of(tiles_of(type)),
                 [&](Backend& b) { return attend(b, type, 12.2f, 4); });
    same_on_both(std::string("weights that are zeros, ") + name_of(tiles_of(type)),
                 [&](Backend& b) { return attend(b, type, 90, 4); });
    same_on_both(std::string("values that are zeros, ") + name_of(tiles_of(type)),
                 [&](Backend& b) { return attend(b, type, 0, 0x1p-128f); });
  }
}

TEST(what_is_below_and_not_promised) {
  for (const MatrixType type : kTypes) {
    told_on_both(std::string("products from 2^-128 on, ") + name_of(type),
                 [&](Backend& b) { return project(b, type, products(type, -128)); });
    told_on_both(std::string("differences from 2^-128 on, ") + name_of(type),
                 [&](Backend& b) { return project(b, type, differences(-128)); });
  }
  // Just below 2^-126, and so near that they round up to it: (1 + e)(1 - e) = 1 - e^2; and 2^-126
  // less almost nothing.
  std::vector<Sum> squares, almost;
  for (uint32_t k = 1; k < 1500; k += 31) {
    const float e = float(k) * 0x1p-23f;
    squares.push_back({{{k % 12, (1 + e) * 0x1p-60f, (1 - e) * 0x1p-66f}}});
    squares.push_back({{{k % 12, -(1 + e) * 0x1p-60f, (1 - e) * 0x1p-66f}}});
    const int far = -151 - int(k % 20);
    almost.push_back({{{1, 0x1p-60f, 0x1p-66f}, {0, -0x1p-70f, std::ldexp(1.0f, far + 70)}}});
  }
  told_on_both("products that round up to 2^-126, f32",
               [&](Backend& b) { return project(b, MatrixType::f32, squares); });
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f32}) {
    told_on_both(std::string("sums that round up to 2^-126, ") + name_of(type),
                 [&](Backend& b) { return project(b, type, almost); });
  }
  told_on_both("silu from -90 to -86.6", [](Backend& b) {
    return project(b, MatrixType::f32, biases(range(-90, -86.6f, 96)), Activation::silu);
  });
  told_on_both("silu of 2^-127 to 2^-124", [](Backend& b) {
    return project(b, MatrixType::f32, biases(of_exponents(-127, -125)), Activation::silu);
  });
  told_on_both("gelu of 2^-127 to 2^-122", [](Backend& b) {
    return project(b, MatrixType::f32, biases(of_exponents(-127, -123)), Activation::gelu);
  });
  told_on_both("norms of squares from 2^-128 on", [](Backend& b) { return norm(b, 0x1p-64f, 0); });
  for (const CacheType type : {CacheType::bf16, CacheType::f32}) {
    told_on_both(std::string("attention with weights from 2^-128 on, ") + name_of(tiles_of(type)),
                 [&](Backend& b) { return attend(b, type, 12.45f, 0.01f); });
    told_on_both(std::string("attention with values from 2^-126 on, ") + name_of(tiles_of(type)),
                 [&](Backend& b) { return attend(b, type, 0.1f, 0x1p-126f); });
  }
}
