// Rows of tables and laws over the vocabulary: looking tokens up, looking for values that are not
// finite, and the mixture. Each is a small share of a token's time; clarity comes first.
#include "../native/numerics/functions.h"
#include "../native/numerics/sums.h"
#include "block.cuh"

namespace nvium::cuda {
namespace {

constexpr uint32_t kThreads = 256;

// A block a row of the output; a thread an element of it. Neighbouring elements of a row lie a
// tile's width apart, so a row costs a sector an element (or two).
__global__ void __launch_bounds__(kThreads, 1) embed_kernel(const EmbedJob job) {
  nv::grid_dependency_trigger();
  nv::grid_dependency_wait();
  const Matrix table = job.table;
  uint32_t token = job.tokens != nullptr ? job.tokens[blockIdx.x] : 0;
  if (job.tokens == nullptr) {
    NV_UNROLL  // parameters have no addresses to add to
        for (uint32_t i = 0; i < kPassRows; i++) {
      if (i == blockIdx.x) token = job.few[i];
    }
  }
  const std::byte* tile = table.tiles + token / kTileRows * table.tile_bytes();
  for (uint32_t c = threadIdx.x; c < table.cols; c += kThreads) {
    const size_t at = tile_index(table.type, token % kTileRows, c);
    float value;
    switch (table.type) {
      case MatrixType::bf16:
        value = numerics::bf16_to_float(reinterpret_cast<const uint16_t*>(tile)[at]);
        break;
      case MatrixType::f16:
        value = numerics::f16_to_float(reinterpret_cast<const uint16_t*>(tile)[at]);
        break;
      default:
        value = reinterpret_cast<const float*>(tile)[at];
    }
    job.output[size_t(blockIdx.x) * table.cols + c] = value;
  }
}

__global__ void __launch_bounds__(kThreads, 1)
    finite_kernel(const float* const values, const size_t count, uint32_t* const pinned_flag) {
  bool bad = false;
  for (size_t i = blockIdx.x * size_t(kThreads) + threadIdx.x; i < count;
       i += size_t(gridDim.x) * kThreads) {
    bad |= !numerics::is_finite(values[i]);
  }
  // All who write write the same, so that no atomic has to cross to the host.
  if (__syncthreads_or(bad) && threadIdx.x == 0) *static_cast<volatile uint32_t*>(pinned_flag) = 1;
}

// A warp a row of `width`: lane i is accumulator i of the norm's sum, and writes elements i, i +
// 32, … of the result. Each row is read twice, the second time from the cache.
__global__ void __launch_bounds__(kThreads, 1) normalise_kernel(const NormJob job) {
  nv::grid_dependency_trigger();
  nv::grid_dependency_wait();
  const uint32_t row = blockIdx.x * (kThreads / kWarp) + warp_id();
  if (row >= job.count) return;
  NormRow one{};
  if (job.rows != nullptr) {
    one = job.rows[row];
  } else {
    NV_UNROLL
    for (uint32_t i = 0; i < kPassRows; i++) {
      if (i == row) one = job.few[i];
    }
  }
  float squares = 0.0f;
  for (uint32_t i = lane_id(); i < job.width; i += kWarp) {
    squares = numerics::fma(one.input[i], one.input[i], squares);
  }
  const float scale = numerics::norm_scale(warp_tree(squares), int(job.width), job.epsilon);
  for (uint32_t i = lane_id(); i < job.width; i += kWarp) {
    job.output[size_t(row) * job.width + i] =
        numerics::normalised(one.input[i], scale, one.weight[i]);
  }
}

// log Z of one exit and row, a block each: the largest logit, then the sum in fixed point, whose
// order cannot show.
__global__ void __launch_bounds__(kThreads, 1)
    norm_kernel(const float* const all_logits, const uint32_t vocab, float* const log_norm) {
  NV_SHARED(float[kThreads / kWarp], maxima);
  NV_SHARED(unsigned long long, sum);
  const float* const logits = all_logits + size_t(blockIdx.x) * vocab;
  float largest = logits[0];
  for (uint32_t v = threadIdx.x; v < vocab; v += kThreads) {
    largest = numerics::larger(largest, logits[v]);
  }
  largest = warp_largest(largest);
  if (lane_id() == 0) maxima[warp_id()] = largest;
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  largest = maxima[0];
  for (uint32_t w = 1; w < kThreads / kWarp; w++) largest = numerics::larger(largest, maxima[w]);
  unsigned long long mine = 0;
  for (uint32_t v = threadIdx.x; v < vocab; v += kThreads) {
    mine += numerics::fixed_point(numerics::exp(logits[v] - largest));
  }
  atomicAdd(&sum, mine);
  __syncthreads();
  if (threadIdx.x == 0) {
    log_norm[blockIdx.x] = largest + numerics::log(numerics::from_fixed(sum));
  }
}

// A thread a token of a row.
__global__ void __launch_bounds__(kThreads, 1)
    mix_kernel(const Mixture m, const float* const log_exit, const float* const log_norm) {
  const uint32_t row = blockIdx.y, v = blockIdx.x * kThreads + threadIdx.x;
  if (v >= m.vocab) return;
  const auto term = [&](uint32_t k) {
    const size_t at = size_t(k) * m.rows + row;
    return log_exit[at] + (m.logits[at * m.vocab + v] - log_norm[at]);
  };
  float largest = term(0);
  for (uint32_t k = 1; k < m.exits; k++) largest = numerics::larger(largest, term(k));
  float sum = 0.0f;
  for (uint32_t k = 0; k < m.exits; k++) sum += numerics::exp(term(k) - largest);
  m.output[size_t(row) * m.vocab + v] = largest + numerics::log(sum);
}

}  // namespace

cudaError_t prepare_tables() {
  return nv::load(embed_kernel, finite_kernel, normalise_kernel, norm_kernel, mix_kernel);
}

cudaError_t embed(const Machine& machine, const EmbedJob& job, cudaStream_t stream) {
  return nv::launch(embed_kernel, dim3(job.rows), dim3(kThreads), stream,
                    {.dependent = machine.dependent}, job);
}

cudaError_t normalise(const Machine& machine, const NormJob& job, cudaStream_t stream) {
  return nv::launch(normalise_kernel, dim3(ceil_div(job.count, kThreads / kWarp)), dim3(kThreads),
                    stream, {.dependent = machine.dependent}, job);
}

cudaError_t find_non_finite(const Machine& machine, const float* values, size_t count,
                            uint32_t* pinned_flag, cudaStream_t stream) {
  const size_t blocks = (count + kThreads - 1) / kThreads;
  const uint32_t most = 4 * machine.processors;
  return nv::launch(finite_kernel, dim3(blocks < most ? uint32_t(blocks) : most), dim3(kThreads),
                    stream, {}, values, count, pinned_flag);
}

cudaError_t mix(const Machine&, const Mixture& mixture, const float* log_exit, float* log_norm,
                cudaStream_t stream) {
  const cudaError_t error =
      nv::launch(norm_kernel, dim3(mixture.exits * mixture.rows), dim3(kThreads), stream, {},
                 mixture.logits, mixture.vocab, log_norm);
  if (error != cudaSuccess) return error;
  return nv::launch(mix_kernel, dim3(ceil_div(mixture.vocab, kThreads), mixture.rows),
                    dim3(kThreads), stream, {}, mixture, log_exit,
                    static_cast<const float*>(log_norm));
}

}  // namespace nvium::cuda
