// What the other headers of native/numerics are built from: the function qualifier, fused
// multiply-add, square root and bit casts.
//
// Everything here compiles unchanged with g++ and nvcc, and must give the same bits for every
// instruction set. Three rules follow, and hold for all the headers:
//
//  - Every function is NVIUM_FN: internal linkage and always inlined. A caller compiled for a wide
//    instruction set must not emit a symbol that the linker could share with a caller compiled for
//    a narrow one, so nothing from std:: is called inside either.
//  - No branches, tables or library calls in functions of a float: a plain loop over them
//  vectorises.
//  - Contraction is off (-ffp-contract=off, -fmad=false); a fused multiply-add is always written
//  out.
#ifndef NVIUM_NUMERICS_CONFIG_H_
#define NVIUM_NUMERICS_CONFIG_H_

#include <stdint.h>

#if defined(__CUDACC__)
#define NVIUM_FN static __host__ __device__ __forceinline__
#else
#define NVIUM_FN static inline __attribute__((always_inline))
#endif

namespace nvium::numerics {

// Correctly rounded x * y + z with one rounding. Where the target has no FMA instruction this is a
// library call: slow, and the same bits.
NVIUM_FN float fma(float x, float y, float z) {
#if defined(__CUDA_ARCH__)
  return __fmaf_rn(x, y, z);
#else
  return __builtin_fmaf(x, y, z);
#endif
}

NVIUM_FN double fma(double x, double y, double z) {
#if defined(__CUDA_ARCH__)
  return __fma_rn(x, y, z);
#else
  return __builtin_fma(x, y, z);
#endif
}

// Correctly rounded square root.
NVIUM_FN float sqrt(float x) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(x);
#else
  return __builtin_sqrtf(x);
#endif
}

NVIUM_FN uint32_t bits(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  return __builtin_bit_cast(uint32_t, x);
#endif
}

NVIUM_FN float from_bits(uint32_t u) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(u);
#else
  return __builtin_bit_cast(float, u);
#endif
}

NVIUM_FN uint64_t bits(double x) {
#if defined(__CUDA_ARCH__)
  return static_cast<uint64_t>(__double_as_longlong(x));
#else
  return __builtin_bit_cast(uint64_t, x);
#endif
}

NVIUM_FN double from_bits(uint64_t u) {
#if defined(__CUDA_ARCH__)
  return __longlong_as_double(static_cast<long long>(u));
#else
  return __builtin_bit_cast(double, u);
#endif
}

// The larger of two numbers by the one rule used everywhere: a > b ? a : b.
NVIUM_FN float larger(float a, float b) { return a > b ? a : b; }

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_CONFIG_H_
