// The dot on one tile over vectors: lanes hold outputs, so there is no horizontal sum, and a block
// of rows shares each weight loaded. A chunk of a tile stays in the first-level cache for the later
// blocks of rows.
#pragma once

#include "../../numerics/dot.h"
#include "operand.h"
#include "tile_dot.h"

#include NVIUM_VECTOR

namespace nvium::cpu {
namespace {

// How one vector of weights of a type is loaded as floats: of one step, the even (0) or odd (1)
// element of a pair of K; `pair` points at the vector's first output.
template <MatrixType type, class V>
inline typename V::Float load_step(const std::byte* pair, uint32_t odd) {
  if constexpr (type == MatrixType::bf16) {
    const uint32_t* both = reinterpret_cast<const uint32_t*>(pair);
    return odd ? V::high_halves(both) : V::low_halves(both);
  } else if constexpr (type == MatrixType::f16) {
    return V::widen(reinterpret_cast<const uint16_t*>(pair) + odd * kTileRows);
  } else if constexpr (type == MatrixType::bytes) {
    return V::widen(reinterpret_cast<const int8_t*>(pair) + odd * kTileRows);
  } else {
    return V::load(reinterpret_cast<const float*>(pair) + odd * kTileRows);
  }
}

// Whether weights of a type are kept as floats, in the first-level cache, for the later blocks of
// rows, which would widen them again: with two vectors of outputs and eight rows an eighth of the
// arithmetic.
template <MatrixType type>
constexpr bool kKeepsWidened = type != MatrixType::f32 && !(type == MatrixType::bf16 && kBf16Pairs);

// What a part of a chunk asks for ahead, `asked` bytes a pair from `at`, which moves by `step` a
// pair. A part that is all of its chunk asks for as many as a pair has: of every 128 bytes two
// lines, or one twice, `second` bytes apart.
struct Ahead {
  const std::byte* at;
  size_t step;
  size_t second;
};

// `Rows` rows through `pairs` pairs of a chunk at `w`, outputs [0, kPassOutputs); `x` is the
// chunk's operand of the first row. Where `Keeps`, the weights are left as floats at `kept`, as a
// tile of f32 has them. (V is a parameter so that a set without pairs need not have them.)
template <MatrixType type, uint32_t Rows, size_t asked, bool Keeps, class V = Vector>
inline void dot_chunk(const std::byte* w, const std::byte* x, uint32_t pairs, Ahead ahead,
                      bool first, float* sums, uint32_t stride, float* kept) {
  constexpr uint32_t vectors = kPassOutputs / Vector::lanes;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  // Of a vector in a pair: bf16 holds both elements of an output, the others a step after the
  // other.
  constexpr size_t vector_bytes = Vector::lanes * (type == MatrixType::bf16 ? 4 : bytes_of(type));
  Vector::Float acc[Rows][vectors];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (uint32_t v = 0; v < vectors; v++) acc[r][v] = Vector::zero();
  }
  for (uint32_t p = 0; p < pairs; p++) {
    if constexpr (asked == pair_bytes) {
#pragma GCC unroll 2
      for (size_t i = 0; i < asked; i += 128) {
        __builtin_prefetch(ahead.at + i, 0, 2);
        __builtin_prefetch(ahead.at + i + ahead.second, 0, 2);
        if constexpr (kPrefetchNear > 0) {
          __builtin_prefetch(w + kPrefetchNear + i, 0, 3);
          __builtin_prefetch(w + kPrefetchNear + i + 64, 0, 3);
        }
      }
    } else {
#pragma GCC unroll 2
      for (size_t i = 0; i < asked; i += 64) __builtin_prefetch(ahead.at + i, 0, 2);
    }
    ahead.at += ahead.step;
    if constexpr (type == MatrixType::bf16 && kBf16Pairs) {
      typename V::Pairs weights[vectors];
#pragma GCC unroll 8
      for (uint32_t v = 0; v < vectors; v++) {
        weights[v] = V::load_pairs(reinterpret_cast<const uint32_t*>(w + v * vector_bytes));
      }
#pragma GCC unroll 8
      for (uint32_t r = 0; r < Rows; r++) {
        const auto* operand =
            reinterpret_cast<const uint32_t*>(x + r * kOperandRowBytes<operand_of(type)>);
#pragma GCC unroll 8
        for (uint32_t v = 0; v < vectors; v++) {
          acc[r][v] = V::multiply_pairs(weights[v], operand[p], acc[r][v]);
        }
      }
    } else {
      // The odd element of a pair comes first.
#pragma GCC unroll 2
      for (uint32_t step = 0; step < 2; step++) {
        const uint32_t odd = 1 - step;
        Vector::Float weights[vectors];
#pragma GCC unroll 8
        for (uint32_t v = 0; v < vectors; v++) {
          weights[v] = load_step<type, V>(w + v * vector_bytes, odd);
          if constexpr (Keeps)
            Vector::store(kept + odd * kTileRows + v * Vector::lanes, weights[v]);
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < Rows; r++) {
          const auto* operand =
              reinterpret_cast<const float*>(x + r * kOperandRowBytes<operand_of(type)>);
#pragma GCC unroll 8
          for (uint32_t v = 0; v < vectors; v++) {
            acc[r][v] = Vector::fma(weights[v], operand[2 * p + odd], acc[r][v]);
          }
        }
      }
    }
    w += pair_bytes;
    if constexpr (Keeps) kept += 2 * kTileRows;
  }
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (uint32_t v = 0; v < vectors; v++) {
      float* sum = sums + r * stride + v * Vector::lanes;
      Vector::store(sum, Vector::add(first ? Vector::zero() : Vector::load(sum), acc[r][v]));
    }
  }
}

// dot_chunk for the number of rows there are, at most kBlockRows.
template <MatrixType type, size_t asked, uint32_t Rows = kBlockRows>
inline void dot_block(uint32_t rows, const std::byte* w, const std::byte* x, uint32_t pairs,
                      Ahead ahead, bool first, float* sums, uint32_t stride) {
  if constexpr (Rows > 1) {
    if (rows < Rows) {
      return dot_block<type, asked, Rows - 1>(rows, w, x, pairs, ahead, first, sums, stride);
    }
  }
  dot_chunk<type, Rows, asked, false>(w, x, pairs, ahead, first, sums, stride, nullptr);
}

// A chunk goes by in parts, a block of rows through a pass of outputs each, and each part asks for
// its share of what lies ahead, so that memory is busy all the time.
template <MatrixType type, size_t asked>
void dot_tile(const TileDot& t) {
  constexpr uint32_t chunk_pairs = numerics::kDotChunk / 2;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  constexpr size_t output_bytes = type == MatrixType::bf16 ? 4 : bytes_of(type);
  const uint32_t pairs = even(t.cols) / 2;
  const uint32_t parts = ceil_div(t.group, kBlockRows) * (kTileRows / kPassOutputs);
  const size_t share = chunk_pairs * pair_bytes / parts;
  const std::byte* operand = t.operand;
  alignas(64) float kept[kKeepsWidened<type> ? numerics::kDotChunk * kTileRows : 1];
  for (uint32_t begin = 0; begin < pairs; begin += chunk_pairs) {
    const uint32_t count = pairs - begin < chunk_pairs ? pairs - begin : chunk_pairs;
    const std::byte* w = t.tile + begin * pair_bytes;
    Ahead ahead{asked == 0 ? w : t.ahead + begin * pair_bytes, pair_bytes / parts,
                prefetches_neighbour(t.group) ? size_t{0} : 64};
    for (uint32_t r = 0; r < t.group; r += kBlockRows) {
      const uint32_t block = t.group - r < kBlockRows ? t.group - r : kBlockRows;
      const std::byte* x = operand + r * kOperandRowBytes<operand_of(type)>;
      for (uint32_t n = 0; n < kTileRows; n += kPassOutputs) {
        const std::byte* here = w + n * output_bytes;
        float* sums = t.sums + r * t.stride + n;
        if (!kKeepsWidened<type> || t.group <= kBlockRows) {
          dot_block<type, asked>(block, here, x, count, ahead, begin == 0, sums, t.stride);
        } else if (r == 0) {
          dot_chunk<type, kBlockRows, asked, true>(here, x, count, ahead, begin == 0, sums,
                                                   t.stride, kept + n);
        } else {
          dot_block<MatrixType::f32, asked>(block, reinterpret_cast<const std::byte*>(kept + n), x,
                                            count, ahead, begin == 0, sums, t.stride);
        }
        ahead.at += share;
      }
    }
    operand += t.rows * kOperandRowBytes<operand_of(type)>;
  }
}

template <MatrixType type>
inline void dot_tile(const TileDot& t) {
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  if (t.ahead == nullptr) {
    dot_tile<type, 0>(t);
  } else if (kPassOutputs < kTileRows || t.group > kBlockRows) {
    dot_tile<type, pair_bytes / 2>(t);
  } else {
    dot_tile<type, pair_bytes>(t);
  }
}

}  // namespace
}  // namespace nvium::cpu
