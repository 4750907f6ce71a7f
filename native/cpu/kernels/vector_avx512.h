// The vectors dot_vector.h is written over: AVX-512, with or without BF16.
#pragma once

#include <immintrin.h>

#include "../kernels.h"

namespace nvium::cpu {
namespace {

// Outputs of a tile taken at once (two vectors), and rows that share each weight loaded.
constexpr uint32_t kPassOutputs = 32;
constexpr uint32_t kBlockRows = 8;

// How far ahead of its loads a kernel asks for weights, in bytes, or 0: not at all; how far ahead
// it asks for them once more, then into the first-level cache; and whether the processor brings the
// neighbour of a line by itself; and how far ahead it asks for integers, straight into the
// first-level cache. What has BF16 and uses it here is AMD's (instruction_sets.cc): it
// is best left alone with one or two rows. Intel's must be asked for each line, twice.
#if defined(NVIUM_AVX512_BF16)
constexpr size_t prefetch_ahead(uint32_t rows) { return rows <= 2 ? 0 : 8192; }
constexpr size_t kPrefetchNear = 0;
constexpr bool prefetches_neighbour(uint32_t rows) { return rows <= 5; }
constexpr size_t integers_ahead(uint32_t rows) { return rows <= 4 ? 0 : 4096; }
#else
constexpr size_t prefetch_ahead(uint32_t rows) { return rows <= kBlockRows ? 2816 : 8192; }
constexpr size_t kPrefetchNear = 512;
constexpr bool prefetches_neighbour(uint32_t) { return false; }
constexpr size_t integers_ahead(uint32_t rows) { return prefetch_ahead(rows); }
#endif

// Zeroing forms with a full mask stand where the plain ones read an undefined register, which the
// compiler warns of.
struct Vector {
  static constexpr uint32_t lanes = 16;
  using Float = __m512;
  static Float zero() { return _mm512_setzero_ps(); }
  static Float load(const float* at) { return _mm512_load_ps(at); }
  static void store(float* at, Float v) { _mm512_store_ps(at, v); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float fma(Float w, float x, Float acc) {
    return _mm512_fmadd_ps(w, _mm512_set1_ps(x), acc);
  }
  static Float widen(const uint16_t* f16) {
    return _mm512_maskz_cvtph_ps(__mmask16(-1),
                                 _mm256_load_si256(reinterpret_cast<const __m256i*>(f16)));
  }

  static Float fma(Float w, Float x, Float acc) { return _mm512_fmadd_ps(w, x, acc); }

  static Float widen(const int8_t* bytes) {
    return _mm512_maskz_cvtepi32_ps(
        __mmask16(-1), _mm512_maskz_cvtepi8_epi32(
                           __mmask16(-1), _mm_load_si128(reinterpret_cast<const __m128i*>(bytes))));
  }

#if defined(NVIUM_AVX512_BF16)
  // One instruction is the pair: odd element, then even.
  using Pairs = __m512bh;
  static Pairs load_pairs(const uint32_t* at) { return Pairs(_mm512_load_si512(at)); }
  static Float multiply_pairs(Pairs w, uint32_t x, Float acc) {
    return _mm512_dpbf16_ps(acc, w, __m512bh(_mm512_set1_epi32(int(x))));
  }
#else
  static Float high_halves(const uint32_t* at) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_load_si512(at), _mm512_set1_epi32(int(0xffff0000))));
  }
  static Float low_halves(const uint32_t* at) {
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(__mmask16(-1), _mm512_load_si512(at), 16));
  }
#endif
};

// The vectors dot_integers.h is written over.
struct Integers {
  using Sum = __m512i;
  static Sum all(int32_t value) { return _mm512_set1_epi32(value); }
  static __m512 to_float(Sum sum) { return _mm512_maskz_cvtepi32_ps(__mmask16(-1), sum); }
  static __m512 widen(const uint16_t* bf16) {
    const __m256i half = _mm256_load_si256(reinterpret_cast<const __m256i*>(bf16));
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(
        __mmask16(-1), _mm512_maskz_cvtepu16_epi32(__mmask16(-1), half), 16));
  }
  using Nibbles = __m512i;
  static void nibbles(const std::byte* at, Nibbles* low, Nibbles* high) {
    const __m512i both = _mm512_load_si512(at), mask = _mm512_set1_epi8(15);
    *low = _mm512_and_si512(both, mask);
    *high = _mm512_and_si512(_mm512_maskz_srli_epi32(__mmask16(-1), both, 4), mask);
  }

#if defined(NVIUM_VNNI)
  // Unsigned times signed: weights as they are stored.
  static constexpr bool kUnsigned = true;
  using Bytes = __m512i;
  static Bytes bytes(const std::byte* at) { return _mm512_load_si512(at); }
  static Sum dot(__m512i weights, int32_t quad, Sum sum) {
    return _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(quad));
  }
#else
  // Sums of two products must fit 16 bits, so the magnitudes of weights take the sign of theirs to
  // the other side.
  static constexpr bool kUnsigned = false;
  struct Bytes {
    __m512i magnitude;
    __mmask64 negative;
  };
  static Bytes bytes(const std::byte* at) {
    const __m512i value = _mm512_xor_si512(_mm512_load_si512(at), _mm512_set1_epi8(-128));
    return {_mm512_abs_epi8(value), _mm512_movepi8_mask(value)};
  }
  static Sum dot(const Bytes& weights, int32_t quad, Sum sum) {
    const __m512i x = _mm512_set1_epi32(quad);
    return dot(weights.magnitude,
               _mm512_mask_sub_epi8(x, weights.negative, _mm512_setzero_si512(), x), sum);
  }
  static Sum dot(Nibbles weights, int32_t quad, Sum sum) {
    return dot(weights, _mm512_set1_epi32(quad), sum);
  }

 private:
  static Sum dot(__m512i weights, __m512i x, Sum sum) {
    return _mm512_add_epi32(
        sum, _mm512_madd_epi16(_mm512_maddubs_epi16(weights, x), _mm512_set1_epi16(1)));
  }
#endif
};

}  // namespace
}  // namespace nvium::cpu
