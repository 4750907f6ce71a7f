// The dot on one tile with AVX-512 and AVX-512-BF16: lanes hold outputs, so there is no horizontal
// sum, and up to eight rows share each weight loaded. A chunk of a tile stays in the first-level
// cache for the later blocks of rows.
#pragma once

#include "../../numerics/dot.h"
#include "../kernels.h"

namespace nvium::cpu {
namespace {

// How far ahead of its loads a kernel asks for weights, in bytes.
constexpr size_t kPrefetchAhead = 8192;

template <DType type>
struct Lanes;

template <>
struct Lanes<DType::bf16> {
  static constexpr uint32_t step_elements = 2;
  using Weight = __m512bh;
  static Weight load(const std::byte* w) {
    return Weight(_mm512_load_si512(reinterpret_cast<const void*>(w)));
  }
  static __m512 multiply(__m512 acc, Weight w, const std::byte* x) {
    // One instruction is the pair: odd element, then even.
    uint32_t pair;
    __builtin_memcpy(&pair, x, 4);
    return _mm512_dpbf16_ps(acc, w, __m512bh(_mm512_set1_epi32(int(pair))));
  }
};

template <>
struct Lanes<DType::f32> {
  static constexpr uint32_t step_elements = 1;
  using Weight = __m512;
  static Weight load(const std::byte* w) { return _mm512_load_ps(w); }
  static __m512 multiply(__m512 acc, Weight w, const std::byte* x) {
    return _mm512_fmadd_ps(w, _mm512_set1_ps(*reinterpret_cast<const float*>(x)), acc);
  }
};

template <>
struct Lanes<DType::f16> {
  static constexpr uint32_t step_elements = 1;
  using Weight = __m512;
  static Weight load(const std::byte* w) {
    // The zeroing form: the plain one reads an undefined register, which the compiler warns of.
    return _mm512_maskz_cvtph_ps(__mmask16(-1),
                                 _mm256_load_si256(reinterpret_cast<const __m256i*>(w)));
  }
  static __m512 multiply(__m512 acc, Weight w, const std::byte* x) {
    return Lanes<DType::f32>::multiply(acc, w, x);
  }
};

// `Rows` rows through the chunk of `pairs` pairs at `w`; x is the chunk's operand of the first row,
// `group` the group's rows.
template <DType type, uint32_t Rows>
inline void dot_chunk(const std::byte* w, const std::byte* x, size_t group, uint32_t pairs,
                      bool prefetch, float (*totals)[kTileRows]) {
  using L = Lanes<type>;
  constexpr size_t half = kTileRows / 2 * bytes_of(type) * L::step_elements;
  __m512 acc[Rows][2];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) acc[r][0] = acc[r][1] = _mm512_setzero_ps();
  const auto step = [&](const std::byte* at, const std::byte* xs) __attribute__((always_inline)) {
    const typename L::Weight low = L::load(at);
    const typename L::Weight high = L::load(at + half);
#pragma GCC unroll 8
    for (uint32_t r = 0; r < Rows; r++) {
      acc[r][0] = L::multiply(acc[r][0], low, xs + r * 4);
      acc[r][1] = L::multiply(acc[r][1], high, xs + r * 4);
    }
  };
  for (uint32_t p = 0; p < pairs; p++) {
    if (Rows > 2 && prefetch) {
      const char* ahead = reinterpret_cast<const char*>(w) + kPrefetchAhead;
#pragma GCC unroll 4
      for (size_t line = 0; line < 4 * half / L::step_elements; line += 64) {
        if (line == 0 || type != DType::bf16 || Rows > 5) _mm_prefetch(ahead + line, _MM_HINT_T1);
      }
    }
    if constexpr (L::step_elements == 2) {
      step(w, x);
    } else {
      step(w + 2 * half, x + group * 4);
      step(w, x);
    }
    w += 4 * half / L::step_elements;
    x += group * 8 / L::step_elements;
  }
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) {
    _mm512_store_ps(totals[r], _mm512_add_ps(_mm512_load_ps(totals[r]), acc[r][0]));
    _mm512_store_ps(totals[r] + 16, _mm512_add_ps(_mm512_load_ps(totals[r] + 16), acc[r][1]));
  }
}

template <DType type>
void dot_tile(const std::byte* tile, const std::byte* operand, uint32_t group, uint32_t cols,
              float (*totals)[kTileRows]) {
  constexpr uint32_t chunk_pairs = numerics::kDotChunk / 2;
  const uint32_t pairs = even(cols) / 2;
  const size_t pair_bytes = 2 * kTileRows * bytes_of(type);
  const size_t operand_pair_bytes = size_t(group) * (type == DType::bf16 ? 4 : 8);
  for (uint32_t r = 0; r < group; r++) {
    _mm512_store_ps(totals[r], _mm512_setzero_ps());
    _mm512_store_ps(totals[r] + 16, _mm512_setzero_ps());
  }
  for (uint32_t begin = 0; begin < pairs; begin += chunk_pairs) {
    const uint32_t count = pairs - begin < chunk_pairs ? pairs - begin : chunk_pairs;
    const std::byte* w = tile + begin * pair_bytes;
    const std::byte* x = operand + begin * operand_pair_bytes;
    for (uint32_t r = 0; r < group; r += 8, x += 32) {
      const bool first = r == 0;
      switch (group - r) {
        case 1:
          dot_chunk<type, 1>(w, x, group, count, first, totals + r);
          break;
        case 2:
          dot_chunk<type, 2>(w, x, group, count, first, totals + r);
          break;
        case 3:
          dot_chunk<type, 3>(w, x, group, count, first, totals + r);
          break;
        case 4:
          dot_chunk<type, 4>(w, x, group, count, first, totals + r);
          break;
        case 5:
          dot_chunk<type, 5>(w, x, group, count, first, totals + r);
          break;
        case 6:
          dot_chunk<type, 6>(w, x, group, count, first, totals + r);
          break;
        case 7:
          dot_chunk<type, 7>(w, x, group, count, first, totals + r);
          break;
        default:
          dot_chunk<type, 8>(w, x, group, count, first, totals + r);
          break;
      }
    }
  }
}

}  // namespace
}  // namespace nvium::cpu
