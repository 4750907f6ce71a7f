// The dot on one tile over vectors: lanes hold outputs, so there is no horizontal sum, and a block
// of rows shares each weight loaded. A chunk of a tile stays in the first-level cache for the later
// blocks of rows.
#pragma once

#include "../../numerics/dot.h"
#include "operand.h"

#include NVIUM_VECTOR

namespace nvium::cpu {
namespace {

// How one vector of weights of a type is loaded as floats: of one step, the even (0) or odd (1)
// element of a pair of K; `pair` points at the vector's first output.
template <DType type, class V>
inline typename V::Float load_step(const std::byte* pair, uint32_t odd) {
  if constexpr (type == DType::bf16) {
    const uint32_t* both = reinterpret_cast<const uint32_t*>(pair);
    return odd ? V::high_halves(both) : V::low_halves(both);
  } else if constexpr (type == DType::f16) {
    return V::widen(reinterpret_cast<const uint16_t*>(pair) + odd * kTileRows);
  } else {
    return V::load(reinterpret_cast<const float*>(pair) + odd * kTileRows);
  }
}

// Asks for the pair of weights that lies kPrefetchAhead further on.
template <DType type, uint32_t Rows>
inline void expect_pair(const std::byte* pair) {
  constexpr size_t kLine = 64, kBytes = 2 * kTileRows * bytes_of(type);
  constexpr size_t kAsked = prefetched_lines(Rows) * kLine;
  for (size_t at = 0; at < kBytes && at < kAsked; at += kLine) {
    __builtin_prefetch(pair + kPrefetchAhead + at, 0, 2);
  }
}

// `Rows` rows through `pairs` pairs of a chunk at `w`, outputs [0, kPassOutputs); `x` is the
// chunk's operand of the first row. (V is a parameter so that a set without pairs need not have
// them.)
template <DType type, uint32_t Rows, class V = Vector>
inline void dot_chunk(const std::byte* w, const std::byte* x, uint32_t pairs, bool prefetch,
                      float (*totals)[kTileRows]) {
  constexpr uint32_t vectors = kPassOutputs / Vector::lanes;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  // Of a vector in a pair: bf16 holds both elements of an output, the others a step after the
  // other.
  constexpr size_t vector_bytes = Vector::lanes * (type == DType::bf16 ? 4 : bytes_of(type));
  Vector::Float acc[Rows][vectors];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (uint32_t v = 0; v < vectors; v++) acc[r][v] = Vector::zero();
  }
  for (uint32_t p = 0; p < pairs; p++) {
    if (prefetch) expect_pair<type, Rows>(w);
    if constexpr (type == DType::bf16 && kBf16Pairs) {
      typename V::Pairs weights[vectors];
#pragma GCC unroll 8
      for (uint32_t v = 0; v < vectors; v++) {
        weights[v] = V::load_pairs(reinterpret_cast<const uint32_t*>(w + v * vector_bytes));
      }
#pragma GCC unroll 8
      for (uint32_t r = 0; r < Rows; r++) {
        const auto* operand = reinterpret_cast<const uint32_t*>(x + r * kOperandRowBytes<type>);
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
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < Rows; r++) {
          const auto* operand = reinterpret_cast<const float*>(x + r * kOperandRowBytes<type>);
#pragma GCC unroll 8
          for (uint32_t v = 0; v < vectors; v++) {
            acc[r][v] = Vector::fma(weights[v], operand[2 * p + odd], acc[r][v]);
          }
        }
      }
    }
    w += pair_bytes;
  }
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (uint32_t v = 0; v < vectors; v++) {
      float* total = totals[r] + v * Vector::lanes;
      Vector::store(total, Vector::add(Vector::load(total), acc[r][v]));
    }
  }
}

// dot_chunk for the number of rows there are, at most kBlockRows.
template <DType type, uint32_t Rows = kBlockRows>
inline void dot_block(uint32_t rows, const std::byte* w, const std::byte* x, uint32_t pairs,
                      bool prefetch, float (*totals)[kTileRows]) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return dot_block<type, Rows - 1>(rows, w, x, pairs, prefetch, totals);
  }
  dot_chunk<type, Rows>(w, x, pairs, prefetch, totals);
}

// totals[row][output] of one tile and `group` rows, of an operand with `rows` rows.
template <DType type>
void dot_tile(const std::byte* tile, const std::byte* operand, uint32_t rows, uint32_t group,
              uint32_t cols, float (*totals)[kTileRows]) {
  constexpr uint32_t chunk_pairs = numerics::kDotChunk / 2;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  constexpr size_t output_bytes = type == DType::bf16 ? 4 : bytes_of(type);
  const uint32_t pairs = even(cols) / 2;
  for (uint32_t r = 0; r < group; r++) {
    for (uint32_t n = 0; n < kTileRows; n++) totals[r][n] = 0.0f;
  }
  for (uint32_t begin = 0; begin < pairs; begin += chunk_pairs) {
    const uint32_t count = pairs - begin < chunk_pairs ? pairs - begin : chunk_pairs;
    const std::byte* w = tile + begin * pair_bytes;
    for (uint32_t r = 0; r < group; r += kBlockRows) {
      const uint32_t block = group - r < kBlockRows ? group - r : kBlockRows;
      for (uint32_t n = 0; n < kTileRows; n += kPassOutputs) {
        dot_block<type>(block, w + n * output_bytes, operand + r * kOperandRowBytes<type>, count,
                        r + n == 0, reinterpret_cast<float(*)[kTileRows]>(totals[r] + n));
      }
    }
    operand += rows * kOperandRowBytes<type>;
  }
}

}  // namespace
}  // namespace nvium::cpu
