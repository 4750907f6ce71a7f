// What follows a product's total.
#pragma once

#include "../native/numerics/functions.h"
#include "block.cuh"

namespace nvium::cuda {

// Bias, activation, residual, in this order; `up` is SwiGLU's other product.
__device__ __forceinline__ float finished(const Product& p, uint32_t row, uint32_t column,
                                          float total, float up) {
  float value = total;
  if (p.bias != nullptr) value += p.bias[column];
  switch (p.activation) {
    case Activation::none:
      break;
    case Activation::silu:
      value = numerics::silu(value);
      break;
    case Activation::gelu:
      value = numerics::gelu(value);
      break;
    case Activation::swiglu:
      value = numerics::silu(value) * up;
      break;
  }
  if (p.residual != nullptr) value += p.residual[size_t(row) * p.width + column];
  return value;
}

// Neighbouring columns of a row; what lies beyond the product's rows and columns is dropped.
template <int kColumns>
__device__ __forceinline__ void store(const Product& p, uint32_t row, uint32_t column,
                                      const float (&totals)[kColumns],
                                      const float (&ups)[kColumns]) {
  if (row >= p.rows) return;
  float* const to = p.output + size_t(row) * p.width + column;
  float values[kColumns];
  NV_UNROLL
  for (int i = 0; i < kColumns; i++) {
    values[i] = column + i < p.width ? finished(p, row, column + i, totals[i], ups[i]) : 0.0f;
  }
  if (p.width % kColumns == 0) {  // and so every row begins where such a store may
    if (column >= p.width) return;
    if constexpr (kColumns == 4) {
      *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
    } else {
      *reinterpret_cast<float2*>(to) = make_float2(values[0], values[1]);
    }
    return;
  }
  NV_UNROLL
  for (int i = 0; i < kColumns; i++) {
    if (column + i < p.width) to[i] = values[i];
  }
}

}  // namespace nvium::cuda
