// What weights are multiplied with: a chunk of each row of activations, normalised where the
// product has a norm and rounded as its matrix asks, in shared memory as floats.
//
// They lie as [pair of columns][even, odd][row], which is the order in which chains read them, the
// same word for all lanes of a warp. Whoever writes them takes four rows of one column at a time
// (or all rows of a pair, where they are fewer), neighbours neighbouring words.
#pragma once

#include "../native/numerics/sums.h"
#include "ring.cuh"

namespace nvium::cuda {

template <int kRows>
struct Operands {
  static constexpr uint32_t kPairWords = 2 * kRows;
  static constexpr uint32_t kWords = kChunkPairs * kPairWords;
};

template <MatrixType kType>
__device__ __forceinline__ float as_operand(float value) {
  if constexpr (operand_of(kType) == OperandType::bf16) {
    return numerics::bf16_to_float(numerics::bf16_from_float(value));
  } else {
    return value;
  }
}

// Elements of a row under a norm that a lane asks for before it uses the first.
constexpr uint32_t kNormAhead = 16;

// RMSNorm's scale of a row, a warp's work: lane i is accumulator i. The input comes from the launch
// ahead, so loads are plain ones. Every lane has the scale.
__device__ __forceinline__ float scale_of(const Product& p, uint32_t row) {
  const float* x = p.input + size_t(row) * p.cols + lane_id();
  float squares = 0.0f;
  for (uint32_t begin = lane_id(); begin < p.cols; begin += kNormAhead * kWarp) {
    float ahead[kNormAhead];
    NV_UNROLL
    for (uint32_t i = 0; i < kNormAhead; i++) {
      ahead[i] = begin + i * kWarp < p.cols ? x[i * kWarp] : 0.0f;
    }
    // What is not there adds +0 to a sum that is not -0.
    NV_UNROLL
    for (uint32_t i = 0; i < kNormAhead; i++) {
      squares = numerics::fma(ahead[i], ahead[i], squares);
    }
    x += kNormAhead * kWarp;
  }
  return numerics::norm_scale(warp_tree(squares), int(p.cols), p.epsilon);
}

// One element of the operand before it is rounded; zero outside.
__device__ __forceinline__ float element(const Product& p, const float* scales, uint32_t row,
                                         uint32_t k, bool store) {
  if (row >= p.rows || k >= p.cols) return 0.0f;
  const size_t at = size_t(row) * p.cols + k;
  const float x = p.input[at];
  if (p.norm == nullptr) return x;
  const float y = numerics::normalised(x, scales[row], p.norm[k]);
  if (store) p.normed[at] = y;
  return y;
}

// The operands of a chunk; `store`: the normalised rows go to p.normed too.
template <MatrixType kType, int kRows>
__device__ __forceinline__ void stage_operands(const Product& p, uint32_t chunk,
                                               const float* scales, bool store, float* to) {
  constexpr uint32_t kPairWords = Operands<kRows>::kPairWords;
  constexpr uint32_t kItemWords = kPairWords < 4 ? kPairWords : 4;
  constexpr uint32_t kItems = kPairWords / kItemWords;  // of a pair
  for (uint32_t i = threadIdx.x; i < kChunkPairs * kItems; i += blockDim.x) {
    const uint32_t k = chunk * numerics::kDotChunk + 2 * (i / kItems);
    float item[kItemWords];
    NV_UNROLL
    for (uint32_t w = 0; w < kItemWords; w++) {
      const uint32_t word = i % kItems * kItemWords + w;  // of the pair
      item[w] = as_operand<kType>(element(p, scales, word % kRows, k + word / kRows, store));
    }
    if constexpr (kItemWords == 2) {
      *reinterpret_cast<float2*>(to + i * 2) = make_float2(item[0], item[1]);
    } else {
      *reinterpret_cast<float4*>(to + i * 4) = make_float4(item[0], item[1], item[2], item[3]);
    }
  }
}

// The operands of one pair for all rows.
template <int kRows>
__device__ __forceinline__ void load_operands(const float* pair, float (&even)[kRows],
                                              float (&odd)[kRows]) {
  if constexpr (kRows == 1) {
    const float2 v = *reinterpret_cast<const float2*>(pair);
    even[0] = v.x, odd[0] = v.y;
  } else if constexpr (kRows == 2) {
    const float4 v = *reinterpret_cast<const float4*>(pair);
    even[0] = v.x, even[1] = v.y, odd[0] = v.z, odd[1] = v.w;
  } else {
    NV_UNROLL
    for (int r = 0; r < kRows; r += 4) {
      const float4 e = *reinterpret_cast<const float4*>(pair + r);
      const float4 o = *reinterpret_cast<const float4*>(pair + kRows + r);
      even[r] = e.x, even[r + 1] = e.y, even[r + 2] = e.z, even[r + 3] = e.w;
      odd[r] = o.x, odd[r + 1] = o.y, odd[r + 2] = o.z, odd[r + 3] = o.w;
    }
  }
}

}  // namespace nvium::cuda
