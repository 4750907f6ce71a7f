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

}  // namespace
}  // namespace nvium::cpu
