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
constexpr size_t integers_ahead(uint32_t rows) { return prefetch_ahead(rows); }

struct Vector {
  static constexpr uint32_t lanes = 4;
  using Float = float32x4_t;
  static Float zero() { return vdupq_n_f32(0); }
  static Float load(const float* at) { return vld1q_f32(at); }
  static void store(float* at, Float v) { vst1q_f32(at, v); }
  static Float add(Float a, Float b) { return vaddq_f32(a, b); }
  static Float fma(Float w, float x, Float acc) { return vfmaq_n_f32(acc, w, x); }
  static Float fma(Float w, Float x, Float acc) { return vfmaq_f32(acc, w, x); }
  static Float widen(const uint16_t* f16) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(f16)));
  }
  static Float widen(const int8_t* bytes) {
    int32_t four;
    __builtin_memcpy(&four, bytes, 4);
    const int16x8_t halves = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(halves)));
  }

  static Float high_halves(const uint32_t* at) {
    return vreinterpretq_f32_u32(vandq_u32(vld1q_u32(at), vdupq_n_u32(0xffff0000)));
  }
  static Float low_halves(const uint32_t* at) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vld1q_u32(at), 16));
  }
};

// The vectors dot_integers.h is written over.
struct Integers {
  using Sum = int32x4_t;
  static Sum all(int32_t value) { return vdupq_n_s32(value); }
  static float32x4_t to_float(Sum sum) { return vcvtq_f32_s32(sum); }
  static float32x4_t widen(const uint16_t* bf16) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(bf16), 16));
  }
  using Nibbles = int8x16_t;
  static void nibbles(const std::byte* at, Nibbles* low, Nibbles* high) {
    const uint8x16_t both = load(at);
    *low = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
    *high = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
  }
  // Signed times signed.
  static constexpr bool kUnsigned = false;
  using Bytes = int8x16_t;
  static Bytes bytes(const std::byte* at) {
    return vreinterpretq_s8_u8(veorq_u8(load(at), vdupq_n_u8(128)));
  }
  static Sum dot(int8x16_t weights, int32_t quad, Sum sum) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(quad));
#if defined(NVIUM_DOT_PRODUCT)
    return vdotq_s32(sum, weights, x);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(weights), vget_low_s8(x)),
                    high = vmull_s8(vget_high_s8(weights), vget_high_s8(x));
    return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
  }

 private:
  static uint8x16_t load(const std::byte* at) {
    return vld1q_u8(reinterpret_cast<const uint8_t*>(at));
  }
};

}  // namespace
}  // namespace nvium::cpu
