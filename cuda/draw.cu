// From hidden states to tokens.
//
//   head_kernel   The head's product and the draw from its logits in one pass: each logit is
//   divided
//                 by the temperature, given the Gumbel noise of its token (Philox, here), and the
//                 largest score of a row survives. Logits go to memory only where asked for. A warp
//                 has 32 tokens of one row at a time and keeps the row's best in shared memory; a
//                 block then gives its best to the row's word in memory, and the block that ends
//                 last makes tokens of them.
//   top_kernel    Top-k: one block a row finds, by radix selection over logits in memory, the key
//   of
//                 the k-th largest, and draws from those that reach it.
//
// A candidate is a 64-bit integer: the score's place in the order of floats above, the complement
// of the token below. The largest integer is the best score with the lowest token, whatever the
// order of comparison. All ones is no candidate: it marks a row with a logit that is not finite;
// zero is none at all.
#include "../native/numerics/noise.h"
#include "project.cuh"

namespace nvium::cuda {
namespace {

using Key = unsigned long long;
constexpr Key kNotFinite = ~Key(0);

__device__ __forceinline__ Key candidate(float score, uint32_t token) {
  return Key(numerics::ordered(score)) << 32 | (0xffffffffu - token);
}
// Also of the two special keys: neither is a token.
__device__ __forceinline__ uint32_t token_of(Key key) {
  return key == 0 || key == kNotFinite ? kNoToken : 0xffffffffu - uint32_t(key);
}

__device__ __forceinline__ float score_of(const Draw& draw, float logit, uint32_t token) {
  return logit / draw.temperature +
         numerics::token_noise(draw.seed, draw.stream, draw.position, token);
}

template <DType kType, int kRows>
__global__ void __launch_bounds__(kMostWarps* kWarp, 1)
    head_kernel(const Product p, const DrawBatch batch) {
  NV_DYN_SMEM(shared);
  NV_SHARED(Key[kRows], best);
  for (uint32_t r = threadIdx.x; r < kRows; r += blockDim.x) best[r] = 0;
  __syncthreads();
  Pass<kType, kRows> work(p, 0, shared);
  work.run(blockIdx.x, gridDim.x, false, [&](uint32_t row, uint32_t token, float total, float up) {
    Key key = 0;
    if (token < p.width) {
      const float logit = work.finished(row, token, total, up);
      if (p.output != nullptr) p.output[size_t(row) * p.width + token] = logit;
      const Draw& draw = batch.draws[row];
      const float score = draw.temperature == 0 ? logit : score_of(draw, logit, token);
      // A score of minus infinity wins against nothing.
      if (score > -numerics::kInfinity) key = candidate(score, token);
      if (!numerics::is_finite(logit)) key = kNotFinite;
    }
    key = warp_largest(key);
    // Only this warp ever looks at the row.
    if (lane_id() == 0 && key > best[row]) best[row] = key;
  });
  __syncthreads();
  if (threadIdx.x < p.rows) atomicMax(&batch.best[threadIdx.x], best[threadIdx.x]);
  if (!last_of(gridDim.x, batch.ticket)) return;
  if (threadIdx.x < p.rows) {
    const uint32_t token = token_of(atomicExch(&batch.best[threadIdx.x], Key(0)));
    batch.tokens[threadIdx.x] = token;
    if (batch.pinned_tokens != nullptr) batch.pinned_tokens[threadIdx.x] = token;
  }
}

constexpr uint32_t kTopThreads = 512;
constexpr int kDigits = 256;

// The logits' order, then the lower token first.
__global__ void __launch_bounds__(kTopThreads, 1)
    top_kernel(const float* const all_logits, const uint32_t vocab, const DrawBatch batch) {
  NV_SHARED(uint32_t[kDigits], counts);
  NV_SHARED(Key, threshold);
  NV_SHARED(uint32_t, rest);
  NV_SHARED(Key[kTopThreads / kWarp], best);
  const uint32_t row = blockIdx.x;
  const Draw& draw = batch.draws[row];
  const float* const logits = all_logits + size_t(row) * vocab;
  const bool asked = draw.top_k != 0 && draw.top_k < vocab && draw.temperature != 0;
  if (!asked || batch.tokens[row] == kNoToken) {
    if (threadIdx.x == 0) batch.pinned_tokens[row] = batch.tokens[row];
    return;
  }

  // Keys are distinct. Digit by digit from the top: how many keys share the digits chosen so far
  // and have each value of the next; the value in which the k-th largest lies is chosen.
  if (threadIdx.x == 0) threshold = 0, rest = draw.top_k;
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (uint32_t i = threadIdx.x; i < kDigits; i += kTopThreads) counts[i] = 0;
    __syncthreads();
    const Key chosen = threshold;
    for (uint32_t v = threadIdx.x; v < vocab; v += kTopThreads) {
      const Key key = candidate(logits[v], v);
      // In two shifts, for the first one would otherwise be by 64.
      if ((key ^ chosen) >> shift >> 8 == 0) atomicAdd(&counts[uint32_t(key >> shift) & 255], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int digit = kDigits - 1;
      while (counts[digit] < rest) rest -= counts[digit--];
      threshold = chosen | Key(digit) << shift;
    }
    __syncthreads();
  }

  const Key least = threshold;
  Key mine = 0;
  for (uint32_t v = threadIdx.x; v < vocab; v += kTopThreads) {
    if (candidate(logits[v], v) < least) continue;
    const Key key = candidate(score_of(draw, logits[v], v), v);
    mine = mine > key ? mine : key;
  }
  mine = warp_largest(mine);
  if (lane_id() == 0) best[warp_id()] = mine;
  __syncthreads();
  if (warp_id() != 0) return;
  mine = warp_largest(lane_id() < kTopThreads / kWarp ? best[lane_id()] : Key(0));
  if (lane_id() == 0) batch.pinned_tokens[row] = token_of(mine);
}

struct HeadLaunch {
  const Machine& machine;
  const Product& head;
  const DrawBatch& batch;
  cudaStream_t stream;

  template <DType kType, int kRows>
  cudaError_t run() const {
    const Grid grid = grid_of<kType, kRows>(machine, head);
    return nv::launch(head_kernel<kType, kRows>, grid.blocks(), grid.threads(), stream,
                      {.shared = grid.shared}, head, batch);
  }
};

struct Prepare {
  template <DType kType, int kRows>
  cudaError_t run() const {
    return cudaFuncSetAttribute(reinterpret_cast<const void*>(head_kernel<kType, kRows>),
                                cudaFuncAttributeMaxDynamicSharedMemorySize, int(kSharedMost));
  }
};

}  // namespace

cudaError_t prepare_heads() { return for_every_shape(Prepare{}); }

cudaError_t project_and_draw(const Machine& machine, DType type, const Product& head,
                             const DrawBatch& batch, cudaStream_t stream) {
  return for_shape(type, head.rows, HeadLaunch{machine, head, batch, stream});
}

cudaError_t draw_top(const float* logits, uint32_t vocab, uint32_t rows, const DrawBatch& batch,
                     cudaStream_t stream) {
  return nv::launch(top_kernel, dim3(rows), dim3(kTopThreads), stream, {}, logits, vocab, batch);
}

}  // namespace nvium::cuda
