// The same bits whatever the instruction set: loops over the functions, compiled as the baseline,
// for AVX2 with FMA, and for AVX-512, compared over a dense set of inputs.
#include <cstdint>
#include <vector>

#include "numerics/cascade.h"
#include "numerics/dot.h"
#include "numerics/environment.h"
#include "numerics/noise.h"
#include "numerics/rotary.h"
#include "numerics/sums.h"
#include "numerics/types.h"
#include "testing.h"

#if defined(__x86_64__)

namespace numerics = nvium::numerics;

// Each function of 32 bits as a loop from words to words, a member of a struct of the target's
// name.
#define NVIUM_LOOP(name, result)                                                             \
  __attribute__((noinline)) static void name(const uint32_t* in, uint32_t* out, int count) { \
    for (int i = 0; i < count; ++i) {                                                        \
      const uint32_t u = in[i];                                                              \
      const float x = numerics::from_bits(u);                                                \
      static_cast<void>(u), static_cast<void>(x);                                            \
      out[i] = result;                                                                       \
    }                                                                                        \
  }

#define NVIUM_LOOPS                                                                          \
  NVIUM_LOOP(exp, numerics::bits(numerics::exp(x)))                                          \
  NVIUM_LOOP(log, numerics::bits(numerics::log(x)))                                          \
  NVIUM_LOOP(log1p, numerics::bits(numerics::log1p(x)))                                      \
  NVIUM_LOOP(erf, numerics::bits(numerics::erf(x)))                                          \
  NVIUM_LOOP(sigmoid, numerics::bits(numerics::sigmoid(x)))                                  \
  NVIUM_LOOP(log_sigmoid, numerics::bits(numerics::log_sigmoid(x)))                          \
  NVIUM_LOOP(silu, numerics::bits(numerics::silu(x)))                                        \
  NVIUM_LOOP(gelu, numerics::bits(numerics::gelu(x)))                                        \
  NVIUM_LOOP(exponential, numerics::bits(numerics::exponential(u)))                          \
  NVIUM_LOOP(gumbel, numerics::bits(numerics::gumbel(u)))                                    \
  NVIUM_LOOP(bf16, numerics::bf16_from_float(x))                                             \
  NVIUM_LOOP(f16, numerics::bits(numerics::f16_to_float(static_cast<uint16_t>(u >> 16))))    \
  NVIUM_LOOP(ordered, numerics::ordered(x))                                                  \
  NVIUM_LOOP(fixed, static_cast<uint32_t>(numerics::fixed_point(numerics::sigmoid(x)) >> 9)) \
  NVIUM_LOOP(from_fixed, numerics::bits(numerics::from_fixed(uint64_t{u} * 0x100003001u)))   \
  NVIUM_LOOP(token, numerics::bits(numerics::token_noise(u, 1, u >> 8, u & 0xffff)))         \
  NVIUM_LOOP(stays, numerics::bits(numerics::stays(0.75f, x)))                               \
  NVIUM_LOOP(leaves, numerics::leaves(u * 2654435761u, numerics::sigmoid(x)))                \
  NVIUM_LOOP(norm, numerics::bits(numerics::norm_scale(numerics::sigmoid(x), 96, 1e-5f)))    \
  NVIUM_LOOP(rotation, numerics::bits(numerics::rotation(u >> 8, 0.6180339887498949).sin))   \
  NVIUM_LOOP(frequency, static_cast<uint32_t>(                                               \
                            numerics::bits(numerics::power(1.0 + u, -1.0 / (1 + (u & 63))))))

namespace {

struct Baseline {
  NVIUM_LOOPS
};

#pragma GCC push_options
#pragma GCC target("avx2,fma")
struct Avx2 {
  NVIUM_LOOPS
};
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")
struct Avx512 {
  NVIUM_LOOPS
};
#pragma GCC pop_options

using Loop = void (*)(const uint32_t*, uint32_t*, int);

struct Entry {
  const char* name;
  Loop baseline, avx2, avx512;
  uint32_t stride;
};

#define NVIUM_ENTRY(name, stride)                              \
  {                                                            \
#name, &Baseline::name, &Avx2::name, &Avx512::name, stride \
  }

const Entry kEntries[] = {
    NVIUM_ENTRY(exp, 1021),    NVIUM_ENTRY(log, 1021),      NVIUM_ENTRY(log1p, 1021),
    NVIUM_ENTRY(erf, 2039),    NVIUM_ENTRY(sigmoid, 1021),  NVIUM_ENTRY(log_sigmoid, 2039),
    NVIUM_ENTRY(silu, 1021),   NVIUM_ENTRY(gelu, 1021),     NVIUM_ENTRY(exponential, 1021),
    NVIUM_ENTRY(gumbel, 2039), NVIUM_ENTRY(bf16, 509),      NVIUM_ENTRY(f16, 509),
    NVIUM_ENTRY(ordered, 509), NVIUM_ENTRY(fixed, 2039),    NVIUM_ENTRY(from_fixed, 509),
    NVIUM_ENTRY(token, 4093),  NVIUM_ENTRY(stays, 2039),    NVIUM_ENTRY(leaves, 2039),
    NVIUM_ENTRY(norm, 2039),   NVIUM_ENTRY(rotation, 8191), NVIUM_ENTRY(frequency, 16381),
};

bool is_nan(uint32_t u) { return (u & 0x7fffffffu) > 0x7f800000u; }

// Differing words, NaN counting as equal to NaN: which one it is depends on the processor.
void compare(const char* name, Loop wide, Loop baseline, uint32_t stride) {
  constexpr int kBatch = 4096 + 5;
  std::vector<uint32_t> in(kBatch), expected(kBatch), got(kBatch);
  int differing = 0;
  uint32_t first = 0;
  for (uint64_t u = 0; u < 0x100000000;) {
    for (uint32_t& word : in) word = static_cast<uint32_t>(u), u += stride;
    numerics::with_flushing([&] {
      baseline(in.data(), expected.data(), kBatch);
      wide(in.data(), got.data(), kBatch);
    });
    for (int i = 0; i < kBatch; ++i) {
      if (got[i] == expected[i] || (is_nan(got[i]) && is_nan(expected[i]))) continue;
      if (differing++ == 0) first = in[i];
    }
  }
  if (differing == 0) return;
  std::printf("  %s differs for %d inputs, first 0x%08x\n", name, differing, first);
  CHECK(differing == 0);
}

}  // namespace

TEST(avx2_gives_the_same_bits) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return;
  for (const Entry& entry : kEntries) compare(entry.name, entry.avx2, entry.baseline, entry.stride);
}

TEST(avx512_gives_the_same_bits) {
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return;
  }
  for (const Entry& entry : kEntries) {
    compare(entry.name, entry.avx512, entry.baseline, entry.stride);
  }
}

#endif
