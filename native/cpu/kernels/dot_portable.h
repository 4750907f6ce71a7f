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

}  // namespace
}  // namespace nvium::cpu
