// What g++ calls from kernels compiled with -fsanitize=thread and -fsanitize-coverage. The
// sanitizers' own libraries are not linked.
#include <bit>
#include <cstdint>

#include "access.h"
#include "counters.h"
#include "report.h"
#include "state.h"

namespace simt {

extern const bool kChecksAvailable;
const bool kChecksAvailable = true;

namespace {

void hook(const void* p, size_t size, Access kind, const void* site) {
  access(reinterpret_cast<uintptr_t>(p), size, kind, site);
}

// A comparison whose operand is the pattern of an undefined value.
[[gnu::noinline]] void undefined(const void* site) {
  if (!hot.in_kernel || !hot.check) return;
  InEmulator scope;
  report(Kind::undefined_condition, {site}, 0, "the comparison uses a value nobody defined");
}

bool is_poison(uint32_t v) { return v == kPoison; }
bool is_poison(uint64_t v) { return v == (uint64_t(kPoison) << 32 | kPoison); }
bool is_poison(float v) {
  const auto bits = std::bit_cast<uint32_t>(v);
  return bits == kPoison || (v != v && (bits & 0xffff) == (kPoisonNan & 0xffff));
}
bool is_poison(double v) { return is_poison(std::bit_cast<uint64_t>(v)); }

template <class T>
void compare(T a, T b, const void* site) {
  if (is_poison(a) || is_poison(b)) [[unlikely]]
    undefined(site);
}

}  // namespace
}  // namespace simt

// std::atomic and std::shared_ptr of host code in the same files.
#define ATOMICS(bits, T)                                                                           \
  T __tsan_atomic##bits##_load(const volatile T* p, int) {                                         \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                \
  void __tsan_atomic##bits##_store(volatile T* p, T v, int) {                                      \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                      \
  }                                                                                                \
  T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) {                                      \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                            \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) {                                     \
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int) {                                     \
    return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                             \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T v, int, int) {   \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
  }                                                                                                \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T v, int a, int b) { \
    return __tsan_atomic##bits##_compare_exchange_strong(p, expected, v, a, b);                    \
  }

#define SITE __builtin_return_address(0)
#define HOOKS(n)                                                                                \
  void __tsan_read##n(void* p) { simt::hook(p, n, simt::Access::read, SITE); }                  \
  void __tsan_write##n(void* p) { simt::hook(p, n, simt::Access::write, SITE); }                \
  void __tsan_unaligned_read##n(void* p) { simt::hook(p, n, simt::Access::read, SITE); }        \
  void __tsan_unaligned_write##n(void* p) { simt::hook(p, n, simt::Access::write, SITE); }      \
  void __tsan_volatile_read##n(void* p) { simt::hook(p, n, simt::Access::relaxed_read, SITE); } \
  void __tsan_volatile_write##n(void* p) { simt::hook(p, n, simt::Access::relaxed_write, SITE); }

extern "C" {

HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
ATOMICS(8, uint8_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)
void __tsan_read_range(void* p, size_t n) { simt::hook(p, n, simt::Access::read, SITE); }
void __tsan_write_range(void* p, size_t n) { simt::hook(p, n, simt::Access::write, SITE); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

void __sanitizer_cov_trace_pc() {
  if (simt::hot.count && simt::hot.in_kernel) simt::count_instructions(SITE);
}
void __sanitizer_cov_trace_cmp1(uint8_t, uint8_t) {}
void __sanitizer_cov_trace_cmp2(uint16_t, uint16_t) {}
void __sanitizer_cov_trace_cmp4(uint32_t a, uint32_t b) { simt::compare(a, b, SITE); }
void __sanitizer_cov_trace_cmp8(uint64_t a, uint64_t b) { simt::compare(a, b, SITE); }
void __sanitizer_cov_trace_const_cmp1(uint8_t, uint8_t) {}
void __sanitizer_cov_trace_const_cmp2(uint16_t, uint16_t) {}
void __sanitizer_cov_trace_const_cmp4(uint32_t, uint32_t b) { simt::compare(b, b, SITE); }
void __sanitizer_cov_trace_const_cmp8(uint64_t, uint64_t b) { simt::compare(b, b, SITE); }
void __sanitizer_cov_trace_cmpf(float a, float b) { simt::compare(a, b, SITE); }
void __sanitizer_cov_trace_cmpd(double a, double b) { simt::compare(a, b, SITE); }
void __sanitizer_cov_trace_switch(uint64_t value, void*) {
  // A switch over 32 bits passes them sign-extended.
  simt::compare(uint32_t(value), uint32_t(value), SITE);
}
}
