// The dot on one tile, by the matrix's type.
#pragma once

#include "../kernels.h"

// The pragma of an instruction set defines these as the compiler option would.
#if defined(__AVX512BF16__)
#include "dot_avx512.h"
#else
#include "dot_portable.h"
#endif

namespace nvium::cpu {
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
}  // namespace nvium::cpu
