// Correct kernels, some of them odd: data handed over through atomics and fences.
#include "corpus.h"

namespace corpus {
namespace {

__global__ void last_block_adds_up(const float* in, float* parts, unsigned* ticket, float* out,
                                   int n) {
  NV_SHARED(bool, last);
  float sum = 0;
  for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += int(gridDim.x * blockDim.x))
    sum += in[i];
  for (int o = 16; o > 0; o /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = sum;
    __threadfence();
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last) return;
  if (threadIdx.x == 0) {
    float total = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) total += parts[i];
    *out = total;
    *ticket = 0;  // ready for the next launch
  }
}

// The idiom of the CUDA programming guide: no fence behind the atomic, but loads that pass L1.
__global__ void last_block_reads_volatile(volatile float* parts, unsigned* ticket, float* out) {
  NV_SHARED(bool, last);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = 1;
    __threadfence();
    last = atomicInc(ticket, gridDim.x) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float total = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) total += parts[i];
  *out = total;
}

__global__ void last_block_bypasses(float* parts, unsigned* ticket, float* out) {
  parts[blockIdx.x] = 1;
  __threadfence();
  if (atomicAdd(ticket, 1u) != gridDim.x - 1) return;
  float total = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) total += __ldcg(parts + i);
  *out = total;
}

// All threads of a block write and fence; one takes the ticket behind a barrier.
__global__ void all_threads_fence(float* parts, unsigned* ticket, float* out) {
  NV_SHARED(bool, last);
  parts[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float total = 0;
  for (unsigned i = 0; i < gridDim.x * blockDim.x; ++i) total += parts[i];
  *out = total;
}

// A barrier makes the fence of one thread cover all of its block.
__global__ void one_thread_fences(float* parts, unsigned* ticket, float* out) {
  NV_SHARED(bool, last);
  parts[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(ticket, 1u) == gridDim.x - 1;
    __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float total = 0;
  for (unsigned i = 0; i < gridDim.x * blockDim.x; ++i) total += parts[i];
  *out = total;
}

// A grid barrier made of a counter, in several rounds, polling with or without __nanosleep.
template <bool kSleep>
__global__ void polling_rounds(unsigned* counter, float* x, float* out, int rounds) {
  for (int r = 0; r < rounds; ++r) {
    float* half = x + (r & 1) * int(gridDim.x);
    if (threadIdx.x == 0) half[blockIdx.x] = float(r + int(blockIdx.x));
    __syncthreads();
    if (threadIdx.x == 0) {
      __threadfence();
      atomicAdd(counter, 1u);
      while (atomicAdd(counter, 0u) < unsigned(r + 1) * gridDim.x)
        if (kSleep) __nanosleep(20);
      __threadfence();
    }
    __syncthreads();
    if (threadIdx.x == 1) out[blockIdx.x] = half[gridDim.x - 1 - blockIdx.x];
  }
}

__global__ void volatile_flag(float* data, volatile unsigned* flag, float* out) {
  if (blockIdx.x == 0) {
    *data = 4;
    __threadfence();
    *flag = 1;
  } else {
    while (*flag == 0) {
    }
    __threadfence();
    out[blockIdx.x - 1] = *data;
  }
}

__global__ void release_and_acquire(float* data, unsigned* flag, float* out) {
  if (blockIdx.x == 0) {
    *data = 4;
    nv::store_release(flag, 1u);
  } else {
    while (nv::load_acquire(flag) == 0) {
    }
    out[blockIdx.x - 1] = *data;
  }
}

// What one block hands to the next reaches the third.
__global__ void chain(float* data, unsigned* turn, float* out) {
  while (nv::load_acquire(turn) != blockIdx.x) {
  }
  if (blockIdx.x == 0)
    *data = 1;
  else
    *data += 1;
  if (blockIdx.x == gridDim.x - 1) *out = *data;
  nv::store_release(turn, blockIdx.x + 1);
}

__global__ void spin_lock(unsigned* lock, int* sum) {
  while (atomicCAS(lock, 0u, 1u) != 0) __nanosleep(20);
  __threadfence();
  *sum += 1;
  __threadfence();
  atomicExch(lock, 0u);
}

__global__ void producer_and_consumer_warps(float* out) {
  NV_SHARED(float[32], slot);
  NV_SHARED(unsigned, full);
  if (threadIdx.x == 0) full = 0;
  __syncthreads();
  const unsigned lane = threadIdx.x % 32;
  for (unsigned round = 0; round < 4; ++round) {
    if (threadIdx.x < 32) {
      if (lane == 0)
        while (atomicAdd(&full, 0u) != 2 * round) __nanosleep(20);
      __threadfence_block();
      __syncwarp();
      slot[lane] = float(round);
      __syncwarp();
      __threadfence_block();
      if (lane == 0) atomicAdd(&full, 1u);
    } else {
      if (lane == 0)
        while (atomicAdd(&full, 0u) != 2 * round + 1) __nanosleep(20);
      __threadfence_block();
      __syncwarp();
      out[round * 32 + lane] = slot[31 - lane];
      __syncwarp();
      __threadfence_block();
      if (lane == 0) atomicAdd(&full, 1u);
    }
  }
}

__global__ void histogram(const unsigned* in, unsigned* bins, int n) {
  NV_SHARED(unsigned[8], mine);
  if (threadIdx.x < 8) mine[threadIdx.x] = 0;
  __syncthreads();
  for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += int(gridDim.x * blockDim.x))
    atomicAdd(&mine[in[i]], 1u);
  __syncthreads();
  if (threadIdx.x < 8) atomicAdd(&bins[threadIdx.x], mine[threadIdx.x]);
}

// The largest value with the lowest index, packed into 64 bits.
__global__ void argmax(const float* in, unsigned long long* best, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  const auto value = static_cast<unsigned long long>(__float_as_uint(in[i]));
  atomicMax(best, value << 32 | unsigned(~i));
}

template <class Kernel>
bool tickets(Kernel* kernel, unsigned threads, float expected) {
  Device<float> parts(8 * threads), out(1);
  Device<unsigned> ticket(1, 0);
  run(kernel, 8, threads, parts.data(), ticket.data(), out.data());
  return out.read()[0] == expected;
}

bool grid_by_polling(void (*kernel)(unsigned*, float*, float*, int)) {
  Device<unsigned> counter(1, 0);
  Device<float> x(8), out(4);
  run(kernel, 4, 64, {.cooperative = true}, counter.data(), x.data(), out.data(), 4);
  return all(out.read(), [](size_t i) { return 3 + (3 - i); });
}

constexpr Correct kCases[] = {
    {"last_block_adds_up",
     [] {
       Device<float> in(1000, 1), parts(8), out(1);
       Device<unsigned> ticket(1, 0);
       for (int i = 0; i < 2; ++i)
         run(last_block_adds_up, 8, 32, in.data(), parts.data(), ticket.data(), out.data(), 1000);
       return out.read()[0] == 1000 && ticket.read()[0] == 0;
     }},
    {"last_block_reads_volatile",
     [] {
       Device<float> parts(8), out(1);
       Device<unsigned> ticket(1, 0);
       run(last_block_reads_volatile, 8, 32, static_cast<volatile float*>(parts.data()),
           ticket.data(), out.data());
       return out.read()[0] == 8;
     }},
    {"last_block_bypasses", [] { return tickets(last_block_bypasses, 1, 8); }},
    {"all_threads_fence", [] { return tickets(all_threads_fence, 64, 512); }},
    {"one_thread_fences", [] { return tickets(one_thread_fences, 64, 512); }},
    {"polling_with_sleep", [] { return grid_by_polling(polling_rounds<true>); }},
    {"polling_without_sleep", [] { return grid_by_polling(polling_rounds<false>); }},
    {"volatile_flag",
     [] {
       Device<float> data(1), out(3);
       Device<unsigned> flag(1, 0);
       run(volatile_flag, 4, 1, {.cooperative = true}, data.data(),
           static_cast<volatile unsigned*>(flag.data()), out.data());
       return all(out.read(), [](size_t) { return 4; });
     }},
    {"release_and_acquire",
     [] {
       Device<float> data(1), out(3);
       Device<unsigned> flag(1, 0);
       run(release_and_acquire, 4, 1, {.cooperative = true}, data.data(), flag.data(), out.data());
       return all(out.read(), [](size_t) { return 4; });
     }},
    {"chain",
     [] {
       Device<float> data(1), out(1);
       Device<unsigned> turn(1, 0);
       run(chain, 6, 1, {.cooperative = true}, data.data(), turn.data(), out.data());
       return out.read()[0] == 6;
     }},
    {"spin_lock",
     [] {
       Device<unsigned> lock(1, 0);
       Device<int> sum(1, 0);
       run(spin_lock, 5, 1, {.cooperative = true}, lock.data(), sum.data());
       return sum.read()[0] == 5;
     }},
    {"producer_and_consumer_warps",
     [] {
       Device<float> out(128);
       run(producer_and_consumer_warps, 1, 64, out.data());
       return all(out.read(), [](size_t i) { return i / 32; });
     }},
    {"histogram",
     [] {
       std::vector<unsigned> values(800);
       for (unsigned i = 0; i < 800; ++i) values[i] = i % 8;
       Device<unsigned> in(values), bins(8, 0);
       run(histogram, 3, 64, in.data(), bins.data(), 800);
       return all(bins.read(), [](size_t) { return 100; });
     }},
    {"argmax",
     [] {
       std::vector<float> values(200, 1.0f);
       values[77] = values[150] = 9;
       Device<float> in(values);
       Device<unsigned long long> best(1, 0);
       run(argmax, 4, 64, in.data(), best.data(), 200);
       return ~unsigned(best.read()[0]) == 77;
     }},
};

}  // namespace

std::span<const Correct> correct_hand_over() { return kCases; }

}  // namespace corpus
