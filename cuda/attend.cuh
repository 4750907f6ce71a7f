// Attention of some (row, query head) pairs over one block of 64 positions: what is common to
// tokens that are decoded and to prompts (attend.cu).
//
// The pairs belong to one span and one kv head: pair i is row i / share and query head i % share of
// the kv head's. By all 256 threads of a block:
//
//   scores   Keys are copied to shared memory, 128 elements of a head at a time (a chunk of the
//            dot), as they lie: tiles of 32 positions, K-major. A thread has one position and a
//            fourth of the pairs; the chunk's chain runs from +0, chunk sums are added in order.
//   weights  A warp a pair: lane i has positions i and i + 32, so that the first step of the
//            halving tree is within the lane and the others are exchanges. The weights take the
//            scores' place, rounded as operands.
//   values   128 elements of a head at a time; a thread has one element and half of the pairs.
//            Sixty-four positions are half a chunk: one chain.
//
// Threads read neighbouring words of keys and values, and one row of queries or weights, which all
// of a warp share: no two threads of a warp want different words of a bank. Every key and value
// is read from memory once for all pairs.
#pragma once

#include "../native/numerics/rotary.h"
#include "../native/numerics/sums.h"
#include "block.cuh"

namespace nvium::cuda {

constexpr uint32_t kAttendThreads = 256;
constexpr uint32_t kSlabElements = 128;  // of a head, staged at a time: a chunk of the dot

// Operands of keys' and values' type as words of shared memory: two bf16, or one float.
template <CacheType kType>
struct Words {
  static constexpr uint32_t kPerPair = kType == CacheType::bf16 ? 1 : 2;
  static constexpr uint32_t kSlab = kBlockPositions * kSlabElements / 2 * kPerPair;

  // A whole number of 16 bytes.
  static __host__ __device__ uint32_t row(uint32_t elements) {
    return (elements / 2 * kPerPair + 3) / 4 * 4;
  }
};

template <CacheType kType>
__device__ __forceinline__ void store_operand(void* row, size_t index, float value) {
  if constexpr (kType == CacheType::bf16) {
    static_cast<uint16_t*>(row)[index] = numerics::bf16_from_float(value);
  } else {
    static_cast<float*>(row)[index] = value;
  }
}

template <CacheType kType>
__device__ __forceinline__ float fma_pair(const uint32_t* column, const uint32_t* row, float sum) {
  if constexpr (kType == CacheType::bf16) {
    sum = numerics::fma(bf16_high(column[0]), bf16_high(row[0]), sum);
    return numerics::fma(bf16_low(column[0]), bf16_low(row[0]), sum);
  } else {
    sum = numerics::fma(numerics::from_bits(column[1]), numerics::from_bits(row[1]), sum);
    return numerics::fma(numerics::from_bits(column[0]), numerics::from_bits(row[0]), sum);
  }
}

// Chains of one column of a staged tile with kCount rows of operands; `words` is a multiple of
// Words::kPerPair.
template <CacheType kType, int kCount>
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
template <CacheType kType, class Use>
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

__device__ __forceinline__ DeviceSpan span_of(const AttendJob& job, uint32_t i) {
  return job.spans != nullptr ? job.spans[i] : job.few_spans[i];
}
__device__ __forceinline__ std::byte* block_of(const AttendJob& job, uint32_t i) {
  return job.spans != nullptr ? job.blocks[i] : job.few_blocks[i];
}

// Appends the key and value of one row and kv head; threads share the elements.
template <CacheType kType>
__device__ __forceinline__ void append(const AttendJob& job, const DeviceSpan& span, uint32_t i,
                                       uint32_t kv_head, uint32_t thread, uint32_t threads) {
  const CacheShape& shape = job.shape;
  const uint32_t dim = shape.head_dim, half = dim / 2;
  const uint32_t position = span.begin + i, slot = position % kBlockPositions;
  const float* key = job.qkv + size_t(span.first_row + i) * shape.qkv_width() +
                     size_t(shape.heads + kv_head) * dim;
  const float* value = key + size_t(shape.kv_heads) * dim;
  const float* angles = job.rotary + size_t(position) * dim;
  std::byte* keys = block_of(job, span.first_block + position / kBlockPositions) +
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

// A block's pairs, from the span's pair `first` on, and its shared memory.
template <CacheType kType>
class Attend {
 public:
  using W = Words<kType>;

  static __host__ __device__ size_t shared_bytes(uint32_t dim, uint32_t capacity) {
    return 4 * (size_t(W::kSlab) + capacity * size_t(W::row(dim) + kBlockPositions));
  }

  __device__ Attend(const AttendJob& job, uint32_t capacity, uint32_t first, unsigned char* shared)
      : job_(job),
        span_(span_of(job, blockIdx.z)),
        kv_head_(blockIdx.y),
        dim_(job.shape.head_dim),
        share_(job.shape.heads / job.shape.kv_heads),
        first_(first),
        row_words_(W::row(job.shape.head_dim)),
        slab_(reinterpret_cast<uint32_t*>(shared)),
        queries_(slab_ + W::kSlab),
        scores_(reinterpret_cast<float*>(queries_ + capacity * row_words_)) {
    const uint32_t all = (span_.end - span_.begin) * share_;
    pairs_ = first_ >= all ? 0 : all - first_ < capacity ? all - first_ : capacity;
  }

  __device__ __forceinline__ uint32_t pairs() const { return pairs_; }
  // KV blocks up to the pair's own position.
  __device__ __forceinline__ uint32_t blocks_of(uint32_t pair) const {
    return position_of(pair) / kBlockPositions + 1;
  }
  // Up to the last position of any pair. There must be one.
  __device__ __forceinline__ uint32_t blocks() const { return blocks_of(pairs_ - 1); }
  __device__ __forceinline__ float* output_of(uint32_t pair) const {
    return job_.output + row_of(pair) * job_.shape.query_width() + size_t(head_of(pair)) * dim_;
  }

  __device__ __forceinline__ void load_queries() {
    for (uint32_t pair = warp_id(); pair < pairs_; pair += warp_count()) load_query(pair);
  }

  // Appends keys and values of all the span's rows that lie in KV block b.
  __device__ __forceinline__ void append_in(uint32_t b) const {
    const uint32_t begin = b * kBlockPositions, end = begin + kBlockPositions;
    const uint32_t first = span_.begin > begin ? span_.begin : begin;
    const uint32_t last = span_.end < end ? span_.end : end;
    for (uint32_t p = first + warp_id(); p < last; p += warp_count()) {
      append<kType>(job_, span_, p - span_.begin, kv_head_, lane_id(), kWarp);
    }
  }

  // KV block b for all pairs that it concerns. One lane calls note(pair, largest, sum) first, then,
  // behind a barrier, a thread an element use(pair, element, total), all with the block's own.
  template <class Note, class Use>
  __device__ __forceinline__ void attend(uint32_t b, const Note& note, const Use& use) {
    const uint32_t left = position_of(pairs_ - 1) - b * kBlockPositions + 1;
    const uint32_t filled = left < kBlockPositions ? left : kBlockPositions;
    const std::byte* keys = block_of(job_, span_.first_block + b) +
                            job_.layer * job_.shape.layer_bytes() +
                            kv_head_ * job_.shape.head_bytes();
    // Pairs of positions before the block's first come first.
    const uint32_t begin = b * kBlockPositions;
    const uint32_t skipped = begin > span_.begin ? (begin - span_.begin) * share_ : 0;
    const uint32_t lowest = skipped > first_ ? skipped - first_ : 0;
    score(keys, filled, lowest);
    __syncthreads();
    for (uint32_t pair = lowest + warp_id(); pair < pairs_; pair += warp_count()) {
      weigh(pair, b, note);
    }
    take_values(keys + job_.shape.key_bytes(), filled, lowest, use);
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
    for (uint32_t i = threadIdx.x; i < words / 4; i += kAttendThreads) {
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
    }
  }

  __device__ __forceinline__ void score(const std::byte* keys, uint32_t filled, uint32_t lowest) {
    constexpr uint32_t kTileWords = W::kSlab / 2;  // of 32 positions
    const uint32_t slot = threadIdx.x % kBlockPositions;
    const uint32_t share = ceil_div(pairs_ - lowest, kAttendThreads / kBlockPositions);
    const uint32_t first = lowest + threadIdx.x / kBlockPositions * share;
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

  // Scores to weights.
  template <class Note>
  __device__ __forceinline__ void weigh(uint32_t pair, uint32_t b, const Note& note) {
    const uint32_t filled = position_of(pair) - b * kBlockPositions + 1, lane = lane_id();
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
    if (lane == 0) note(pair, largest, sum);
  }

  template <class Use>
  __device__ __forceinline__ void take_values(const std::byte* values, uint32_t filled,
                                              uint32_t lowest, const Use& use) {
    constexpr uint32_t kTileWords = kBlockPositions / 2 * W::kPerPair * kTileRows;
    const uint32_t words = ceil_div(filled, 2) * W::kPerPair;
    const uint32_t share = ceil_div(pairs_ - lowest, kAttendThreads / kSlabElements);
    const uint32_t first = lowest + threadIdx.x / kSlabElements * share;
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
      each_chain<kType>(slab_ + element / kTileRows * kTileWords + element % kTileRows,
                        reinterpret_cast<const uint32_t*>(scores_), kBlockPositions, words, first,
                        last, [&](uint32_t pair, float sum) { use(pair, d, 0.0f + sum); });
    }
  }

  const AttendJob& job_;
  const DeviceSpan span_;
  const uint32_t kv_head_, dim_, share_, first_, row_words_;
  uint32_t pairs_;
  uint32_t* const slab_;
  uint32_t* const queries_;  // [pair][row_words]
  float* const scores_;      // [pair][64]; then the weights, as operands
};

}  // namespace nvium::cuda
