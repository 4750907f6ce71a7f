// Rows to operands: RMSNorm where asked for, and rounding to the matrix's operand type.
#pragma once

#include "../../numerics/sums.h"
#include "../kernels.h"
#include "operand.h"

namespace nvium::cpu {
namespace {

// 1 / sqrt(mean square + epsilon) of a row, by docs/numerics.md.
inline float row_scale(const float* row, uint32_t width, float epsilon) {
  return numerics::norm_scale(numerics::sum_of_squares(row, int(width)), int(width), epsilon);
}

void pack_rows(const Pack& pack, uint32_t first, uint32_t last) {
  const uint32_t cols = pack.cols;
  for (uint32_t row = first; row < last; row++) {
    const float* input = pack.input + size_t(row) * cols;
    if (pack.norm == nullptr) {
      store_operand(pack.type, pack.operand, pack.rows, row, cols,
                    [=](size_t i) { return input[i]; });
      continue;
    }
    const float scale = row_scale(input, cols, pack.epsilon);
    const float* norm = pack.norm;
    if (pack.normed != nullptr) {
      float* normed = pack.normed + size_t(row) * cols;
      for (size_t i = 0; i < cols; i++) {
        normed[i] = numerics::normalised(input[i], scale, norm[i]);
      }
    }
    store_operand(pack.type, pack.operand, pack.rows, row, cols,
                  [=](size_t i) { return numerics::normalised(input[i], scale, norm[i]); });
  }
}

}  // namespace
}  // namespace nvium::cpu
