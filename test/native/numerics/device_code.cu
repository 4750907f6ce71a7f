// Every function of native/numerics instantiated in a kernel. Compiled to PTX, never run: the test
// is that it compiles, and what device_code.cmake finds in the PTX.
#include "numerics/cascade.h"
#include "numerics/config.h"
#include "numerics/dot.h"
#include "numerics/environment.h"
#include "numerics/functions.h"
#include "numerics/noise.h"
#include "numerics/philox.h"
#include "numerics/rotary.h"
#include "numerics/sums.h"
#include "numerics/trigonometry.h"
#include "numerics/types.h"

namespace numerics = nvium::numerics;

extern "C" __global__ void functions(const float* in, float* out) {
  const float x = in[threadIdx.x];
  out[0] = numerics::exp(x);
  out[1] = numerics::log(x);
  out[2] = numerics::log1p(x);
  out[3] = numerics::erf(x);
  out[4] = numerics::sigmoid(x);
  out[5] = numerics::log_sigmoid(x);
  out[6] = numerics::silu(x);
  out[7] = numerics::gelu(x);
  out[8] = numerics::sqrt(x);
  out[9] = numerics::larger(x, in[1]);
}

extern "C" __global__ void types(const float* in, float* out, uint16_t* halves) {
  const float x = in[threadIdx.x];
  const uint16_t h = halves[threadIdx.x];
  out[0] = numerics::bf16_to_float(h);
  out[1] = numerics::f16_to_float(h);
  out[2] = numerics::round_to_bf16(x);
  out[3] = numerics::flush_subnormal(x);
  out[4] = float(numerics::ordered(x));
  out[5] = numerics::is_finite(x) && numerics::is_finite_bf16(h) && numerics::is_finite_f16(h);
  halves[0] = numerics::bf16_from_float(x);
  halves[1] = numerics::flush_subnormal_bf16(h);
}

extern "C" __global__ void random_numbers(uint64_t seed, float* out, uint32_t* words) {
  const uint32_t x = words[threadIdx.x];
  out[0] = numerics::exponential(x);
  out[1] = numerics::gumbel(x);
  out[2] = numerics::token_noise(seed, x, 1, 2);
  words[0] = numerics::word(numerics::token_words(seed, x, 1, 2), x & 3);
}

extern "C" __global__ void cascade(uint64_t seed, const float* in, bool* out) {
  const uint32_t x = numerics::uniform(seed, 1, 2);
  const float d = numerics::difference(in[0], in[1], in[2]);
  out[0] = numerics::leaves(x, numerics::stays(in[3], d));
  out[1] = numerics::leaves_greedily(in[0], in[1]);
}

extern "C" __global__ void products(int count, const float* x, const float* w32,
                                    const uint16_t* w16, float* out) {
  out[0] = numerics::row_dot<numerics::Bf16>(count, w16, x);
  out[1] = numerics::row_dot<numerics::Bf16, numerics::WideStep>(count, w16, x);
  out[2] = numerics::row_dot<numerics::F16>(count, w16, x);
  out[3] = numerics::row_dot<numerics::F32>(count, w32, x);
}

extern "C" __global__ void sums(int count, const float* x, float* out, uint64_t* sum) {
  constexpr int kSlots = 64;
  float slots[kSlots];
  for (int i = 0; i < kSlots; ++i) slots[i] = x[i];
  const float r = numerics::norm_scale(numerics::sum_of_squares(x, count), count, x[0]);
  const numerics::Merge merge = numerics::merge_blocks(x[0], x[1]);
  out[0] = numerics::normalised(x[0], r, x[1]);
  out[1] = numerics::halving_tree<kSlots>(slots);
  out[2] = numerics::merged(merge, x[2], x[3]);
  out[3] = numerics::from_fixed(*sum);
  *sum += numerics::fixed_point(x[0]);
}

extern "C" __global__ void rotary(const numerics::RotaryScaling* scaling, float* x) {
  const double inverse = numerics::inverse_frequency(threadIdx.x, 64, 10000.0, *scaling);
  const numerics::Rotation table = numerics::rotation(blockIdx.x, inverse);
  const numerics::Pair pair = numerics::rotate(x[0], x[1], table.cos, table.sin);
  x[0] = pair.lo;
  x[1] = pair.hi;
}
