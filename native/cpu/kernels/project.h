// Products: the dot on a run of tiles, and what follows it while the sums are at hand.
#pragma once

#include "../../numerics/functions.h"
#include "../kernels.h"
#include "dot.h"

namespace nvium::cpu {
namespace {

// One row of one output tile: bias, activation, residual. Done on all 32 lanes, stored for the
// `count` that exist.
inline void finish(const Projection& p, const float* total, const float* up, size_t at,
                   uint32_t column, uint32_t count) {
  float value[kTileRows];
  for (uint32_t n = 0; n < kTileRows; n++) value[n] = total[n];
  if (p.bias != nullptr) {
    for (uint32_t n = 0; n < count; n++) value[n] += p.bias[column + n];
  }
  switch (p.activation) {
    case Activation::none:
      break;
    case Activation::silu:
      for (uint32_t n = 0; n < kTileRows; n++) value[n] = numerics::silu(value[n]);
      break;
    case Activation::gelu:
      for (uint32_t n = 0; n < kTileRows; n++) value[n] = numerics::gelu(value[n]);
      break;
    case Activation::swiglu:
      for (uint32_t n = 0; n < kTileRows; n++) value[n] = numerics::silu(value[n]) * up[n];
      break;
  }
  if (p.residual != nullptr) {
    for (uint32_t n = 0; n < count; n++) value[n] += p.residual[at + n];
  }
  for (uint32_t n = 0; n < count; n++) p.output[at + n] = value[n];
}

void project_tiles(const Projection& p, const std::byte* operand, uint32_t first, uint32_t last) {
  const Matrix& m = *p.matrix;
  const bool paired = p.activation == Activation::swiglu;
  const size_t tile_bytes = m.tile_bytes();
  const size_t row_bytes = operand_row_bytes(m.type);
  alignas(64) float totals[kGroupRows][kTileRows];
  alignas(64) float up[kGroupRows][kTileRows];
  for (uint32_t t = first; t < last; t++) {
    const std::byte* tile = m.tiles + (paired ? 2 * size_t(t) : t) * tile_bytes;
    const uint32_t column = t * kTileRows;
    const uint32_t count = p.width - column < kTileRows ? p.width - column : kTileRows;
    for (uint32_t begin = 0; begin < p.rows; begin += kGroupRows) {
      const uint32_t group = p.rows - begin < kGroupRows ? p.rows - begin : kGroupRows;
      const std::byte* x = operand + begin * row_bytes;
      dot_tile(m.type, tile, x, p.rows, group, m.cols, totals);
      if (paired) dot_tile(m.type, tile + tile_bytes, x, p.rows, group, m.cols, up);
      for (uint32_t r = 0; r < group; r++) {
        finish(p, totals[r], up[r], size_t(begin + r) * p.width + column, column, count);
      }
    }
  }
}

}  // namespace
}  // namespace nvium::cpu
