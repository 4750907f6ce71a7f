// Operands: where an element lies and how it is rounded (kernels.h has the layout).
#pragma once

#include "../../numerics/integers.h"
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

// A chunk of a row of integers: what they are, what each is worth, and what undoes the offset of
// weights that are kept unsigned: -128 times their sum, and -8 times the sums of groups of 32.
struct IntegerChunk {
  int8_t values[numerics::kDotChunk];
  float step;
  int32_t offset;
  int32_t offsets[numerics::kDotChunk / kIntegerBlock];
  std::byte padding[8];  // to a multiple of 32 bytes that is not one of 64
};
static_assert(sizeof(IntegerChunk) == 160);

// From one row of a chunk to the next. The padding keeps elements of the same place in neighbouring
// rows out of the same bank of the cache.
template <OperandType type>
constexpr size_t kOperandRowBytes =
    type == OperandType::int8
        ? sizeof(IntegerChunk)
        : numerics::kDotChunk * (type == OperandType::bf16 && kBf16Pairs ? 2 : 4) + kOperandPadding;

inline size_t operand_row_bytes(OperandType type) {
  switch (type) {
    case OperandType::bf16:
      return kOperandRowBytes<OperandType::bf16>;
    case OperandType::f32:
      return kOperandRowBytes<OperandType::f32>;
    case OperandType::int8:
      break;
  }
  return kOperandRowBytes<OperandType::int8>;
}

// Stores a chunk of `count` elements as integers. All 128 are written: those beyond are 0.
template <class Value>
inline void store_integers(IntegerChunk& out, size_t count, const Value& value) {
  float x[numerics::kDotChunk];
  for (size_t i = 0; i < count; i++) x[i] = value(i);
  for (size_t i = count; i < numerics::kDotChunk; i++) x[i] = 0.0f;
  uint32_t largest = 0;
  for (size_t i = 0; i < numerics::kDotChunk; i++) {
    const uint32_t m = numerics::magnitude(x[i]);
    largest = m > largest ? m : largest;
  }
  const numerics::Steps steps = numerics::steps_of(largest);
  for (size_t i = 0; i < numerics::kDotChunk; i++) {
    out.values[i] = int8_t(numerics::activation_byte(x[i], steps));
  }
  out.step = steps.step;
  out.offset = 0;
  for (size_t g = 0; g < numerics::kDotChunk / kIntegerBlock; g++) {
    int32_t sum = 0;
    for (size_t i = 0; i < kIntegerBlock; i++) sum += out.values[g * kIntegerBlock + i];
    out.offsets[g] = -8 * sum;
    out.offset += -128 * sum;
  }
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
    if constexpr (type == OperandType::int8) {
      store_integers(*reinterpret_cast<IntegerChunk*>(at), count,
                     [&](size_t i) { return value(begin + i); });
    } else if constexpr (type == OperandType::bf16 && kBf16Pairs) {
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
  switch (type) {
    case OperandType::bf16:
      return store_operand<OperandType::bf16>(operand, rows, row, cols, value);
    case OperandType::f32:
      return store_operand<OperandType::f32>(operand, rows, row, cols, value);
    case OperandType::int8:
      return store_operand<OperandType::int8>(operand, rows, row, cols, value);
  }
}

}  // namespace
}  // namespace nvium::cpu
