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
// neighbour of a line by itself. What has BF16 and uses it here is AMD's (instruction_sets.cc): it
// is best left alone with one or two rows. Intel's must be asked for each line, twice.
#if defined(NVIUM_AVX512_BF16)
constexpr size_t prefetch_ahead(uint32_t rows) { return rows <= 2 ? 0 : 8192; }
constexpr size_t kPrefetchNear = 0;
constexpr bool prefetches_neighbour(uint32_t rows) { return rows <= 5; }
#else
constexpr size_t prefetch_ahead(uint32_t rows) { return rows <= kBlockRows ? 2816 : 8192; }
constexpr size_t kPrefetchNear = 512;
constexpr bool prefetches_neighbour(uint32_t) { return false; }
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

}  // namespace
}  // namespace nvium::cpu
