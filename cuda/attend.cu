// Attention, in one of two ways.
//
// Where all (row, query head) pairs of a span's kv head fit a block's shared memory and what they
// leave fits the scratch memory, as it does when tokens are decoded:
//
//   attend_kernel  The grid is (walkers, kv heads, spans). The KV blocks of a span are dealt to its
//                  walkers in turn, so that a long context is read by the whole device at once. Who
//                  has a KV block appends the rows that fall in it, which nobody else touches, and
//                  leaves each pair's maximum, sum and outputs of it in the scratch memory. The
//                  walker that ends last merges them in ascending order. Each key and value is read
//                  once for all pairs, each partial output written once and read once; a partial
//                  output is (dim + 2) floats a pair where the KV block is 128 dim elements, and
//                  the scratch memory serves one layer after the other.
//
// Otherwise, for prompts, where there are blocks enough without:
//
//   append_kernel  A block a (row, kv head, span).
//   walk_kernel    The grid is (groups of pairs, kv heads, spans). A block takes the KV blocks in
//                  ascending order, up to the last one that any of its pairs reaches, and merges
//                  as they come, in shared memory.
//
// The order of merging is the arithmetic's, who computes a KV block is not: so both give the same
// bits, whatever the number of walkers.
#include "attend.cuh"

namespace nvium::cuda {
namespace {

constexpr size_t kAttendBudget = size_t(96) << 10;
constexpr uint32_t kAppendThreads = 128;
constexpr uint32_t kMostPairs = 128;      // of a walker
constexpr uint32_t kMostGroupPairs = 32;  // of a block that walks alone: a prompt has many
constexpr uint32_t kWalkersPerProcessor = 4;
constexpr uint32_t kAheadBytes = 1024;  // a piece of weights that is asked for

template <CacheType kType>
__global__ void __launch_bounds__(kAppendThreads, 1) append_kernel(const AttendJob job) {
  nv::grid_dependency_trigger();
  nv::grid_dependency_wait();
  const DeviceSpan span = span_of(job, blockIdx.z);
  if (blockIdx.x >= span.end - span.begin) return;
  append<kType>(job, span, blockIdx.x, blockIdx.y, threadIdx.x, blockDim.x);
}

// The scratch memory of one (span, kv head).
class Partials {
 public:
  __device__ Partials(const AttendJob& job, uint32_t pairs)
      : dim_(job.shape.head_dim), pairs_(pairs) {
    const size_t heads = size_t(job.span_count) * job.shape.kv_heads;
    const size_t head = size_t(blockIdx.z) * job.shape.kv_heads + blockIdx.y;
    const size_t entries = size_t(job.most_blocks) * pairs;
    outputs_ = job.scratch + head * entries * dim_;
    laws_ = reinterpret_cast<float2*>(job.scratch + heads * entries * dim_) + head * entries;
  }
  static size_t bytes(const AttendJob& job, uint32_t pairs) {
    return size_t(job.span_count) * job.shape.kv_heads * job.most_blocks * pairs *
           (job.shape.head_dim + 2) * sizeof(float);
  }

  __device__ __forceinline__ float* output(uint32_t b, uint32_t pair) const {
    return outputs_ + (size_t(b) * pairs_ + pair) * dim_;
  }
  // The maximum, then the sum.
  __device__ __forceinline__ float2& law(uint32_t b, uint32_t pair) const {
    return laws_[size_t(b) * pairs_ + pair];
  }

 private:
  const uint32_t dim_, pairs_;
  float* outputs_;  // [KV block][pair][dim]
  float2* laws_;    // [KV block][pair]
};

// Merges the first `blocks` KV blocks of a pair, for one element a lane; d may be past the end. Of
// 32 KV blocks at a time each lane makes the factors of one, from the maximum of those before it;
// only the chain of products and sums is in sequence. A maximum does not depend on how it is found.
// All that is read for the 32 is asked for before any of it is used: the last walker is alone.
__device__ __forceinline__ float merge(const Partials& partials, uint32_t pair, uint32_t blocks,
                                       uint32_t d, uint32_t dim) {
  float largest = -numerics::kInfinity, output = 0.0f, sum = 0.0f;
  for (uint32_t begin = 0; begin < blocks; begin += kWarp) {
    const uint32_t left = blocks - begin, count = left < kWarp ? left : kWarp;
    const uint32_t lane = lane_id();
    float2 own = make_float2(-numerics::kInfinity, 0.0f);
    if (lane < count) own = partials.law(begin + lane, pair);
    float parts[kWarp];
    NV_UNROLL
    for (uint32_t j = 0; j < kWarp; j++) {
      parts[j] = j < count && d < dim ? partials.output(begin + j, pair)[d] : 0.0f;
    }
    float up_to = lane == 0 ? numerics::larger(largest, own.x) : own.x;
    NV_UNROLL
    for (uint32_t step = 1; step < kWarp; step *= 2) {
      const float before = __shfl_up_sync(kAllLanes, up_to, step);
      if (lane >= step) up_to = numerics::larger(before, up_to);
    }
    const float before = __shfl_up_sync(kAllLanes, up_to, 1);
    const numerics::Merge factors = numerics::merge_blocks(lane == 0 ? largest : before, own.x);
    largest = __shfl_sync(kAllLanes, up_to, kWarp - 1);
    NV_UNROLL
    for (uint32_t j = 0; j < kWarp; j++) {
      if (j >= count) break;
      const numerics::Merge merge{0.0f, __shfl_sync(kAllLanes, factors.keep, j),
                                  __shfl_sync(kAllLanes, factors.take, j)};
      const float part_sum = __shfl_sync(kAllLanes, own.y, j);
      const bool first = begin + j == 0;
      sum = first ? part_sum : numerics::merged(merge, sum, part_sum);
      output = first ? parts[j] : numerics::merged(merge, output, parts[j]);
    }
  }
  return output / sum;
}

// Asks for what the launches behind this one read first, to be found in the second-level cache:
// while a few blocks attend, which takes latency more than bandwidth, memory would rest. The work
// of the blocks beyond the walkers, together.
__device__ __forceinline__ void look_ahead(const AttendJob& job, uint32_t walkers) {
  const uint32_t heads = gridDim.y * gridDim.z;
  const uint32_t head = blockIdx.z * gridDim.y + blockIdx.y;
  const size_t thread = (size_t(blockIdx.x - walkers) * heads + head) * blockDim.x + threadIdx.x;
  const size_t threads = size_t(gridDim.x - walkers) * heads * blockDim.x;
  NV_UNROLL
  for (int i = 0; i < 2; i++) {
    for (size_t at = thread * kAheadBytes; at + kAheadBytes <= job.ahead_bytes[i];
         at += threads * kAheadBytes) {
      nv::prefetch_l2<kAheadBytes>(job.ahead[i] + at);
    }
  }
}

template <CacheType kType>
__global__ void __launch_bounds__(kAttendThreads, 2)
    attend_kernel(const AttendJob job, const uint32_t capacity, const uint32_t most_walkers) {
  NV_DYN_SMEM(shared);
  nv::grid_dependency_trigger();
  nv::grid_dependency_wait();
  if (blockIdx.x >= most_walkers) return look_ahead(job, most_walkers);
  Attend<kType> work(job, capacity, 0, shared);
  if (work.pairs() == 0) return;
  const uint32_t blocks = work.blocks();
  const uint32_t walkers = most_walkers < blocks ? most_walkers : blocks;
  if (blockIdx.x >= walkers) return;
  const Partials partials(job, capacity);
  work.load_queries();
  for (uint32_t b = blockIdx.x; b < blocks; b += walkers) {
    work.append_in(b);
    work.attend(
        b,
        [&](uint32_t pair, float largest, float sum) {
          partials.law(b, pair) = make_float2(largest, sum);
        },
        [&](uint32_t pair, uint32_t d, float total) { partials.output(b, pair)[d] = total; });
  }
  if (!last_of(walkers, job.tickets + blockIdx.z * gridDim.y + blockIdx.y)) return;
  const uint32_t dim = job.shape.head_dim, pieces = ceil_div(dim, kWarp);
  for (uint32_t i = warp_id(); i < work.pairs() * pieces; i += warp_count()) {
    const uint32_t pair = i / pieces, d = i % pieces * kWarp + lane_id();
    const float output = merge(partials, pair, work.blocks_of(pair), d, dim);
    if (d < dim) work.output_of(pair)[d] = output;
  }
}

// What a block that walks alone has in shared memory behind the rest.
struct Running {
  float* outputs;                       // [pair][dim]
  float *largest, *sums, *keep, *take;  // [pair]

  static size_t bytes(uint32_t dim, uint32_t capacity) {
    return sizeof(float) * capacity * size_t(dim + 4);
  }
  __device__ Running(unsigned char* memory, uint32_t dim, uint32_t capacity)
      : outputs(reinterpret_cast<float*>(memory)),
        largest(outputs + capacity * dim),
        sums(largest + capacity),
        keep(sums + capacity),
        take(keep + capacity) {}
};

template <CacheType kType>
__global__ void __launch_bounds__(kAttendThreads, 1)
    walk_kernel(const AttendJob job, const uint32_t capacity) {
  NV_DYN_SMEM(shared);
  nv::grid_dependency_trigger();
  nv::grid_dependency_wait();
  const uint32_t dim = job.shape.head_dim;
  Attend<kType> work(job, capacity, blockIdx.x * capacity, shared);
  if (work.pairs() == 0) return;
  const Running running(shared + Attend<kType>::shared_bytes(dim, capacity), dim, capacity);
  work.load_queries();
  for (uint32_t b = 0; b < work.blocks(); b++) {
    work.attend(
        b,
        [&](uint32_t pair, float largest, float sum) {
          if (b == 0) {
            running.largest[pair] = largest;
            running.sums[pair] = sum;
            return;
          }
          const numerics::Merge merge = numerics::merge_blocks(running.largest[pair], largest);
          running.largest[pair] = merge.max;
          running.sums[pair] = numerics::merged(merge, running.sums[pair], sum);
          running.keep[pair] = merge.keep;
          running.take[pair] = merge.take;
        },
        [&](uint32_t pair, uint32_t d, float total) {
          float& output = running.outputs[pair * dim + d];
          output = b == 0 ? total
                          : numerics::merged({0.0f, running.keep[pair], running.take[pair]}, output,
                                             total);
        });
  }
  __syncthreads();
  for (uint32_t pair = warp_id(); pair < work.pairs(); pair += warp_count()) {
    for (uint32_t d = lane_id(); d < dim; d += kWarp) {
      work.output_of(pair)[d] = running.outputs[pair * dim + d] / running.sums[pair];
    }
  }
}

uint32_t pairs_of(const AttendJob& job) {
  return job.most_rows * (job.shape.heads / job.shape.kv_heads);
}

// Whether attend_kernel can do the job.
template <CacheType kType>
bool is_together(const AttendJob& job) {
  const uint32_t pairs = pairs_of(job);
  return pairs <= kMostPairs && job.span_count * job.shape.kv_heads <= kMostTickets &&
         Partials::bytes(job, pairs) <= kMostAttendScratch &&
         Attend<kType>::shared_bytes(job.shape.head_dim, pairs) <= kAttendBudget;
}

template <CacheType kType>
cudaError_t launch_together(const Machine& machine, const AttendJob& job, cudaStream_t stream) {
  const uint32_t pairs = pairs_of(job);
  const uint32_t most =
      ceil_div(machine.processors * kWalkersPerProcessor, job.shape.kv_heads * job.span_count);
  // All walkers of the longest span get as many KV blocks, or one less.
  const uint32_t walkers = ceil_div(job.most_blocks, ceil_div(job.most_blocks, most));
  // A row of blocks is enough to ask for all.
  const bool looks = job.ahead_bytes[0] + job.ahead_bytes[1] != 0;
  return nv::launch(attend_kernel<kType>,
                    dim3(walkers + (looks ? 1 : 0), job.shape.kv_heads, job.span_count),
                    dim3(kAttendThreads), stream,
                    {.shared = Attend<kType>::shared_bytes(job.shape.head_dim, pairs),
                     .dependent = machine.dependent},
                    job, pairs, walkers);
}

// Of a block that walks alone.
template <CacheType kType>
size_t walk_bytes(uint32_t dim, uint32_t capacity) {
  return Attend<kType>::shared_bytes(dim, capacity) + Running::bytes(dim, capacity);
}
template <CacheType kType>
uint32_t walk_capacity(uint32_t dim, uint32_t pairs) {
  uint32_t capacity = pairs < kMostGroupPairs ? pairs : kMostGroupPairs;
  while (capacity > 1 && walk_bytes<kType>(dim, capacity) > kAttendBudget) capacity--;
  return capacity;
}

template <CacheType kType>
cudaError_t launch_apart(const Machine& machine, const AttendJob& job, cudaStream_t stream) {
  const CacheShape& shape = job.shape;
  const uint32_t pairs = pairs_of(job), capacity = walk_capacity<kType>(shape.head_dim, pairs);
  const cudaError_t error =
      nv::launch(append_kernel<kType>, dim3(job.most_rows, shape.kv_heads, job.span_count),
                 dim3(kAppendThreads), stream, {.dependent = machine.dependent}, job);
  if (error != cudaSuccess) return error;
  return nv::launch(
      walk_kernel<kType>, dim3(ceil_div(pairs, capacity), shape.kv_heads, job.span_count),
      dim3(kAttendThreads), stream,
      {.shared = walk_bytes<kType>(shape.head_dim, capacity), .dependent = machine.dependent}, job,
      capacity);
}

template <CacheType kType>
cudaError_t launch_attend(const Machine& machine, const AttendJob& job, cudaStream_t stream) {
  return is_together<kType>(job) ? launch_together<kType>(machine, job, stream)
                                 : launch_apart<kType>(machine, job, stream);
}

constexpr uint32_t kEraseThreads = 256;

// Zeroes the slots of a span: a block a (position, layer and kv head), a thread an element.
__global__ void __launch_bounds__(kEraseThreads, 1)
    erase_kernel(const CacheShape shape, const DeviceSpan span, std::byte* const* const blocks,
                 const uint32_t first_unit) {
  const uint32_t position = span.begin + blockIdx.x, slot = position % kBlockPositions;
  std::byte* keys = blocks[span.first_block + position / kBlockPositions] +
                    (first_unit + blockIdx.y) * shape.head_bytes();
  std::byte* values = keys + shape.key_bytes();
  keys += slot / kTileRows * shape.key_tile_bytes();
  const auto clear = [&](std::byte* tile, size_t index) {
    if (shape.type == CacheType::bf16) {
      store_operand<CacheType::bf16>(tile, index, 0.0f);
    } else {
      store_operand<CacheType::f32>(tile, index, 0.0f);
    }
  };
  for (uint32_t d = threadIdx.x; d < shape.head_dim; d += kEraseThreads) {
    clear(keys, tile_index(shape.type, slot % kTileRows, d));
    clear(values + d / kTileRows * shape.value_tile_bytes(),
          tile_index(shape.type, d % kTileRows, slot));
  }
}

}  // namespace

cudaError_t prepare_attention() {
  cudaError_t error =
      nv::load(append_kernel<CacheType::bf16>, append_kernel<CacheType::f32>, erase_kernel);
  const auto allow = [&](auto* kernel) {
    if (error == cudaSuccess) error = nv::load_with(kernel, kAttendBudget);
  };
  allow(attend_kernel<CacheType::bf16>);
  allow(attend_kernel<CacheType::f32>);
  allow(walk_kernel<CacheType::bf16>);
  allow(walk_kernel<CacheType::f32>);
  return error;
}

size_t attend_scratch(const AttendJob& job) {
  const bool together = job.shape.type == CacheType::bf16 ? is_together<CacheType::bf16>(job)
                                                          : is_together<CacheType::f32>(job);
  return together ? Partials::bytes(job, pairs_of(job)) : 0;
}

cudaError_t attend(const Machine& machine, const AttendJob& job, cudaStream_t stream) {
  return job.shape.type == CacheType::bf16 ? launch_attend<CacheType::bf16>(machine, job, stream)
                                           : launch_attend<CacheType::f32>(machine, job, stream);
}

cudaError_t erase(const CacheShape& shape, const DeviceSpan& span, std::byte* const* blocks,
                  uint32_t first_layer, uint32_t last_layer, cudaStream_t stream) {
  return nv::launch(
      erase_kernel, dim3(span.end - span.begin, (last_layer - first_layer) * shape.kv_heads),
      dim3(kEraseThreads), stream, {}, shape, span, blocks, first_layer * shape.kv_heads);
}

}  // namespace nvium::cuda
