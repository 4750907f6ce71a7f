// The vectors dot_vector.h is written over: AVX-512, with or without BF16.
#pragma once

#include <immintrin.h>

#include "../kernels.h"

namespace nvium::cpu {
namespace {

// Outputs of a tile taken at once (two vectors), and rows that share each weight loaded.
constexpr uint32_t kPassOutputs = 32;
constexpr uint32_t kBlockRows = 8;

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
  struct Pairs {
    __m512i both;
  };
  static __m512i shifted(__m512i v, unsigned by) {
    return _mm512_maskz_slli_epi32(__mmask16(-1), v, by);
  }
  static Pairs load_pairs(const uint32_t* at) { return {_mm512_load_si512(at)}; }
  static Float multiply_pairs(Pairs w, uint32_t x, Float acc) {
    const __m512i pair = _mm512_set1_epi32(int(x));
    const __m512i high = _mm512_set1_epi32(int(0xffff0000));
    acc = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(w.both, high)),
                          _mm512_castsi512_ps(_mm512_and_si512(pair, high)), acc);
    return _mm512_fmadd_ps(_mm512_castsi512_ps(shifted(w.both, 16)),
                           _mm512_castsi512_ps(shifted(pair, 16)), acc);
  }
#endif
};

}  // namespace
}  // namespace nvium::cpu
