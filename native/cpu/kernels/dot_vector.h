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

// The weights a part of a chunk asks for ahead, pair by pair: two lines of every 128 bytes, or one
// twice, at `at`, which moves by `step` a pair.
struct Ahead {
  const std::byte* at;
  size_t step;
  size_t second;
};

// `Rows` rows through `pairs` pairs of a chunk at `w`, outputs [0, kPassOutputs); `x` is the
// chunk's operand of the first row. (V is a parameter so that a set without pairs need not have
// them.)
template <DType type, uint32_t Rows, bool Asks, class V = Vector>
inline void dot_chunk(const std::byte* w, const std::byte* x, uint32_t pairs, Ahead ahead,
                      bool first, float* sums, uint32_t stride) {
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
    if constexpr (Asks) {
#pragma GCC unroll 2
      for (size_t i = 0; i < pair_bytes; i += 128) {
        __builtin_prefetch(ahead.at + i, 0, 2);
        __builtin_prefetch(ahead.at + i + ahead.second, 0, 2);
        if constexpr (kPrefetchNear > 0) {
          __builtin_prefetch(w + kPrefetchNear + i, 0, 3);
          __builtin_prefetch(w + kPrefetchNear + i + 64, 0, 3);
        }
      }
      ahead.at += ahead.step;
    }
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
      float* sum = sums + r * stride + v * Vector::lanes;
      Vector::store(sum, Vector::add(first ? Vector::zero() : Vector::load(sum), acc[r][v]));
    }
  }
}

// dot_chunk for the number of rows there are, at most kBlockRows.
template <DType type, bool Asks, uint32_t Rows = kBlockRows>
inline void dot_block(uint32_t rows, const std::byte* w, const std::byte* x, uint32_t pairs,
                      Ahead ahead, bool first, float* sums, uint32_t stride) {
  if constexpr (Rows > 1) {
    if (rows < Rows) {
      return dot_block<type, Asks, Rows - 1>(rows, w, x, pairs, ahead, first, sums, stride);
    }
  }
  dot_chunk<type, Rows, Asks>(w, x, pairs, ahead, first, sums, stride);
}

// A chunk goes by in parts, a block of rows through a pass of outputs each, and each part asks for
// its share of what lies ahead, so that memory is busy all the time.
template <DType type, bool Asks>
void dot_tile(const TileDot& t) {
  constexpr uint32_t chunk_pairs = numerics::kDotChunk / 2;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  constexpr size_t output_bytes = type == DType::bf16 ? 4 : bytes_of(type);
  const uint32_t pairs = even(t.cols) / 2;
  const uint32_t parts = ceil_div(t.group, kBlockRows) * (kTileRows / kPassOutputs);
  const size_t share = chunk_pairs * pair_bytes / parts;
  const std::byte* operand = t.operand;
  for (uint32_t begin = 0; begin < pairs; begin += chunk_pairs) {
    const uint32_t count = pairs - begin < chunk_pairs ? pairs - begin : chunk_pairs;
    const std::byte* w = t.tile + begin * pair_bytes;
    Ahead ahead{Asks ? t.ahead + begin * pair_bytes : nullptr, pair_bytes / parts,
                prefetches_neighbour(t.group) ? size_t{0} : 64};
    for (uint32_t r = 0; r < t.group; r += kBlockRows) {
      const uint32_t block = t.group - r < kBlockRows ? t.group - r : kBlockRows;
      for (uint32_t n = 0; n < kTileRows; n += kPassOutputs) {
        dot_block<type, Asks>(block, w + n * output_bytes, operand + r * kOperandRowBytes<type>,
                              count, ahead, begin == 0, t.sums + r * t.stride + n, t.stride);
        ahead.at += share;
      }
    }
    operand += t.rows * kOperandRowBytes<type>;
  }
}

template <DType type>
inline void dot_tile(const TileDot& t) {
  if (t.ahead != nullptr) {
    dot_tile<type, true>(t);
  } else {
    dot_tile<type, false>(t);
  }
}

}  // namespace
}  // namespace nvium::cpu
