// From hidden states to tokens.
//
// head_kernel: the head's product and the draw from its logits in one pass. Each logit is divided
// by the temperature, given the Gumbel noise of its token (Philox, here), and the largest score of
// a row survives. Logits go to memory only where asked for. A warp has 32 tokens of four rows at a
// time and brings each row's best to shared memory; a block then gives its best to the row's word
// in memory, and the block that ends last makes tokens of them. For a row with top-k it first
// finds, by radix selection over the row's logits in memory, the key of the k-th largest, and draws
// from those that reach it: a pass over [vocab] floats for each digit that is needed and one to
// draw, which the second-level cache has.
//
// A candidate is a 64-bit integer: the score's place in the order of floats above, the complement
// of the token below. The largest integer is the best score with the lowest token, whatever the
// order of comparison. All ones is no candidate: it marks a row with a logit that is not finite;
// zero is none at all.
#include "../native/numerics/noise.h"
#include "epilogue.cuh"
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

// Over the eight lanes that have columns of one row.
__device__ __forceinline__ Key largest_of_eight(Key key) {
  NV_UNROLL
  for (int half = 4; half > 0; half /= 2) {
    const Key other = __shfl_xor_sync(kAllLanes, key, half);
    key = key > other ? key : other;
  }
  return key;
}

constexpr int kDigits = 256;

// The best of a row's top_k largest logits, lower tokens first among equals: a block's work, which
// all of its threads call. Thread 0 has the result.
__device__ Key best_of_top(const float* logits, uint32_t vocab, const Draw& draw) {
  NV_SHARED(uint32_t[kDigits], counts);
  NV_SHARED(Key, threshold);
  NV_SHARED(uint32_t, rest);
  NV_SHARED(Key[kMostWarps], best);
  const auto each_logit = [&](const auto& visit) {
    constexpr uint32_t kAhead = 8;  // asked for before the first is used: nobody else is at work
    for (uint32_t begin = threadIdx.x; begin < vocab; begin += kAhead * blockDim.x) {
      float ahead[kAhead];
      NV_UNROLL
      for (uint32_t j = 0; j < kAhead; j++) {
        const uint32_t v = begin + j * blockDim.x;
        ahead[j] = v < vocab ? logits[v] : 0.0f;
      }
      NV_UNROLL
      for (uint32_t j = 0; j < kAhead; j++) {
        const uint32_t v = begin + j * blockDim.x;
        if (v < vocab) visit(v, ahead[j]);
      }
    }
  };
  // Keys are distinct. Digit by digit from the top: how many keys share the digits chosen so far
  // and have each value of the next; the value in which the k-th largest lies is chosen, until all
  // keys that have it are wanted: then lower digits may be anything.
  if (threadIdx.x == 0) threshold = 0, rest = draw.top_k;
  int shift = 56;
  do {
    for (uint32_t i = threadIdx.x; i < kDigits; i += blockDim.x) counts[i] = 0;
    __syncthreads();
    const Key chosen = threshold;
    each_logit([&](uint32_t v, float logit) {
      const Key key = candidate(logit, v);
      // In two shifts, for the first one would otherwise be by 64.
      if ((key ^ chosen) >> shift >> 8 == 0) atomicAdd(&counts[uint32_t(key >> shift) & 255], 1u);
    });
    __syncthreads();
    if (threadIdx.x == 0) {
      int digit = kDigits - 1;
      while (counts[digit] < rest) rest -= counts[digit--];
      if (counts[digit] == rest) rest = 0;
      threshold = chosen | Key(digit) << shift;
    }
    shift -= 8;
    __syncthreads();
  } while (rest != 0);

  const Key least = threshold;
  Key mine = 0;
  each_logit([&](uint32_t v, float logit) {
    if (candidate(logit, v) < least) return;
    const Key key = candidate(score_of(draw, logit, v), v);
    mine = mine > key ? mine : key;
  });
  mine = warp_largest(mine);
  if (lane_id() == 0) best[warp_id()] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (uint32_t w = 1; w < blockDim.x / kWarp; w++) mine = mine > best[w] ? mine : best[w];
  }
  // The next row writes nothing that is still read here before it has met a barrier.
  return mine;
}

template <MatrixType kType, int kRows>
__global__ void __launch_bounds__(kMostWarps* kWarp, 2)
    head_kernel(const Product p, const Spread spread, const DrawBatch batch) {
  NV_DYN_SMEM(shared);
  NV_SHARED(Key[kRows], best);
  nv::grid_dependency_trigger();
  for (uint32_t r = threadIdx.x; r < kRows; r += blockDim.x) best[r] = 0;
  Pass<kType, kRows> work(p, spread, shared);
  work.run([&](uint32_t row, uint32_t token, const float(&totals)[4], const float(&ups)[4]) {
    Key key = 0;
    NV_UNROLL
    for (uint32_t i = 0; i < 4; i++) {
      if (row >= p.rows || token + i >= p.width) continue;
      const float logit = finished(p, row, token + i, totals[i], ups[i]);
      if (p.output != nullptr) p.output[size_t(row) * p.width + token + i] = logit;
      const Draw& draw = batch.draws[row];
      const float score = draw.temperature == 0 ? logit : score_of(draw, logit, token + i);
      // A score of minus infinity wins against nothing.
      Key one = score > -numerics::kInfinity ? candidate(score, token + i) : 0;
      if (!numerics::is_finite(logit)) one = kNotFinite;
      key = key > one ? key : one;
    }
    key = largest_of_eight(key);
    if (lane_id() % 8 == 0 && row < p.rows) atomicMax(&best[row], key);
  });
  __syncthreads();
  if (threadIdx.x < p.rows) atomicMax(&batch.best[threadIdx.x], best[threadIdx.x]);
  if (!last_of(gridDim.x * gridDim.y, batch.ticket)) return;
  if (threadIdx.x < p.rows) best[threadIdx.x] = atomicExch(&batch.best[threadIdx.x], Key(0));
  __syncthreads();
  for (uint32_t row = 0; row < p.rows; row++) {
    Key key = best[row];
    if (key != kNotFinite && batch.draws[row].keeps_some(p.width)) {
      key = best_of_top(p.output + size_t(row) * p.width, p.width, batch.draws[row]);
    }
    if (threadIdx.x == 0) batch.tokens[row] = token_of(key);
  }
}

struct HeadLaunch {
  const Machine& machine;
  const Product& head;
  const DrawBatch& batch;
  const Scratch& scratch;
  cudaStream_t stream;

  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    const Grid grid = grid_of<kType, kRows>(machine, head);
    return nv::launch(head_kernel<kType, kRows>, grid.blocks(), grid.threads(), stream,
                      {.shared = grid.shared, .dependent = machine.dependent}, head,
                      Spread{scratch.sums, scratch.tickets, grid.share}, batch);
  }
};

struct Prepare {
  template <MatrixType kType, int kRows>
  cudaError_t run() const {
    return nv::load_with(head_kernel<kType, kRows>, kSharedMost);
  }
};

}  // namespace

cudaError_t prepare_heads() { return for_every_shape(Prepare{}); }

cudaError_t project_and_draw(const Machine& machine, MatrixType type, const Product& head,
                             const DrawBatch& batch, const Scratch& scratch, cudaStream_t stream) {
  return for_shape(type, head.rows, HeadLaunch{machine, head, batch, scratch, stream});
}

}  // namespace nvium::cuda
