// Operands: where an element lies and how it is rounded (kernels.h has the layout).
#pragma once

#include "../../numerics/types.h"
#include "../kernels.h"

namespace nvium::cpu {
namespace {

// Whether this instruction set takes a bf16 operand as bf16.
#if defined(NVIUM_AVX512_BF16)
constexpr bool kBf16Pairs = true;
#else
constexpr bool kBf16Pairs = false;
#endif

// From one row of a chunk to the next. The padding keeps elements of the same place in neighbouring
// rows out of the same bank of the cache.
template <OperandType type>
constexpr size_t kOperandRowBytes =
    numerics::kDotChunk * (type == OperandType::bf16 && kBf16Pairs ? 2 : 4) + kOperandPadding;

inline size_t operand_row_bytes(OperandType type) {
  return type == OperandType::bf16 ? kOperandRowBytes<OperandType::bf16>
                                   : kOperandRowBytes<OperandType::f32>;
}

// Stores row `row` of `rows`; `value(i)` is its element i, which does not lie in the operand.
// (Indices are size_t: sums of 32-bit ones may wrap, which keeps the compiler from vectors.)
template <OperandType type, class Value>
inline void store_operand(std::byte* operand, uint32_t rows, uint32_t row, uint32_t cols,
                          const Value& value) {
  constexpr size_t kChunk = numerics::kDotChunk;
  std::byte* at = operand + row * kOperandRowBytes<type>;
  for (size_t begin = 0; begin < cols; begin += kChunk) {
    const size_t count = cols - begin < kChunk ? cols - begin : kChunk;
    if constexpr (type == OperandType::bf16 && kBf16Pairs) {
      uint16_t* out = reinterpret_cast<uint16_t*>(at);
#pragma GCC ivdep
      for (size_t i = 0; i < count; i++) out[i] = numerics::bf16_from_float(value(begin + i));
      if (count & 1) out[count] = 0;
    } else {
      float* out = reinterpret_cast<float*>(at);
#pragma GCC ivdep
      for (size_t i = 0; i < count; i++) {
        const float x = value(begin + i);
        out[i] = type == OperandType::bf16 ? numerics::round_to_bf16(x) : x;
      }
      if (count & 1) out[count] = 0.0f;
    }
    at += rows * kOperandRowBytes<type>;
  }
}

template <class Value>
inline void store_operand(OperandType type, std::byte* operand, uint32_t rows, uint32_t row,
                          uint32_t cols, const Value& value) {
  if (type == OperandType::bf16) {
    store_operand<OperandType::bf16>(operand, rows, row, cols, value);
  } else {
    store_operand<OperandType::f32>(operand, rows, row, cols, value);
  }
}

}  // namespace
}  // namespace nvium::cpu
