// The vectors dot_vector.h is written over: NEON of 64-bit Arm, which always has FMA. BFDOT is not
// used: it rounds otherwise.
#pragma once

#include <arm_neon.h>

#include "../kernels.h"

namespace nvium::cpu {
namespace {

constexpr uint32_t kPassOutputs = 16;
constexpr uint32_t kBlockRows = 4;

// Not measured on a processor of this kind.
constexpr size_t prefetch_ahead(uint32_t rows) { return rows <= 2 ? 0 : 8192; }
constexpr size_t kPrefetchNear = 0;
// (Of no consequence: a chunk always goes by in parts.)
constexpr bool prefetches_neighbour(uint32_t) { return false; }

struct Vector {
  static constexpr uint32_t lanes = 4;
  using Float = float32x4_t;
  static Float zero() { return vdupq_n_f32(0); }
  static Float load(const float* at) { return vld1q_f32(at); }
  static void store(float* at, Float v) { vst1q_f32(at, v); }
  static Float add(Float a, Float b) { return vaddq_f32(a, b); }
  static Float fma(Float w, float x, Float acc) { return vfmaq_n_f32(acc, w, x); }
  static Float widen(const uint16_t* f16) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(f16)));
  }

  static Float high_halves(const uint32_t* at) {
    return vreinterpretq_f32_u32(vandq_u32(vld1q_u32(at), vdupq_n_u32(0xffff0000)));
  }
  static Float low_halves(const uint32_t* at) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vld1q_u32(at), 16));
  }
};

}  // namespace
}  // namespace nvium::cpu
