// Faults of host programs: order between streams, the host and the device, and misuse of the API.
#include "corpus.h"

namespace corpus {
namespace {

constexpr int kN = 64;
constexpr size_t kBytes = kN * sizeof(float);

__global__ void write_all(float* p, float value) {
  // fault kernel_overwrites_copy_source: missing order between streams
  p[threadIdx.x] = value;
}

__global__ void read_on_other_stream(const float* p, float* out) {
  // fault kernels_without_event: missing order between streams
  out[threadIdx.x] = p[threadIdx.x];
}

__global__ void write_one(float* p, float value) {
  // fault kernels_without_event: missing order between streams
  p[threadIdx.x] = value;
}

void kernels_without_event() {
  Stream a, b;
  Device<float> p(kN, 0), out(kN);
  cudaDeviceSynchronize();
  nv::launch(write_one, dim3(1), dim3(kN), a, {}, p.data(), 1.0f);
  nv::launch(read_on_other_stream, dim3(1), dim3(kN), b, {}, p.data(), out.data());
  cudaDeviceSynchronize();
}

void kernel_overwrites_copy_source() {
  Stream a, b;
  Device<float> p(kN, 0);
  Pinned<float> host(kN);
  cudaDeviceSynchronize();
  // fault kernel_overwrites_copy_source: missing order between streams
  cudaMemcpyAsync(host.data(), p.data(), kBytes, cudaMemcpyDeviceToHost, a);
  nv::launch(write_all, dim3(1), dim3(kN), b, {}, p.data(), 1.0f);
  cudaDeviceSynchronize();
}

// The event was recorded before the work that it should stand for.
void event_recorded_too_early() {
  Stream a, b;
  Event e;
  Device<float> p(kN, 0), q(kN, 0);
  cudaDeviceSynchronize();
  cudaEventRecord(e, a);
  // fault event_recorded_too_early: missing order between streams
  cudaMemcpyAsync(p.data(), q.data(), kBytes, cudaMemcpyDeviceToDevice, a);
  cudaStreamWaitEvent(b, e, 0);
  // fault event_recorded_too_early: missing order between streams
  cudaMemsetAsync(p.data(), 0, kBytes, b);
  cudaDeviceSynchronize();
}

// Streams that do not block are not ordered with the default stream.
void default_stream_is_no_order() {
  Stream a;
  Device<float> p(kN, 0), q(kN, 0);
  cudaDeviceSynchronize();
  // fault default_stream_is_no_order: missing order between streams
  cudaMemsetAsync(p.data(), 0, kBytes, a);
  // fault default_stream_is_no_order: missing order between streams
  cudaMemcpyAsync(q.data(), p.data(), kBytes, cudaMemcpyDeviceToDevice, nullptr);
  cudaDeviceSynchronize();
}

void read_pinned_too_early() {
  Stream a;
  Device<float> p(kN, 1);
  Pinned<float> host(kN);
  cudaDeviceSynchronize();
  // fault read_pinned_too_early: missing synchronisation with the host
  cudaMemcpyAsync(host.data(), p.data(), kBytes, cudaMemcpyDeviceToHost, a);
  // fault read_pinned_too_early: missing synchronisation with the host
  volatile float x = host.data()[0];
  (void)x;
  cudaDeviceSynchronize();
}

void write_pinned_too_early() {
  Stream a;
  Device<float> p(kN);
  Pinned<float> host(kN);
  for (int i = 0; i < kN; ++i) host.data()[i] = 1;
  // fault write_pinned_too_early: missing synchronisation with the host
  cudaMemcpyAsync(p.data(), host.data(), kBytes, cudaMemcpyHostToDevice, a);
  // fault write_pinned_too_early: missing synchronisation with the host
  host.data()[0] = 2;
  cudaDeviceSynchronize();
}

void read_device_memory() {
  Device<float> p(kN, 1);
  cudaDeviceSynchronize();
  // fault read_device_memory: device memory in host code
  volatile float x = p.data()[3];
  (void)x;
}

// Code without hooks, as a library would be.
__attribute__((no_sanitize("thread"), noinline)) void unhooked(float* p) {
  // fault write_device_memory_unhooked: device memory in host code
  *static_cast<volatile float*>(p) = 1;
}
void write_device_memory_unhooked() {
  Device<float> p(kN, 1);
  cudaDeviceSynchronize();
  unhooked(p.data());
}

void copy_too_much() {
  Device<float> p(kN);
  std::vector<float> host(2 * kN);
  // fault copy_too_much: bad copy
  cudaMemcpy(p.data(), host.data(), 2 * kBytes, cudaMemcpyHostToDevice);
}

void copy_wrong_way() {
  Device<float> p(kN);
  std::vector<float> host(kN);
  // fault copy_wrong_way: bad copy
  cudaMemcpy(p.data(), host.data(), kBytes, cudaMemcpyDeviceToHost);
}

void fill_too_much() {
  Device<float> p(kN);
  // fault fill_too_much: bad copy
  cudaMemset(p.data() + 1, 0, kBytes);
}

void copy_freed() {
  Device<float> to(kN);
  float* from = Device<float>(kN, 0).data();
  // fault copy_freed: use after free
  cudaMemcpy(to.data(), from, kBytes, cudaMemcpyDeviceToDevice);
}

void copy_undefined_to_host() {
  Device<float> p(kN);
  std::vector<float> host(kN);
  // fault copy_undefined_to_host: uninitialised read
  cudaMemcpy(host.data(), p.data(), kBytes, cudaMemcpyDeviceToHost);
}

void free_twice() {
  void* p = nullptr;
  cudaMalloc(&p, 64);
  cudaFree(p);
  // fault free_twice: bad free
  cudaFree(p);
}

void free_inside() {
  Device<float> p(kN);
  // fault free_inside: bad free
  cudaFree(p.data() + 4);
}

void leak_memory() {
  void* p = nullptr;
  // fault leak_memory: leak
  cudaMalloc(&p, 64);
}

void leak_stream() {
  cudaStream_t s;
  // fault leak_stream: leak
  cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
}

void leak_event() {
  cudaEvent_t e;
  // fault leak_event: leak
  cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
}

// ---- memory in stream order

__global__ void use_pool_memory(float* p) {
  // fault pool_memory_on_other_stream: missing order between streams
  p[threadIdx.x] = 1;
}

void pool_memory_on_other_stream() {
  Stream a, b;
  void* p = nullptr;
  // fault pool_memory_on_other_stream: missing order between streams
  cudaMallocAsync(&p, kBytes, a);
  nv::launch(use_pool_memory, dim3(1), dim3(kN), b, {}, static_cast<float*>(p));
  cudaDeviceSynchronize();
  cudaFreeAsync(p, a);
  cudaDeviceSynchronize();
}

__global__ void use_freed_pool_memory(float* p) {
  // fault pool_memory_after_free: use after free
  p[threadIdx.x] = 1;
}

void pool_memory_after_free() {
  Stream a;
  void* p = nullptr;
  cudaMallocAsync(&p, kBytes, a);
  cudaFreeAsync(p, a);
  nv::launch(use_freed_pool_memory, dim3(1), dim3(kN), a, {}, static_cast<float*>(p));
  cudaDeviceSynchronize();
}

// ---- dependent launches

__global__ void first(float* p) { p[threadIdx.x] = 1; }

__global__ void dependent_without_wait(const float* p, float* out) {
  // fault dependent_without_wait: missing grid dependency wait
  out[threadIdx.x] = p[threadIdx.x];
}

__global__ void dependent_waits_too_late(float* p, float* out) {
  // fault dependent_waits_too_late: missing grid dependency wait
  const float x = p[threadIdx.x];
  nv::grid_dependency_wait();
  out[threadIdx.x] = x;
}

// Overwrites what the kernel ahead may still read.
__global__ void reader(const float* p, float* out) { out[threadIdx.x] = p[threadIdx.x]; }
__global__ void dependent_overwrites(float* p) {
  // fault dependent_overwrites: missing grid dependency wait
  p[threadIdx.x] = 2;
}

// The middle kernel does not wait, so its end says nothing about the first.
__global__ void middle(float* q) { q[threadIdx.x] = 2; }
__global__ void last_of_three(const float* p, float* out) {
  nv::grid_dependency_wait();
  // fault chain_without_wait: missing grid dependency wait|missing order between streams
  out[threadIdx.x] = p[threadIdx.x];
}

void dependent_pair(void (*kernel)(const float*, float*)) {
  Stream s;
  Device<float> p(kN, 0), out(kN);
  nv::launch(first, dim3(1), dim3(kN), s, {}, p.data());
  nv::launch(kernel, dim3(1), dim3(kN), s, {.dependent = true}, p.data(), out.data());
  cudaStreamSynchronize(s);
}

constexpr Fault kFaults[] = {
    {"kernels_without_event", kernels_without_event},
    {"kernel_overwrites_copy_source", kernel_overwrites_copy_source},
    {"event_recorded_too_early", event_recorded_too_early},
    {"default_stream_is_no_order", default_stream_is_no_order},
    {"read_pinned_too_early", read_pinned_too_early},
    {"write_pinned_too_early", write_pinned_too_early},
    {"read_device_memory", read_device_memory},
    {"write_device_memory_unhooked", write_device_memory_unhooked},
    {"copy_too_much", copy_too_much},
    {"copy_wrong_way", copy_wrong_way},
    {"fill_too_much", fill_too_much},
    {"copy_freed", copy_freed},
    {"copy_undefined_to_host", copy_undefined_to_host},
    {"free_twice", free_twice},
    {"free_inside", free_inside},
    {"leak_memory", leak_memory},
    {"leak_stream", leak_stream},
    {"leak_event", leak_event},
    {"pool_memory_on_other_stream", pool_memory_on_other_stream},
    {"pool_memory_after_free", pool_memory_after_free},
    {"dependent_without_wait", [] { dependent_pair(dependent_without_wait); }},
    {"dependent_waits_too_late",
     [] {
       Stream s;
       Device<float> p(kN, 0), out(kN);
       nv::launch(first, dim3(1), dim3(kN), s, {}, p.data());
       nv::launch(dependent_waits_too_late, dim3(1), dim3(kN), s, {.dependent = true}, p.data(),
                  out.data());
       cudaStreamSynchronize(s);
     }},
    {"dependent_overwrites",
     [] {
       Stream s;
       Device<float> p(kN, 0), out(kN);
       nv::launch(reader, dim3(1), dim3(kN), s, {}, p.data(), out.data());
       nv::launch(dependent_overwrites, dim3(1), dim3(kN), s, {.dependent = true}, p.data());
       cudaStreamSynchronize(s);
     }},
    {"chain_without_wait",
     [] {
       Stream s;
       Device<float> p(kN, 0), q(kN), out(kN);
       nv::launch(first, dim3(1), dim3(kN), s, {}, p.data());
       nv::launch(middle, dim3(1), dim3(kN), s, {.dependent = true}, q.data());
       nv::launch(last_of_three, dim3(1), dim3(kN), s, {.dependent = true}, p.data(), out.data());
       cudaStreamSynchronize(s);
     }},
};

}  // namespace

std::span<const Fault> host_faults() { return kFaults; }

}  // namespace corpus
