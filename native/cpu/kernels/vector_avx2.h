// The vectors dot_vector.h is written over: AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

#include "../kernels.h"

namespace nvium::cpu {
namespace {

constexpr uint32_t kPassOutputs = 16;
constexpr uint32_t kBlockRows = 4;

// As for AVX-512 with BF16 (vector_avx512.h).
constexpr size_t prefetch_ahead(uint32_t rows) { return rows <= 2 ? 0 : 8192; }
constexpr size_t kPrefetchNear = 0;
// (Of no consequence: a chunk always goes by in parts.)
constexpr bool prefetches_neighbour(uint32_t) { return false; }
constexpr size_t integers_ahead(uint32_t rows) { return prefetch_ahead(rows); }

struct Vector {
  static constexpr uint32_t lanes = 8;
  using Float = __m256;
  static Float zero() { return _mm256_setzero_ps(); }
  static Float load(const float* at) { return _mm256_load_ps(at); }
  static void store(float* at, Float v) { _mm256_store_ps(at, v); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float fma(Float w, float x, Float acc) {
    return _mm256_fmadd_ps(w, _mm256_set1_ps(x), acc);
  }
  static Float fma(Float w, Float x, Float acc) { return _mm256_fmadd_ps(w, x, acc); }
  static Float widen(const uint16_t* f16) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(f16)));
  }
  static Float widen(const int8_t* bytes) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes))));
  }

  static Float high_halves(const uint32_t* at) {
    return _mm256_castsi256_ps(_mm256_and_si256(pairs(at), _mm256_set1_epi32(int(0xffff0000))));
  }
  static Float low_halves(const uint32_t* at) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs(at), 16));
  }

 private:
  static __m256i pairs(const uint32_t* at) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
  }
};

// The vectors dot_integers.h is written over.
struct Integers {
  using Sum = __m256i;
  static Sum all(int32_t value) { return _mm256_set1_epi32(value); }
  static __m256 to_float(Sum sum) { return _mm256_cvtepi32_ps(sum); }
  static __m256 widen(const uint16_t* bf16) {
    const __m128i half = _mm_load_si128(reinterpret_cast<const __m128i*>(bf16));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  using Nibbles = __m256i;
  static void nibbles(const std::byte* at, Nibbles* low, Nibbles* high) {
    const __m256i both = load(at), mask = _mm256_set1_epi8(15);
    *low = _mm256_and_si256(both, mask);
    *high = _mm256_and_si256(_mm256_srli_epi32(both, 4), mask);
  }

#if defined(NVIUM_VNNI)
  // Unsigned times signed: weights as they are stored.
  static constexpr bool kUnsigned = true;
  using Bytes = __m256i;
  static Bytes bytes(const std::byte* at) { return load(at); }
  static Sum dot(__m256i weights, int32_t quad, Sum sum) {
    return _mm256_dpbusd_avx_epi32(sum, weights, _mm256_set1_epi32(quad));
  }
#else
  // Sums of two products must fit 16 bits, so the magnitudes of weights take the sign of theirs to
  // the other side.
  static constexpr bool kUnsigned = false;
  struct Bytes {
    __m256i magnitude, value;
  };
  static Bytes bytes(const std::byte* at) {
    const __m256i value = _mm256_xor_si256(load(at), _mm256_set1_epi8(-128));
    return {_mm256_abs_epi8(value), value};
  }
  static Sum dot(const Bytes& weights, int32_t quad, Sum sum) {
    return dot(weights.magnitude, _mm256_sign_epi8(_mm256_set1_epi32(quad), weights.value), sum);
  }
  static Sum dot(Nibbles weights, int32_t quad, Sum sum) {
    return dot(weights, _mm256_set1_epi32(quad), sum);
  }
#endif

 private:
  static __m256i load(const std::byte* at) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
  }
#if !defined(NVIUM_VNNI)
  static Sum dot(__m256i weights, __m256i x, Sum sum) {
    return _mm256_add_epi32(
        sum, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1)));
  }
#endif
};

}  // namespace
}  // namespace nvium::cpu
