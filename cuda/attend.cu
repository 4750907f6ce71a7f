// Attention: rotary embedding, keys and values into their blocks, and the two products.
//
// A block has one span, one kv head and a group of (row, query head) pairs of them: pair i is row
// i / share and query head i % share of the kv head's. Where all pairs of a span fit, as they do
// when tokens are decoded, the block appends its kv head's keys and values itself and nobody else
// touches them. Otherwise a launch before has appended them.
//
// Blocks of 64 positions are taken in ascending order and merged as they come, up to the last one
// any pair of the group reaches. Per block, by all 256 threads:
//
//   scores   Keys are copied to shared memory, 128 elements of a head at a time (a chunk of the
//            dot), as they lie: tiles of 32 positions, K-major. A thread has one position and a
//            fourth of the pairs; the chunk's chain runs from +0, chunk sums are added in order.
//   weights  A warp a pair: lane i has positions i and i + 32, so that the first step of the
//   halving
//            tree is within the lane and the others are exchanges. The weights take the scores'
//            place, rounded as operands.
//   values   128 elements of a head at a time; a thread has one element and half of the pairs.
//   Sixty-
//            four positions are half a chunk: one chain.
//
// Threads read neighbouring words of keys and values, and one row of queries or weights, which all
// of a warp share: no two threads of a warp want different words of a bank. Every key and value
// is read from memory once for all rows of the span and all heads of the group.
#include "../native/numerics/rotary.h"
#include "../native/numerics/sums.h"
#include "block.cuh"

namespace nvium::cuda {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kSlabElements = 128;  // of a head, staged at a time: a chunk of the dot
constexpr uint32_t kMostPairs = 64;
constexpr size_t kAttendBudget = size_t(96) << 10;

// Operands of keys' and values' type as words of shared memory: two bf16, or one float.
template <DType kType>
struct Words {
  static constexpr uint32_t kPerPair = kType == DType::bf16 ? 1 : 2;
  static constexpr uint32_t kSlab = kBlockPositions * kSlabElements / 2 * kPerPair;

  // A whole number of 16 bytes.
  static __host__ __device__ uint32_t row(uint32_t elements) {
    return (elements / 2 * kPerPair + 3) / 4 * 4;
  }
  static __host__ __device__ size_t pair_bytes(uint32_t dim) {
    return 4 * size_t(row(dim) + kBlockPositions + dim + 4);
  }
  static __host__ __device__ size_t shared_bytes(uint32_t dim, uint32_t pairs) {
    return 4 * size_t(kSlab) + pairs * pair_bytes(dim);
  }
};

template <DType kType>
__device__ __forceinline__ void store_operand(void* row, size_t index, float value) {
  if constexpr (kType == DType::bf16) {
    static_cast<uint16_t*>(row)[index] = numerics::bf16_from_float(value);
  } else {
    static_cast<float*>(row)[index] = value;
  }
}

template <DType kType>
__device__ __forceinline__ float fma_pair(const uint32_t* column, const uint32_t* row, float sum) {
  if constexpr (kType == DType::bf16) {
    sum = numerics::fma(bf16_high(column[0]), bf16_high(row[0]), sum);
    return numerics::fma(bf16_low(column[0]), bf16_low(row[0]), sum);
  } else {
    sum = numerics::fma(numerics::from_bits(column[1]), numerics::from_bits(row[1]), sum);
    return numerics::fma(numerics::from_bits(column[0]), numerics::from_bits(row[0]), sum);
  }
}

// Chains of one column of a staged tile with kCount rows of operands; `words` is a multiple of
// Words::kPerPair.
template <DType kType, int kCount>
__device__ __forceinline__ void chains(const uint32_t* column, const uint32_t* rows,
                                       uint32_t row_words, uint32_t words, float (&sums)[kCount]) {
  constexpr uint32_t kPerPair = Words<kType>::kPerPair;
  NV_UNROLL
  for (int j = 0; j < kCount; j++) sums[j] = 0.0f;
  uint32_t w = 0;
  for (; w + 4 <= words; w += 4) {
    uint32_t mine[4];
    NV_UNROLL
    for (uint32_t i = 0; i < 4; i++) mine[i] = column[(w + i) * kTileRows];
    NV_UNROLL
    for (int j = 0; j < kCount; j++) {
      const uint4 v = *reinterpret_cast<const uint4*>(rows + j * row_words + w);
      const uint32_t row[4] = {v.x, v.y, v.z, v.w};
      NV_UNROLL
      for (uint32_t i = 0; i < 4; i += kPerPair) {
        sums[j] = fma_pair<kType>(mine + i, row + i, sums[j]);
      }
    }
  }
  for (; w < words; w += kPerPair) {
    uint32_t mine[kPerPair];
    for (uint32_t i = 0; i < kPerPair; i++) mine[i] = column[(w + i) * kTileRows];
    NV_UNROLL
    for (int j = 0; j < kCount; j++) {
      sums[j] = fma_pair<kType>(mine, rows + j * row_words + w, sums[j]);
    }
  }
}

// The same for the rows [first, last), `use(row, sum)` taking each chain's sum.
template <DType kType, class Use>
__device__ __forceinline__ void each_chain(const uint32_t* column, const uint32_t* rows,
                                           uint32_t row_words, uint32_t words, uint32_t first,
                                           uint32_t last, const Use& use) {
  uint32_t r = first;
  for (; r + 4 <= last; r += 4) {
    float sums[4];
    chains<kType, 4>(column, rows + r * row_words, row_words, words, sums);
    NV_UNROLL
    for (uint32_t j = 0; j < 4; j++) use(r + j, sums[j]);
  }
  for (; r < last; r++) {
    float sums[1];
    chains<kType, 1>(column, rows + r * row_words, row_words, words, sums);
    use(r, sums[0]);
  }
}

// Appends the key and value of one row and kv head; threads share the elements.
template <DType kType>
__device__ __forceinline__ void append(const AttendJob& job, const DeviceSpan& span, uint32_t i,
                                       uint32_t kv_head, uint32_t thread, uint32_t threads) {
  const CacheShape& shape = job.shape;
  const uint32_t dim = shape.head_dim, half = dim / 2;
  const uint32_t position = span.begin + i, slot = position % kBlockPositions;
  const float* key = job.qkv + size_t(span.first_row + i) * shape.qkv_width() +
                     size_t(shape.heads + kv_head) * dim;
  const float* value = key + size_t(shape.kv_heads) * dim;
  const float* angles = job.rotary + size_t(position) * dim;
  std::byte* keys = job.blocks[span.first_block + position / kBlockPositions] +
                    job.layer * shape.layer_bytes() + kv_head * shape.head_bytes();
  std::byte* values = keys + shape.key_bytes();
  keys += slot / kTileRows * shape.key_tile_bytes();
  for (uint32_t j = thread; j < half; j += threads) {
    const numerics::Pair pair =
        numerics::rotate(key[j], key[half + j], angles[2 * j], angles[2 * j + 1]);
    store_operand<kType>(keys, tile_index(kType, slot % kTileRows, j), pair.lo);
    store_operand<kType>(keys, tile_index(kType, slot % kTileRows, half + j), pair.hi);
  }
  for (uint32_t d = thread; d < dim; d += threads) {
    store_operand<kType>(values + d / kTileRows * shape.value_tile_bytes(),
                         tile_index(kType, d % kTileRows, slot), value[d]);
  }
}

template <DType kType>
__global__ void __launch_bounds__(kThreads, 1) append_kernel(const AttendJob job) {
  const DeviceSpan span = job.spans[blockIdx.z];
  if (blockIdx.x >= span.end - span.begin) return;
  append<kType>(job, span, blockIdx.x, blockIdx.y, threadIdx.x, blockDim.x);
}

// One block's attention.
template <DType kType>
class Attend {
 public:
  using W = Words<kType>;

  __device__ Attend(const AttendJob& job, uint32_t capacity, unsigned char* shared)
      : job_(job),
        span_(job.spans[blockIdx.z]),
        kv_head_(blockIdx.y),
        dim_(job.shape.head_dim),
        share_(job.shape.heads / job.shape.kv_heads),
        first_(blockIdx.x * capacity),
        row_words_(W::row(job.shape.head_dim)),
        slab_(reinterpret_cast<uint32_t*>(shared)),
        queries_(slab_ + W::kSlab),
        scores_(reinterpret_cast<float*>(queries_ + capacity * row_words_)),
        outputs_(scores_ + capacity * kBlockPositions),
        largest_(outputs_ + capacity * dim_),
        sums_(largest_ + capacity),
        keep_(sums_ + capacity),
        take_(keep_ + capacity) {
    const uint32_t all = (span_.end - span_.begin) * share_;
    pairs_ = first_ >= all ? 0 : all - first_ < capacity ? all - first_ : capacity;
  }

  __device__ __forceinline__ void run(bool appends) {
    if (pairs_ == 0) return;
    if (appends) {
      for (uint32_t i = warp_id(); i < span_.end - span_.begin; i += warp_count()) {
        append<kType>(job_, span_, i, kv_head_, lane_id(), kWarp);
      }
    }
    for (uint32_t pair = warp_id(); pair < pairs_; pair += warp_count()) load_query(pair);
    const uint32_t last = position_of(pairs_ - 1);
    for (uint32_t b = 0; b <= last / kBlockPositions; b++) {
      const uint32_t left = last - b * kBlockPositions + 1;
      const uint32_t filled = left < kBlockPositions ? left : kBlockPositions;
      const std::byte* keys = job_.blocks[span_.first_block + b] +
                              job_.layer * job_.shape.layer_bytes() +
                              kv_head_ * job_.shape.head_bytes();
      score(keys, filled);
      __syncthreads();
      for (uint32_t pair = warp_id(); pair < pairs_; pair += warp_count()) weigh(pair, b);
      take_values(keys + job_.shape.key_bytes(), b, filled);
    }
    finish();
  }

 private:
  __device__ __forceinline__ uint32_t position_of(uint32_t pair) const {
    return span_.begin + (first_ + pair) / share_;
  }
  __device__ __forceinline__ size_t row_of(uint32_t pair) const {
    return span_.first_row + (first_ + pair) / share_;
  }
  __device__ __forceinline__ uint32_t head_of(uint32_t pair) const {
    return kv_head_ * share_ + (first_ + pair) % share_;
  }

  __device__ __forceinline__ void load_query(uint32_t pair) {
    const uint32_t half = dim_ / 2;
    const float* query =
        job_.qkv + row_of(pair) * job_.shape.qkv_width() + size_t(head_of(pair)) * dim_;
    const float* angles = job_.rotary + size_t(position_of(pair)) * dim_;
    uint32_t* to = queries_ + pair * row_words_;
    for (uint32_t j = lane_id(); j < half; j += kWarp) {
      const numerics::Pair turned =
          numerics::rotate(query[j], query[half + j], angles[2 * j], angles[2 * j + 1]);
      store_operand<kType>(to, j, turned.lo);
      store_operand<kType>(to, half + j, turned.hi);
    }
  }

  // Copies `words` words of shared memory, a multiple of four, as they lie in memory.
  __device__ __forceinline__ static void copy(uint32_t* to, const std::byte* from, uint32_t words) {
    for (uint32_t i = threadIdx.x; i < words / 4; i += kThreads) {
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
    }
  }

  __device__ __forceinline__ void score(const std::byte* keys, uint32_t filled) {
    constexpr uint32_t kTileWords = W::kSlab / 2;  // of 32 positions
    const uint32_t slot = threadIdx.x % kBlockPositions;
    const uint32_t share = ceil_div(pairs_, kThreads / kBlockPositions);
    const uint32_t first = threadIdx.x / kBlockPositions * share;
    const uint32_t last = first + share < pairs_ ? first + share : pairs_;
    for (uint32_t begin = 0; begin < dim_; begin += kSlabElements) {
      const uint32_t elements = dim_ - begin < kSlabElements ? dim_ - begin : kSlabElements;
      const uint32_t words = elements / 2 * W::kPerPair;
      const uint32_t before = begin / 2 * W::kPerPair;
      __syncthreads();
      for (uint32_t t = 0; t * kTileRows < filled; t++) {
        copy(slab_ + t * kTileWords,
             keys + t * job_.shape.key_tile_bytes() + size_t(before) * kTileRows * 4,
             words * kTileRows);
      }
      __syncthreads();
      if (slot >= filled) continue;
      each_chain<kType>(slab_ + slot / kTileRows * kTileWords + slot % kTileRows, queries_ + before,
                        row_words_, words, first, last, [&](uint32_t pair, float sum) {
                          float& total = scores_[pair * kBlockPositions + slot];
                          total = (begin == 0 ? 0.0f : total) + sum;
                        });
    }
  }

  // Scores to weights, and what merging block b into the pair's running state multiplies by.
  __device__ __forceinline__ void weigh(uint32_t pair, uint32_t b) {
    const uint32_t position = position_of(pair), begin = b * kBlockPositions;
    if (position < begin) return;
    const uint32_t filled = position - begin + 1, lane = lane_id();
    float* row = scores_ + pair * kBlockPositions;
    const float scale = 1.0f / numerics::sqrt(float(dim_));
    const bool has_low = lane < filled, has_high = lane + kWarp < filled;
    const float low = has_low ? row[lane] * scale : -numerics::kInfinity;
    const float high = has_high ? row[lane + kWarp] * scale : -numerics::kInfinity;
    // Which of two equal numbers is taken, +0 or -0, shows nowhere.
    const float largest = warp_largest(numerics::larger(low, high));
    const float weight_low = has_low ? numerics::exp(low - largest) : 0.0f;
    const float weight_high = has_high ? numerics::exp(high - largest) : 0.0f;
    const float sum = warp_tree(weight_low + weight_high);
    __syncwarp();  // all lanes have read the scores
    store_operand<kType>(row, lane, weight_low);
    store_operand<kType>(row, lane + kWarp, weight_high);
    if (lane != 0) return;
    if (b == 0) {
      largest_[pair] = largest;
      sums_[pair] = sum;
      return;
    }
    const numerics::Merge merge = numerics::merge_blocks(largest_[pair], largest);
    largest_[pair] = merge.max;
    sums_[pair] = numerics::merged(merge, sums_[pair], sum);
    keep_[pair] = merge.keep;
    take_[pair] = merge.take;
  }

  __device__ __forceinline__ void take_values(const std::byte* values, uint32_t b,
                                              uint32_t filled) {
    constexpr uint32_t kTileWords = kBlockPositions / 2 * W::kPerPair * kTileRows;
    const uint32_t words = ceil_div(filled, 2) * W::kPerPair;
    const uint32_t share = ceil_div(pairs_, kThreads / kSlabElements);
    const uint32_t first = threadIdx.x / kSlabElements * share;
    const uint32_t last = first + share < pairs_ ? first + share : pairs_;
    const uint32_t element = threadIdx.x % kSlabElements;
    for (uint32_t begin = 0; begin < dim_; begin += kSlabElements) {
      __syncthreads();
      for (uint32_t t = 0; t < kSlabElements / kTileRows && begin + t * kTileRows < dim_; t++) {
        copy(slab_ + t * kTileWords,
             values + (begin / kTileRows + t) * job_.shape.value_tile_bytes(), words * kTileRows);
      }
      __syncthreads();
      const uint32_t d = begin + element;
      if (d >= dim_) continue;
      each_chain<kType>(
          slab_ + element / kTileRows * kTileWords + element % kTileRows,
          reinterpret_cast<const uint32_t*>(scores_), kBlockPositions, words, first, last,
          [&](uint32_t pair, float sum) {
            if (position_of(pair) < b * kBlockPositions) return;
            float& output = outputs_[pair * dim_ + d];
            const float total = 0.0f + sum;
            output =
                b == 0 ? total : numerics::merged({0.0f, keep_[pair], take_[pair]}, output, total);
          });
    }
  }

  __device__ __forceinline__ void finish() {
    __syncthreads();
    for (uint32_t pair = warp_id(); pair < pairs_; pair += warp_count()) {
      float* to =
          job_.output + row_of(pair) * job_.shape.query_width() + size_t(head_of(pair)) * dim_;
      for (uint32_t d = lane_id(); d < dim_; d += kWarp) {
        to[d] = outputs_[pair * dim_ + d] / sums_[pair];
      }
    }
  }

  const AttendJob& job_;
  const DeviceSpan span_;
  const uint32_t kv_head_, dim_, share_, first_, row_words_;
  uint32_t pairs_;
  uint32_t* const slab_;
  uint32_t* const queries_;  // [pair][row_words]
  float* const scores_;      // [pair][64]; then the weights, as operands
  float* const outputs_;     // [pair][dim]
  float *const largest_, *const sums_, *const keep_, *const take_;  // [pair]
};

template <DType kType>
__global__ void __launch_bounds__(kThreads, 1)
    attend_kernel(const AttendJob job, const uint32_t capacity, const bool appends) {
  NV_DYN_SMEM(shared);
  Attend<kType>(job, capacity, shared).run(appends);
}

template <DType kType>
cudaError_t launch_attend(const AttendJob& job, cudaStream_t stream) {
  const CacheShape& shape = job.shape;
  const uint32_t pairs = job.most_rows * (shape.heads / shape.kv_heads);
  uint32_t capacity = pairs < kMostPairs ? pairs : kMostPairs;
  while (capacity > 1 && Words<kType>::shared_bytes(shape.head_dim, capacity) > kAttendBudget) {
    capacity--;
  }
  const bool together = capacity == pairs;
  if (!together) {
    const cudaError_t error =
        nv::launch(append_kernel<kType>, dim3(job.most_rows, shape.kv_heads, job.span_count),
                   dim3(128), stream, {}, job);
    if (error != cudaSuccess) return error;
  }
  return nv::launch(attend_kernel<kType>,
                    dim3(ceil_div(pairs, capacity), shape.kv_heads, job.span_count), dim3(kThreads),
                    stream, {.shared = Words<kType>::shared_bytes(shape.head_dim, capacity)}, job,
                    capacity, together);
}

// Zeroes the slots of a span: a block a (position, layer and kv head), a thread an element.
__global__ void __launch_bounds__(kThreads, 1)
    erase_kernel(const CacheShape shape, const DeviceSpan span, std::byte* const* const blocks,
                 const uint32_t first_unit) {
  const uint32_t position = span.begin + blockIdx.x, slot = position % kBlockPositions;
  std::byte* keys = blocks[span.first_block + position / kBlockPositions] +
                    (first_unit + blockIdx.y) * shape.head_bytes();
  std::byte* values = keys + shape.key_bytes();
  keys += slot / kTileRows * shape.key_tile_bytes();
  const auto clear = [&](std::byte* tile, size_t index) {
    if (shape.type == DType::bf16) {
      store_operand<DType::bf16>(tile, index, 0.0f);
    } else {
      store_operand<DType::f32>(tile, index, 0.0f);
    }
  };
  for (uint32_t d = threadIdx.x; d < shape.head_dim; d += kThreads) {
    clear(keys, tile_index(shape.type, slot % kTileRows, d));
    clear(values + d / kTileRows * shape.value_tile_bytes(),
          tile_index(shape.type, d % kTileRows, slot));
  }
}

}  // namespace

cudaError_t prepare_attention() {
  const auto allow = [](auto* kernel) {
    return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                cudaFuncAttributeMaxDynamicSharedMemorySize, int(kAttendBudget));
  };
  const cudaError_t error = allow(attend_kernel<DType::bf16>);
  return error != cudaSuccess ? error : allow(attend_kernel<DType::f32>);
}

cudaError_t attend(const AttendJob& job, cudaStream_t stream) {
  return job.shape.type == DType::bf16 ? launch_attend<DType::bf16>(job, stream)
                                       : launch_attend<DType::f32>(job, stream);
}

cudaError_t erase(const CacheShape& shape, const DeviceSpan& span, std::byte* const* blocks,
                  uint32_t first_layer, uint32_t last_layer, cudaStream_t stream) {
  return nv::launch(erase_kernel,
                    dim3(span.end - span.begin, (last_layer - first_layer) * shape.kv_heads),
                    dim3(kThreads), stream, {}, shape, span, blocks, first_layer * shape.kv_heads);
}

}  // namespace nvium::cuda
