// Rows to operands: RMSNorm where asked for, rounding to the matrix's operand type, interleaving by
// groups.
#pragma once

#include "../../numerics/sums.h"
#include "../../numerics/types.h"
#include "../kernels.h"

namespace nvium::cpu {
namespace {

// 1 / sqrt(mean square + epsilon) of a row, by docs/numerics.md.
inline float row_scale(const float* row, uint32_t width, float epsilon) {
  return numerics::norm_scale(numerics::sum_of_squares(row, int(width)), int(width), epsilon);
}

// Stores one row of a group of `group` rows, `at` being the row's first element. `value(i)` is
// element i.
template <class Value>
inline void store_operand(DType type, uint32_t cols, uint32_t group, std::byte* at,
                          const Value& value) {
  const uint32_t pairs = cols / 2;
  if (type == DType::bf16) {
    uint32_t* out = reinterpret_cast<uint32_t*>(at);
    const auto pair = [&](float low, float high) {
      return uint32_t(numerics::bf16_from_float(low)) | uint32_t(numerics::bf16_from_float(high))
                                                            << 16;
    };
    if (group == 1) {
      for (uint32_t p = 0; p < pairs; p++) out[p] = pair(value(2 * p), value(2 * p + 1));
    } else {
      for (uint32_t p = 0; p < pairs; p++)
        out[size_t(p) * group] = pair(value(2 * p), value(2 * p + 1));
    }
    if (cols & 1) out[size_t(pairs) * group] = pair(value(cols - 1), 0.0f);
  } else {
    float* out = reinterpret_cast<float*>(at);
    for (uint32_t i = 0; i < cols; i++) out[size_t(i) * group] = value(i);
    if (cols & 1) out[size_t(cols) * group] = 0.0f;
  }
}

void pack_rows(const Pack& pack, uint32_t first, uint32_t last) {
  const uint32_t cols = pack.cols;
  for (uint32_t row = first; row < last; row++) {
    const uint32_t begin = row / kGroupRows * kGroupRows;
    const uint32_t left = pack.rows - begin;
    const uint32_t group = left < kGroupRows ? left : kGroupRows;
    std::byte* at = pack.operand + begin * operand_row_bytes(pack.type, cols) + (row - begin) * 4;
    const float* input = pack.input + size_t(row) * cols;
    if (pack.norm == nullptr) {
      store_operand(pack.type, cols, group, at, [=](uint32_t i) { return input[i]; });
    } else {
      const float scale = row_scale(input, cols, pack.epsilon);
      const float* norm = pack.norm;
      if (pack.normed != nullptr) {
        float* normed = pack.normed + size_t(row) * cols;
        for (uint32_t i = 0; i < cols; i++) {
          normed[i] = numerics::normalised(input[i], scale, norm[i]);
        }
      }
      store_operand(pack.type, cols, group, at,
                    [=](uint32_t i) { return numerics::normalised(input[i], scale, norm[i]); });
    }
  }
}

}  // namespace
}  // namespace nvium::cpu
