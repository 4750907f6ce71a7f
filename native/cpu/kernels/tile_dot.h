// What every instruction set's dot on one tile is asked for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nvium::cpu {
namespace {

// The dot of one tile with `group` rows of an operand: sums[row * stride + output], 32 outputs.
struct TileDot {
  const std::byte* tile;
  const std::byte* operand;  // of the first row
  uint32_t rows;             // of the operand
  uint32_t group;            // at most 32
  uint32_t cols;
  float* sums;
  uint32_t stride;
  // Null, or what is asked for meanwhile: as many bytes as the tile has, wanted at the same pace.
  const std::byte* ahead = nullptr;
};

}  // namespace
}  // namespace nvium::cpu
