// The dot on one tile, by the matrix's type.
#pragma once

namespace {

inline void dot_tile(DType type, const std::byte* tile, const std::byte* operand, uint32_t group,
                     uint32_t cols, float (*totals)[kTileRows]) {
  switch (type) {
    case DType::bf16:
      return dot_tile<DType::bf16>(tile, operand, group, cols, totals);
    case DType::f16:
      return dot_tile<DType::f16>(tile, operand, group, cols, totals);
    case DType::f32:
      return dot_tile<DType::f32>(tile, operand, group, cols, totals);
  }
}

}  // namespace
