// Running code with subnormals flushed (host only).
//
// Vector bf16 instructions and the GPU flush subnormal operands and results, so everything does:
// FTZ and DAZ on every thread that computes, the caller's settings back afterwards.
#ifndef NVIUM_NUMERICS_ENVIRONMENT_H_
#define NVIUM_NUMERICS_ENVIRONMENT_H_

#include <stdint.h>

#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

#if defined(__clang__) || !defined(__GNUC__)
#define NVIUM_OPAQUE __attribute__((noinline))
#else
#define NVIUM_OPAQUE __attribute__((noipa))
#endif

namespace nvium::numerics {

#if defined(__x86_64__) || defined(__i386__)
// The MXCSR wanted: round to nearest, every exception masked, flush to zero, denormals are zero.
constexpr uint32_t kFlushingMode = 0x9fc0;
static inline uint32_t floating_mode() { return _mm_getcsr(); }
static inline void set_floating_mode(uint32_t mode) { _mm_setcsr(mode); }
using FloatingMode = uint32_t;
#elif defined(__aarch64__)
// The FPCR wanted: round to nearest, no traps, FZ, which flushes operands and results alike.
constexpr uint64_t kFlushingMode = uint64_t{1} << 24;
static inline uint64_t floating_mode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
static inline void set_floating_mode(uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
using FloatingMode = uint64_t;
#else
#error "nvium: no way known to flush subnormals on this processor"
#endif

template <class F>
NVIUM_OPAQUE static void call_opaquely(F& f) {
  f();
}

// Calls f() with the flushing mode set, and restores the caller's mode, after an exception too.
//
// The call is opaque to the optimiser. Setting a control register around arithmetic is not enough:
// the compiler knows of no dependence between the two and moves arithmetic past it. An opaque call
// it cannot move, and arithmetic inside f cannot leave it.
template <class F>
static void with_flushing(F&& f) {
  struct Restore {
    FloatingMode mode;
    ~Restore() { set_floating_mode(mode); }
  } restore{floating_mode()};
  set_floating_mode(kFlushingMode);
  call_opaquely(f);
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_ENVIRONMENT_H_
