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

// Tiles whose sums wait in the first-level cache to be finished together, and how many rows of a
// tile that may be. Stores of a few rows far apart after every tile disturb the stream of weights:
// with eight rows they cost a quarter. So their lines are asked for, too, before the tiles are
// read.
constexpr uint32_t kTilesTogether = 16;
constexpr uint32_t kRowsTogether = 2 * kGroupRows;

void project_tiles(const Projection& p, const std::byte* operand, uint32_t first, uint32_t last) {
  const Matrix& m = *p.matrix;
  const bool paired = p.activation == Activation::swiglu;
  const size_t tile_bytes = m.tile_bytes(), row_bytes = operand_row_bytes(operand_of(m.type));
  const uint32_t group_rows = p.rows < kGroupRows ? p.rows : kGroupRows;
  const uint32_t room = kRowsTogether / group_rows;
  const uint32_t together = room < kTilesTogether ? room : kTilesTogether;
  const uint32_t stride = together * kTileRows;
  alignas(64) float totals[kRowsTogether * kTileRows], up[kRowsTogether * kTileRows];
  for (uint32_t t = first; t < last; t += together) {
    const uint32_t tiles = last - t < together ? last - t : together;
    for (uint32_t begin = 0; begin < p.rows; begin += kGroupRows) {
      const uint32_t group = p.rows - begin < kGroupRows ? p.rows - begin : kGroupRows;
      const size_t distance =
          holds_integers(m.type) ? integers_ahead(group) : prefetch_ahead(group);
      const auto dot = [&](size_t tile, float* sums) {
        const std::byte* at = m.tiles + tile * tile_bytes;
        dot_tile(m.type, {.tile = at,
                          .operand = operand + begin * row_bytes,
                          .rows = p.rows,
                          .group = group,
                          .cols = m.cols,
                          .sums = sums,
                          .stride = stride,
                          .ahead = distance == 0 ? nullptr : at + distance});
      };
      for (uint32_t r = 0; r < group; r++) {
        const float* row = p.output + size_t(begin + r) * p.width + t * kTileRows;
        for (uint32_t n = 0; n < tiles * kTileRows; n += 64 / sizeof(float)) {
          __builtin_prefetch(row + n, 1, 3);
        }
      }
      for (uint32_t i = 0; i < tiles; i++) {
        const size_t tile = t + i;
        dot(paired ? 2 * tile : tile, totals + i * kTileRows);
        if (paired) dot(2 * tile + 1, up + i * kTileRows);
      }
      for (uint32_t r = 0; r < group; r++) {
        for (uint32_t i = 0; i < tiles; i++) {
          const uint32_t column = (t + i) * kTileRows, at = r * stride + i * kTileRows;
          const uint32_t count = p.width - column < kTileRows ? p.width - column : kTileRows;
          finish(p, totals + at, up + at, size_t(begin + r) * p.width + column, column, count);
        }
      }
    }
  }
}

}  // namespace
}  // namespace nvium::cpu
