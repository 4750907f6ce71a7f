// The dot on one tile over vectors: lanes hold outputs, so there is no horizontal sum, and a block
// of rows shares each weight loaded. A chunk of a tile stays in the first-level cache for the later
// blocks of rows.
#pragma once

#include "../../numerics/dot.h"
#include "../kernels.h"

#include NVIUM_VECTOR

namespace nvium::cpu {
namespace {

// How far ahead of its loads a kernel asks for weights, in bytes. One or two rows leave that to the
// processor.
constexpr size_t kPrefetchAhead = 8192;

// How one vector of weights of a type is loaded and multiplied. A step is a pair of elements for
// bf16, one element else.
template <DType type>
struct Lanes {
  static constexpr uint32_t steps = 2;  // of a pair
  using Weight = Vector::Float;
  static Weight load(const std::byte* w) {
    if constexpr (type == DType::f16) return Vector::widen(reinterpret_cast<const uint16_t*>(w));
    return Vector::load(reinterpret_cast<const float*>(w));
  }
  static Vector::Float multiply(Weight w, const std::byte* x, Vector::Float acc) {
    return Vector::fma(w, *reinterpret_cast<const float*>(x), acc);
  }
};

template <>
struct Lanes<DType::bf16> {
  static constexpr uint32_t steps = 1;
  using Weight = Vector::Pairs;
  static Weight load(const std::byte* w) {
    return Vector::load_pairs(reinterpret_cast<const uint32_t*>(w));
  }
  static Vector::Float multiply(Weight w, const std::byte* x, Vector::Float acc) {
    return Vector::multiply_pairs(w, *reinterpret_cast<const uint32_t*>(x), acc);
  }
};

// `Rows` rows through `pairs` pairs of a chunk at `w`, outputs [0, kPassOutputs); `x` is the
// chunk's operand of the first row and `stride` the bytes between its steps.
template <DType type, uint32_t Rows>
inline void dot_chunk(const std::byte* w, const std::byte* x, size_t stride, uint32_t pairs,
                      bool prefetch, float (*totals)[kTileRows]) {
  using L = Lanes<type>;
  constexpr uint32_t vectors = kPassOutputs / Vector::lanes;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  constexpr size_t step_bytes = pair_bytes / L::steps;
  constexpr size_t vector_bytes = step_bytes / kTileRows * Vector::lanes;
  Vector::Float acc[Rows][vectors];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) {
#pragma GCC unroll 8
    for (uint32_t v = 0; v < vectors; v++) acc[r][v] = Vector::zero();
  }
  const auto step = [&](const std::byte* at, const std::byte* xs) __attribute__((always_inline)) {
    typename L::Weight weights[vectors];
#pragma GCC unroll 8
    for (uint32_t v = 0; v < vectors; v++) weights[v] = L::load(at + v * vector_bytes);
#pragma GCC unroll 8
    for (uint32_t r = 0; r < Rows; r++) {
#pragma GCC unroll 8
      for (uint32_t v = 0; v < vectors; v++) {
        acc[r][v] = L::multiply(weights[v], xs + r * 4, acc[r][v]);
      }
    }
  };
  for (uint32_t p = 0; p < pairs; p++) {
    if constexpr (Rows > 2) {
      // Up to five rows the first line of each pair is enough: the processor brings its neighbour.
      if (prefetch) {
        const std::byte* ahead = w + kPrefetchAhead;
        __builtin_prefetch(ahead, 0, 2);
        if constexpr (Rows > 5) __builtin_prefetch(ahead + 64, 0, 2);
        if constexpr (Rows > 5 && pair_bytes > 128) {
          __builtin_prefetch(ahead + 128, 0, 2);
          __builtin_prefetch(ahead + 192, 0, 2);
        }
      }
    }
    // The odd element of a pair comes first.
    if constexpr (L::steps == 2) step(w + step_bytes, x + stride);
    step(w, x);
    w += pair_bytes;
    x += L::steps * stride;
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
inline void dot_block(uint32_t rows, const std::byte* w, const std::byte* x, size_t stride,
                      uint32_t pairs, bool prefetch, float (*totals)[kTileRows]) {
  if constexpr (Rows > 1) {
    if (rows < Rows) return dot_block<type, Rows - 1>(rows, w, x, stride, pairs, prefetch, totals);
  }
  dot_chunk<type, Rows>(w, x, stride, pairs, prefetch, totals);
}

// totals[row][output] of one tile and one group of rows.
template <DType type>
void dot_tile(const std::byte* tile, const std::byte* operand, uint32_t group, uint32_t cols,
              float (*totals)[kTileRows]) {
  constexpr uint32_t chunk_pairs = numerics::kDotChunk / 2;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  constexpr size_t output_bytes = pair_bytes / Lanes<type>::steps / kTileRows;
  const uint32_t pairs = even(cols) / 2;
  const size_t stride = size_t(group) * 4;
  for (uint32_t r = 0; r < group; r++) {
    for (uint32_t n = 0; n < kTileRows; n++) totals[r][n] = 0.0f;
  }
  for (uint32_t begin = 0; begin < pairs; begin += chunk_pairs) {
    const uint32_t count = pairs - begin < chunk_pairs ? pairs - begin : chunk_pairs;
    const std::byte* w = tile + begin * pair_bytes;
    const std::byte* x = operand + begin * Lanes<type>::steps * stride;
    for (uint32_t r = 0; r < group; r += kBlockRows) {
      const uint32_t rows = group - r < kBlockRows ? group - r : kBlockRows;
      for (uint32_t n = 0; n < kTileRows; n += kPassOutputs) {
        dot_block<type>(rows, w + n * output_bytes, x + r * 4, stride, count, r + n == 0,
                        reinterpret_cast<float(*)[kTileRows]>(totals[r] + n));
      }
    }
  }
}

}  // namespace
}  // namespace nvium::cpu
