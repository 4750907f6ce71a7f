// The dot on one tile, for any processor: plain loops over the 32 outputs, which any compiler turns
// into what vectors there are.
#pragma once

#include "../../numerics/dot.h"
#include "../../numerics/types.h"
#include "operand.h"
#include "tile_dot.h"

namespace nvium::cpu {
namespace {

// One step for all outputs of a tile: acc[n] = fma(weight n, x, acc[n]), with the even (0) or odd
// (1) element of the pair of K at `pair`.
template <MatrixType type>
inline void step(const std::byte* pair, uint32_t odd, float x, float* acc) {
  if constexpr (type == MatrixType::f32) {
    const float* w = reinterpret_cast<const float*>(pair) + odd * kTileRows;
    for (uint32_t n = 0; n < kTileRows; n++) acc[n] = numerics::fma(w[n], x, acc[n]);
  } else if constexpr (type == MatrixType::f16) {
    const uint16_t* w = reinterpret_cast<const uint16_t*>(pair) + odd * kTileRows;
    for (uint32_t n = 0; n < kTileRows; n++) {
      acc[n] = numerics::fma(numerics::f16_to_float(w[n]), x, acc[n]);
    }
  } else if constexpr (type == MatrixType::bytes) {
    const int8_t* w = reinterpret_cast<const int8_t*>(pair) + odd * kTileRows;
    for (uint32_t n = 0; n < kTileRows; n++) acc[n] = numerics::fma(float(w[n]), x, acc[n]);
  } else {
    const uint32_t* w = reinterpret_cast<const uint32_t*>(pair);
    for (uint32_t n = 0; n < kTileRows; n++) {
      const float weight = numerics::bf16_to_float(uint16_t(odd ? w[n] >> 16 : w[n]));
      acc[n] = numerics::fma_bf16(weight, x, acc[n]);
    }
  }
}

// Weights are not asked for ahead.
constexpr size_t prefetch_ahead(uint32_t) { return 0; }
constexpr size_t integers_ahead(uint32_t) { return 0; }

template <MatrixType type>
void dot_tile(const TileDot& t) {
  constexpr uint32_t chunk_pairs = numerics::kDotChunk / 2;
  constexpr size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  const uint32_t pairs = even(t.cols) / 2;
  for (uint32_t row = 0; row < t.group; row++) {
    float* sums = t.sums + row * t.stride;
    for (uint32_t n = 0; n < kTileRows; n++) sums[n] = 0.0f;
    const std::byte* chunk = t.operand + row * kOperandRowBytes<operand_of(type)>;
    for (uint32_t begin = 0; begin < pairs; begin += chunk_pairs) {
      const uint32_t count = pairs - begin < chunk_pairs ? pairs - begin : chunk_pairs;
      const float* x = reinterpret_cast<const float*>(chunk);
      const std::byte* w = t.tile + begin * pair_bytes;
      float acc[kTileRows] = {};
      for (uint32_t p = 0; p < count; p++) {
        step<type>(w, 1, x[2 * p + 1], acc);
        step<type>(w, 0, x[2 * p], acc);
        w += pair_bytes;
      }
      for (uint32_t n = 0; n < kTileRows; n++) sums[n] += acc[n];
      chunk += t.rows * kOperandRowBytes<operand_of(type)>;
    }
  }
}

// The integer of output n and column 4 q + j of the elements of a group, at `w`.
template <MatrixType type>
inline int32_t integer_at(const std::byte* w, uint32_t q, uint32_t n, uint32_t j) {
  if constexpr (type == MatrixType::int8) {
    return int32_t(uint8_t(w[(q * kTileRows + n) * 4 + j])) - 128;
  } else {
    const uint8_t both = uint8_t(w[(q / 2 * kTileRows + n) * 4 + j]);
    return int32_t(q & 1 ? both >> 4 : both & 15) - 8;
  }
}

template <MatrixType type>
void dot_integers(const TileDot& t) {
  constexpr uint32_t group_columns = nvium::group_columns(type);
  const uint32_t cols = ceil_div(t.cols, kIntegerBlock) * kIntegerBlock;
  for (uint32_t row = 0; row < t.group; row++) {
    float* totals = t.sums + row * t.stride;
    for (uint32_t n = 0; n < kTileRows; n++) totals[n] = 0.0f;
    const std::byte* w = t.tile;
    for (uint32_t chunk = 0; chunk < cols; chunk += numerics::kDotChunk) {
      const size_t at = chunk / numerics::kDotChunk * t.rows + row;
      const IntegerChunk& x = reinterpret_cast<const IntegerChunk*>(t.operand)[at];
      float sums[kTileRows] = {};
      for (uint32_t group = 0; group < numerics::kDotChunk && chunk + group < cols;
           group += group_columns) {
        const uint16_t* scales = reinterpret_cast<const uint16_t*>(w);
        w += kScalesBytes;
        const uint32_t left = cols - chunk - group;
        const uint32_t columns = left < group_columns ? left : group_columns;
        int32_t products[kTileRows] = {};
        for (uint32_t k = 0; k < columns; k++) {
          const int32_t p = x.values[group + k];
          for (uint32_t n = 0; n < kTileRows; n++) {
            products[n] += integer_at<type>(w, k / 4, n, k % 4) * p;
          }
        }
        for (uint32_t n = 0; n < kTileRows; n++) {
          sums[n] = numerics::fma(float(products[n]), numerics::bf16_to_float(scales[n]), sums[n]);
        }
        w += columns / kIntegerBlock * block_bytes(type);
      }
      for (uint32_t n = 0; n < kTileRows; n++) {
        totals[n] = numerics::fma(sums[n], x.step, totals[n]);
      }
    }
  }
}

}  // namespace
}  // namespace nvium::cpu
