// The dot on one tile, for any processor: plain loops over the 32 outputs, which any compiler turns
// into what vectors there are.
#pragma once

#include "../../numerics/dot.h"
#include "../../numerics/types.h"
#include "../kernels.h"

namespace nvium::cpu {
namespace {

// One step for all outputs of a tile: acc[n] = fma(weight n, x, acc[n]).
template <DType type>
inline void step(const std::byte* weights, float x, float* acc) {
  if constexpr (type == DType::f32) {
    const float* w = reinterpret_cast<const float*>(weights);
    for (uint32_t n = 0; n < kTileRows; n++) acc[n] = numerics::fma(w[n], x, acc[n]);
  } else {
    const uint16_t* w = reinterpret_cast<const uint16_t*>(weights);
    for (uint32_t n = 0; n < kTileRows; n++) {
      acc[n] = numerics::fma(numerics::f16_to_float(w[n]), x, acc[n]);
    }
  }
}

// totals[row][output] of one tile and one group of rows.
template <DType type>
void dot_tile(const std::byte* tile, const std::byte* operand, uint32_t group, uint32_t cols,
              float (*totals)[kTileRows]) {
  const uint32_t pairs = even(cols) / 2;
  for (uint32_t row = 0; row < group; row++) {
    float* total = totals[row];
    for (uint32_t n = 0; n < kTileRows; n++) total[n] = 0.0f;
    for (uint32_t begin = 0; begin < pairs; begin += numerics::kDotChunk / 2) {
      const uint32_t end =
          begin + numerics::kDotChunk / 2 < pairs ? begin + numerics::kDotChunk / 2 : pairs;
      float acc[kTileRows] = {};
      for (uint32_t p = begin; p < end; p++) {
        if constexpr (type == DType::bf16) {
          const uint32_t x = reinterpret_cast<const uint32_t*>(operand)[size_t(p) * group + row];
          const float odd = numerics::bf16_to_float(uint16_t(x >> 16));
          const float even = numerics::bf16_to_float(uint16_t(x));
          const uint32_t* w = reinterpret_cast<const uint32_t*>(tile) + size_t(p) * kTileRows;
          for (uint32_t n = 0; n < kTileRows; n++) {
            acc[n] = numerics::fma_bf16(numerics::bf16_to_float(uint16_t(w[n] >> 16)), odd, acc[n]);
            acc[n] = numerics::fma_bf16(numerics::bf16_to_float(uint16_t(w[n])), even, acc[n]);
          }
        } else {
          const float* x = reinterpret_cast<const float*>(operand) + size_t(p) * 2 * group + row;
          const std::byte* w = tile + size_t(p) * 2 * kTileRows * bytes_of(type);
          step<type>(w + kTileRows * bytes_of(type), x[group], acc);
          step<type>(w, x[0], acc);
        }
      }
      for (uint32_t n = 0; n < kTileRows; n++) total[n] += acc[n];
    }
  }
}

}  // namespace
}  // namespace nvium::cpu
