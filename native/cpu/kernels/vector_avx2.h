// The vectors dot_vector.h is written over: AVX2 with FMA and F16C.
#pragma once

#include <immintrin.h>

#include "../kernels.h"

namespace nvium::cpu {
namespace {

constexpr uint32_t kPassOutputs = 16;
constexpr uint32_t kBlockRows = 4;

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
  static Float widen(const uint16_t* f16) {
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(f16)));
  }

  struct Pairs {
    __m256i both;
  };
  static Pairs load_pairs(const uint32_t* at) {
    return {_mm256_load_si256(reinterpret_cast<const __m256i*>(at))};
  }
  static Float multiply_pairs(Pairs w, uint32_t x, Float acc) {
    const __m256i pair = _mm256_set1_epi32(int(x));
    const __m256i high = _mm256_set1_epi32(int(0xffff0000));
    acc = _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_and_si256(w.both, high)),
                          _mm256_castsi256_ps(_mm256_and_si256(pair, high)), acc);
    return _mm256_fmadd_ps(_mm256_castsi256_ps(_mm256_slli_epi32(w.both, 16)),
                           _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)), acc);
  }
};

}  // namespace
}  // namespace nvium::cpu
