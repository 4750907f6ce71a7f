#include "quantise.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "../numerics/functions.h"
#include "../numerics/integers.h"
#include "../numerics/types.h"
#include "stored.h"

namespace nvium {
namespace {

using numerics::Int4;
using numerics::Int8;

// Below it a scale would be subnormal: the group is zeros.
constexpr float kLeastWeight = 0x1.fcp-120f;

int32_t nearest(float x) {
  return int32_t(numerics::bits(x + numerics::kRoundToInteger)) -
         int32_t(numerics::bits(numerics::kRoundToInteger));
}

float largest_of(const float* w, uint32_t count) {
  float most = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (std::fabs(w[i]) > std::fabs(most)) most = w[i];
  }
  return most;
}

// The bf16 next at or above a positive float.
uint16_t bf16_above(float x) { return uint16_t((numerics::bits(x) + 0xffffu) >> 16); }

// The largest magnitude becomes 127, or nearly so.
uint16_t quantise_int8(const float* w, uint32_t count, int8_t* out) {
  const float most = std::fabs(largest_of(w, count));
  if (most < kLeastWeight) {
    std::memset(out, 0, count);
    return 0;
  }
  const uint16_t scale = bf16_above(most / float(Int8::kMost));
  const float s = numerics::bf16_to_float(scale);
  for (uint32_t i = 0; i < count; i++) out[i] = int8_t(nearest(w[i] / s));
  return scale;
}

// Sums over 32 elements as eight chains, so that a compiler has vectors of them.
constexpr uint32_t kChains = 8;

template <class Term>
float sum_of_group(const Term& term) {
  float chains[kChains] = {};
  for (uint32_t i = 0; i < Int4::kGroup; i += kChains) {
    for (uint32_t j = 0; j < kChains; j++) chains[j] += term(i + j);
  }
  for (uint32_t half = kChains / 2; half > 0; half /= 2) {
    for (uint32_t j = 0; j < half; j++) chains[j] += chains[j + half];
  }
  return chains[0];
}

// Of several places for the largest magnitude, near -8 and near 7, the one whose squared error is
// least once the scale is the best for the integers it gives.
constexpr float kPlaces[] = {-8.0f, -7.75f, -7.5f, -7.25f, -8.25f, -8.5f,
                             -9.0f, -7.0f,  7.0f,  7.25f,  7.5f};

uint16_t quantise_int4(const float* w, uint32_t count, int8_t* out) {
  const float most = largest_of(w, count);
  std::memset(out, 0, count);
  if (std::fabs(most) < kLeastWeight) return 0;
  float v[Int4::kGroup] = {};  // in units of the largest
  for (uint32_t i = 0; i < count; i++) v[i] = w[i] / most;
  uint16_t best_scale = 0;
  float least = numerics::kInfinity;
  for (const float place : kPlaces) {
    float q[Int4::kGroup];
    for (uint32_t i = 0; i < Int4::kGroup; i++) {
      const float shifted = v[i] * place + numerics::kRoundToInteger;
      const float rounded = shifted - numerics::kRoundToInteger;
      const float low = rounded < float(Int4::kLeast) ? float(Int4::kLeast) : rounded;
      q[i] = low > float(Int4::kMost) ? float(Int4::kMost) : low;
    }
    const float products = sum_of_group([&](uint32_t i) { return v[i] * q[i]; });
    const float squares = sum_of_group([&](uint32_t i) { return q[i] * q[i]; });
    const uint16_t scale = numerics::bf16_from_float(most * (products / squares));
    if (scale == 0 || scale == 0x8000) continue;
    const float s = numerics::bf16_to_float(scale) / most;
    const float error = sum_of_group([&](uint32_t i) {
      const float e = v[i] - q[i] * s;
      return e * e;
    });
    if (!(error < least)) continue;
    least = error;
    best_scale = scale;
    for (uint32_t i = 0; i < count; i++) out[i] = int8_t(q[i]);
  }
  return best_scale;
}

}  // namespace

void quantise_row(MatrixType type, const float* row, uint32_t cols, int8_t* integers,
                  uint16_t* scales) {
  const uint32_t group = group_columns(type);
  for (uint32_t begin = 0; begin < cols; begin += group) {
    const uint32_t count = cols - begin < group ? cols - begin : group;
    *scales++ = type == MatrixType::int4 ? quantise_int4(row + begin, count, integers + begin)
                                         : quantise_int8(row + begin, count, integers + begin);
  }
}

bool quantise_rows(StoredType from, StoredType to, uint32_t rows, uint32_t cols, std::byte* stored,
                   std::byte* integers, uint16_t* scales) {
  const MatrixType type = to == StoredType::int4 ? MatrixType::int4 : MatrixType::int8;
  const TensorPlan in{.cols = cols, .type = from}, out{.cols = cols, .type = to};
  if (!clean(from, size_t(rows) * cols, stored)) return false;
  std::vector<float> values(cols);
  std::vector<int8_t> row(cols);
  for (uint32_t r = 0; r < rows; r++) {
    for (uint32_t k = 0; k < cols; k++) {
      values[k] = widen(from, stored + r * in.row_bytes() + k * bytes_of(from));
    }
    quantise_row(type, values.data(), cols, row.data(), scales);
    write_integers(to, cols, row.data(), integers + r * out.row_bytes());
    scales += ceil_div(cols, group_columns(type));
  }
  return true;
}

}  // namespace nvium
