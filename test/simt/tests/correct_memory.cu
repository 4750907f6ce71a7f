// Correct kernels, some of them odd: single accesses, types, arithmetic.
#include "corpus.h"

namespace corpus {
namespace {

constexpr int kN = 64;

__global__ void ragged(const float* in, float* out, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  out[i] = 2 * in[i];
}

__global__ void grid_stride(float* out, int n) {
  for (int i = int(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += int(gridDim.x * blockDim.x))
    out[i] = float(i);
}

__global__ void three_dimensions(unsigned* out) {
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] = block * 1000 + thread;
}

__global__ void vectors(const uint4* in, uint4* out) {
  uint4 v = in[threadIdx.x];
  v.x += v.y;
  out[threadIdx.x] = v;
}

// Neighbouring threads write the bytes of one word.
__global__ void bytes(unsigned char* out) { out[threadIdx.x] = (unsigned char)(threadIdx.x); }

__global__ void halves_of_a_word(__nv_bfloat16* out) {
  out[threadIdx.x] = __float2bfloat16(float(threadIdx.x));
  __syncwarp();
  const uint32_t both = reinterpret_cast<uint32_t*>(out)[threadIdx.x / 2];
  __syncwarp();
  out[threadIdx.x] =
      __float2bfloat16(__uint_as_float(threadIdx.x % 2 ? both << 16 : both & 0xffff0000u));
}

// Static variables of two instantiations are different ones.
template <int kValue>
__device__ int through_shared() {
  NV_SHARED(int[32], s);
  s[threadIdx.x] = kValue;
  __syncwarp();
  return s[31 - threadIdx.x];
}
__global__ void two_instantiations(int* out) {
  out[threadIdx.x] = through_shared<1>() * 10 + through_shared<2>();
}

__global__ void shared_to_the_last_byte(float* out, int n) {
  NV_DYN_SMEM(raw);
  auto* s = reinterpret_cast<float*>(raw);
  for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) s[i] = float(i);
  __syncthreads();
  for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) out[i] = s[n - 1 - i];
}

__constant__ const float kTable[4] = {1, 2, 3, 4};
__global__ void constants(float* out) { out[threadIdx.x] = kTable[threadIdx.x % 4]; }

struct Parameters {
  int values[16];
};
__global__ void parameters_by_value(Parameters p, int* out) {
  out[threadIdx.x] = p.values[threadIdx.x % 16];
}

// A local array with an index known only at run time.
__global__ void local_array(float* out) {
  float a[8];
  for (int i = 0; i < 8; ++i) a[i] = float(i);
  out[threadIdx.x] = a[threadIdx.x % 8] + a[7 - threadIdx.x % 8];
}

// A value is defined wherever it is used, if not everywhere.
__global__ void defined_where_used(const float* in, float* out) {
  float x;
  const bool have = threadIdx.x % 2 == 0;
  if (have) x = in[threadIdx.x];
  out[threadIdx.x] = 0;
  if (have && x > 0.5f) out[threadIdx.x] = x;
}

// Lanes past the edge take part in the shuffle but not in the result.
__global__ void shuffle_past_the_mask(float* out) {
  if (threadIdx.x >= 20) return;
  const float above = __shfl_down_sync(0x000fffffu, float(threadIdx.x), 4);
  out[threadIdx.x] = threadIdx.x < 16 ? above : -1.0f;
}

__global__ void async_copies(const float4* in, float4* out, int n) {
  NV_SHARED(float4[2][32], stage);
  const int lane = int(threadIdx.x);
  nv::cp_async(&stage[0][lane], in + lane);
  nv::cp_async_commit();
  for (int i = 0; i < n; ++i) {
    if (i + 1 < n) nv::cp_async(&stage[(i + 1) & 1][lane], in + (i + 1) * 32 + lane);
    nv::cp_async_commit();
    nv::cp_async_wait<1>();
    __syncwarp();
    out[i * 32 + lane] = stage[i & 1][31 - lane];
    __syncwarp();
  }
}

// A copy that is not valid writes zeros and never reads its source.
__global__ void async_copy_of_nothing(float* out) {
  NV_SHARED(float4[32], s);
  nv::cp_async(s + threadIdx.x, nullptr, false);
  nv::cp_async_commit();
  nv::cp_async_wait<0>();
  out[threadIdx.x] = s[threadIdx.x].x;
}

__global__ void read_only_loads(const float* in, float* out) {
  out[threadIdx.x] = __ldg(in + threadIdx.x) + __ldcs(in + threadIdx.x) + __ldcg(in + threadIdx.x);
}

__global__ void mapped(volatile float* host, float* out) {
  out[threadIdx.x] = host[threadIdx.x];
  host[threadIdx.x] = 2;
}

__global__ void subnormals(float* out) {
  volatile float tiny = 1e-39f;
  out[threadIdx.x] = tiny * 8.0f;
}

bool read_only() {
  Device<float> in(kN, 2), out(kN);
  run(read_only_loads, 1, kN, in.data(), out.data());
  return all(out.read(), [](size_t) { return 6; });
}

constexpr Correct kCases[] = {
    {"ragged",
     [] {
       Device<float> in(100, 3), out(100);
       run(ragged, 4, 32, in.data(), out.data(), 100);
       return all(out.read(), [](size_t) { return 6; });
     }},
    {"grid_stride",
     [] {
       Device<float> out(1000);
       run(grid_stride, 3, 96, out.data(), 1000);
       return all(out.read(), [](size_t i) { return i; });
     }},
    {"three_dimensions",
     [] {
       Device<unsigned> out(12 * 24);
       nv::launch(three_dimensions, dim3(2, 3, 2), dim3(4, 3, 2), nullptr, {}, out.data());
       return all(out.read(), [](size_t i) { return i / 24 * 1000 + i % 24; });
     }},
    {"vectors",
     [] {
       Device<uint4> in(kN, uint4{1, 2, 3, 4}), out(kN);
       run(vectors, 1, kN, in.data(), out.data());
       return out.read()[5].x == 3;
     }},
    {"bytes",
     [] {
       Device<unsigned char> out(kN);
       run(bytes, 1, kN, out.data());
       return all(out.read(), [](size_t i) { return i; });
     }},
    {"halves_of_a_word",
     [] {
       Device<__nv_bfloat16> out(32);
       run(halves_of_a_word, 1, 32, out.data());
       return __bfloat162float(out.read()[4]) == 5 && __bfloat162float(out.read()[5]) == 4;
     }},
    {"two_instantiations",
     [] {
       Device<int> out(32);
       run(two_instantiations, 1, 32, out.data());
       return all(out.read(), [](size_t) { return 12; });
     }},
    {"shared_to_the_last_byte",
     [] {
       constexpr int kFloats = (96 << 10) / 4;
       Device<float> out(kFloats);
       cudaFuncSetAttribute(reinterpret_cast<const void*>(shared_to_the_last_byte),
                            cudaFuncAttributeMaxDynamicSharedMemorySize, kFloats * 4);
       run(shared_to_the_last_byte, 1, 256, {.shared = kFloats * 4}, out.data(), kFloats);
       return all(out.read(), [](size_t i) { return kFloats - 1 - i; });
     }},
    {"constants",
     [] {
       Device<float> out(kN);
       run(constants, 1, kN, out.data());
       return all(out.read(), [](size_t i) { return i % 4 + 1; });
     }},
    {"parameters_by_value",
     [] {
       Device<int> out(kN);
       Parameters p;
       for (int i = 0; i < 16; ++i) p.values[i] = i;
       nv::launch(parameters_by_value, dim3(1), dim3(kN), nullptr, {}, p, out.data());
       p.values[3] = -1;  // the launch has its own copy
       return all(out.read(), [](size_t i) { return i % 16; });
     }},
    {"local_array",
     [] {
       Device<float> out(kN);
       run(local_array, 1, kN, out.data());
       return all(out.read(), [](size_t) { return 7; });
     }},
    {"defined_where_used",
     [] {
       Device<float> in(kN, 1), out(kN);
       run(defined_where_used, 1, kN, in.data(), out.data());
       return all(out.read(), [](size_t i) { return i % 2 == 0; });
     }},
    {"shuffle_past_the_mask",
     [] {
       Device<float> out(20);
       run(shuffle_past_the_mask, 1, 32, out.data());
       return all(out.read(), [](size_t i) { return i < 16 ? float(i + 4) : -1.0f; });
     }},
    {"async_copies",
     [] {
       constexpr int kSteps = 5;
       std::vector<float4> values(kSteps * 32);
       for (size_t i = 0; i < values.size(); ++i) values[i] = {float(i), 0, 0, 0};
       Device<float4> in(values), out(values.size());
       run(async_copies, 1, 32, in.data(), out.data(), kSteps);
       return out.read()[33].x == 62;
     }},
    {"async_copy_of_nothing",
     [] {
       Device<float> out(32);
       run(async_copy_of_nothing, 1, 32, out.data());
       return all(out.read(), [](size_t) { return 0; });
     }},
    {"read_only_loads", read_only},
    {"mapped_memory",
     [] {
       Pinned<float> host(kN);
       Device<float> out(kN);
       for (int i = 0; i < kN; ++i) host.data()[i] = 1;
       run(mapped, 1, kN, static_cast<volatile float*>(host.on_device()), out.data());
       return out.read()[7] == 1 && host.data()[7] == 2;
     }},
    {"subnormals_are_flushed",
     [] {
       Device<float> out(32);
       run(subnormals, 1, 32, out.data());
       return all(out.read(), [](size_t) { return 0; });
     }},
};

}  // namespace

std::span<const Correct> correct_memory() { return kCases; }

}  // namespace corpus
