#include "cuda_backend.h"

#include <algorithm>
#include <cstring>

#include "../native/error.h"
#include "../native/numerics/environment.h"

namespace nvium::cuda {
namespace {

constexpr size_t kUploadBytes = size_t(1) << 20;
constexpr size_t kAlignment = 256;
constexpr size_t kBestBytes = kPassRows * sizeof(unsigned long long);
constexpr size_t kZeroedBytes = kBestBytes + (1 + kMostTickets) * sizeof(uint32_t);

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Puts spans and their tables of blocks into a launch's parameters, if there is room.
bool fits(std::span<const Span> spans, AttendJob& job) {
  if (spans.size() > kFewSpans) return false;
  size_t blocks = 0;
  for (const Span& span : spans) blocks += ceil_div(span.end, kBlockPositions);
  if (blocks > kFewBlocks) return false;
  uint32_t at = 0;
  for (size_t i = 0; i < spans.size(); i++) {
    const Span& span = spans[i];
    job.few_spans[i] = {span.begin, span.end, span.first_row, at};
    for (uint32_t b = 0; b < ceil_div(span.end, kBlockPositions); b++) {
      job.few_blocks[at++] = span.blocks[b];
    }
  }
  return true;
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // or the next call would report it once more
  throw Failure{
      error == cudaErrorMemoryAllocation ? "ERR_NVIUM_OUT_OF_MEMORY" : "ERR_NVIUM_CUDA",
      std::string("CUDA failed while ") + what + ": " + cudaGetErrorString(error) + ".",
      {{"operation", what}, {"cudaCode", double(error)}, {"cudaName", cudaGetErrorName(error)}}};
}

void Pinned::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  Pinned more;
  check(cudaHostAlloc(&more.host_, bytes, cudaHostAllocMapped), "allocating pinned memory");
  check(cudaHostGetDevicePointer(&more.device_, more.host_, 0), "mapping pinned memory");
  more.bytes_ = bytes;
  swap(more);
}

void Pinned::swap(Pinned& other) noexcept {
  std::swap(host_, other.host_);
  std::swap(device_, other.device_);
  std::swap(bytes_, other.bytes_);
}

void Pinned::clear() noexcept {
  if (host_ != nullptr) cudaFreeHost(host_);
  host_ = device_ = nullptr;
  bytes_ = 0;
}

CudaBackend::CudaBackend(int device, const CudaOptions& options) : device_(device) {
  try {
    start(options);
  } catch (...) {
    stop();
    throw;
  }
}

CudaBackend::~CudaBackend() { stop(); }

void CudaBackend::start(const CudaOptions& options) {
  check(cudaSetDevice(device_), "choosing the device");
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, device_), "asking for the device's properties");
  name_ = std::string(properties.name) + " (" + std::to_string(properties.major) + "." +
          std::to_string(properties.minor) + ")";
  machine_.processors = options.processors != 0
                            ? options.processors
                            : uint32_t(std::max(properties.multiProcessorCount, 1));
  // A third: the rest is for what is written, and for keys and values.
  machine_.ahead = size_t(std::max(properties.l2CacheSize, 0)) / 3;
  machine_.dependent = options.dependent && properties.major >= 9;
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  for (const auto prepare :
       {prepare_projections, prepare_heads, prepare_attention, prepare_tables}) {
    check(prepare(), "preparing kernels");
  }
  results_.reserve(4096);
  outgoing_.reserve(kUploadBytes);
  incoming_ = static_cast<std::byte*>(allocate(kUploadBytes));
  zeroed_ = static_cast<std::byte*>(allocate(kZeroedBytes));
  zero(zeroed_, kZeroedBytes);
  wait();
}

// Errors are not looked at: while the process ends, the runtime may be gone already, and with it
// all that was to be released.
void CudaBackend::stop() noexcept {
  cudaSetDevice(device_);
  for (std::byte* memory : {incoming_, zeroed_, scratch_}) release(memory, 0);
  results_.clear();
  outgoing_.clear();
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  cudaGetLastError();
}

void CudaBackend::enter(const std::function<void()>& job) {
  check(cudaSetDevice(device_), "choosing the device");
  try {
    // The host computes too: the cascade, and tables.
    numerics::with_flushing(job);
  } catch (...) {
    // What was queued before the failure writes to memory that the next job uses.
    cudaStreamSynchronize(stream_);
    cudaGetLastError();
    throw;
  }
}

void CudaBackend::wait() { check(cudaStreamSynchronize(stream_), "computing"); }

void* CudaBackend::allocate(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw Failure{"ERR_NVIUM_OUT_OF_MEMORY",
                  "Could not allocate " + std::to_string(bytes) + " bytes on the CUDA device.",
                  {{"needed", double(bytes)}}};
  }
  check(error, "allocating memory");
  return memory;
}

void CudaBackend::release(void* memory, size_t) noexcept {
  if (memory == nullptr) return;
  // Buffers also end outside of a job, on any thread, and while kernels that use them are under
  // way.
  cudaSetDevice(device_);
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  cudaFree(memory);
  cudaGetLastError();
}

// The host's memory may be pageable and may change as soon as these return, so both wait.
void CudaBackend::write(void* device, const void* host, size_t bytes) {
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream_), "writing memory");
  wait();
}

void CudaBackend::read(void* host, const void* device, size_t bytes) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), "reading memory");
  wait();
}

void CudaBackend::copy(void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying memory");
}

void CudaBackend::zero(void* device, size_t bytes) {
  check(cudaMemsetAsync(device, 0, bytes, stream_), "zeroing memory");
}

std::byte* CudaBackend::upload(const void* data, size_t bytes) {
  if (uploaded_ + bytes > outgoing_.bytes()) {
    wait();  // nothing is under way from or read out of the memory begun anew
    uploaded_ = 0;
    round_++;
    if (bytes > outgoing_.bytes()) {
      Pinned more;
      more.reserve(2 * bytes);
      release(std::exchange(incoming_, static_cast<std::byte*>(allocate(2 * bytes))), 0);
      outgoing_.swap(more);
    }
  }
  std::byte* from = outgoing_.host<std::byte>() + uploaded_;
  std::byte* to = incoming_ + uploaded_;
  std::memcpy(from, data, bytes);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "uploading");
  uploaded_ += round_up(bytes, kAlignment);
  return to;
}

std::byte* CudaBackend::scratch(size_t bytes) {
  if (bytes > scratch_bytes_) {
    const size_t more = std::max(bytes, 2 * scratch_bytes_);
    wait();  // kernels under way may use it
    release(std::exchange(scratch_, nullptr), 0);
    scratch_bytes_ = 0;
    scratch_ = static_cast<std::byte*>(allocate(more));
    scratch_bytes_ = more;
  }
  return scratch_;
}

Scratch CudaBackend::scratch_of(const Product& product) {
  if (product.rows <= kPassRows && product.tile_count() > 2 * kMostTickets) {
    throw Failure{"ERR_NVIUM_INTERNAL", "A matrix has too many rows.", {}};
  }
  return {reinterpret_cast<float*>(scratch(project_scratch(product))), tickets()};
}

uint32_t* CudaBackend::tickets() const {
  return reinterpret_cast<uint32_t*>(zeroed_ + kBestBytes) + 1;
}

CudaBackend::Table CudaBackend::upload(std::span<const Span> spans) {
  const size_t span_bytes = round_up(spans.size() * sizeof(DeviceSpan), kAlignment);
  size_t blocks = 0;
  for (const Span& span : spans) blocks += ceil_div(span.end, kBlockPositions);
  std::vector<std::byte>& bytes = next_table_;
  bytes.assign(span_bytes + blocks * sizeof(std::byte*), std::byte{0});
  size_t at = 0;
  for (size_t i = 0; i < spans.size(); i++) {
    const Span& span = spans[i];
    const DeviceSpan entry{span.begin, span.end, span.first_row, uint32_t(at)};
    std::memcpy(bytes.data() + i * sizeof entry, &entry, sizeof entry);
    const size_t count = ceil_div(span.end, kBlockPositions);
    std::memcpy(bytes.data() + span_bytes + at * sizeof(std::byte*), span.blocks,
                count * sizeof(std::byte*));
    at += count;
  }
  if (table_ == nullptr || table_round_ != round_ || bytes != table_bytes_) {
    table_ = nullptr;
    table_ = upload(bytes.data(), bytes.size());
    table_round_ = round_;
    std::swap(table_bytes_, bytes);
  }
  return {reinterpret_cast<const DeviceSpan*>(table_),
          reinterpret_cast<std::byte* const*>(table_ + span_bytes)};
}

void CudaBackend::embed(const Matrix& table, std::span<const uint32_t> tokens, float* output) {
  EmbedJob job{.table = table,
               .rows = uint32_t(tokens.size()),
               .tokens = nullptr,
               .output = output,
               .few = {}};
  if (tokens.size() <= kPassRows) {
    std::copy(tokens.begin(), tokens.end(), job.few);
  } else {
    job.tokens = reinterpret_cast<const uint32_t*>(upload(tokens.data(), tokens.size_bytes()));
  }
  check(cuda::embed(machine_, job, stream_), "embedding");
}

void CudaBackend::project(const Projection& p) {
  const Product product = product_of(p);
  check(cuda::project(machine_, p.matrix->type, product, scratch_of(product), stream_),
        "projecting");
}

void CudaBackend::attend(const Attention& a) {
  AttendJob job{.shape = a.shape,
                .layer = a.layer,
                .spans = nullptr,
                .span_count = uint32_t(a.spans.size()),
                .most_rows = 0,
                .most_blocks = 0,
                .blocks = nullptr,
                .qkv = a.qkv,
                .rotary = a.rotary,
                .output = a.output,
                .scratch = nullptr,
                .tickets = tickets(),
                .ahead = {},
                .ahead_bytes = {},
                .few_spans = {},
                .few_blocks = {}};
  if (!fits(a.spans, job)) {
    const Table table = upload(a.spans);
    job.spans = table.spans, job.blocks = table.blocks;
  }
  size_t room = machine_.ahead;
  for (size_t i = 0; i < std::size(a.next) && a.next[i] != nullptr; i++) {
    job.ahead[i] = a.next[i]->tiles;
    job.ahead_bytes[i] = std::min(a.next[i]->bytes(), room);
    room -= job.ahead_bytes[i];
  }
  for (const Span& span : a.spans) {
    job.most_rows = std::max(job.most_rows, span.rows());
    job.most_blocks = std::max(job.most_blocks, ceil_div(span.end, kBlockPositions));
  }
  if (job.most_rows == 0) return;
  job.scratch = reinterpret_cast<float*>(scratch(attend_scratch(job)));
  check(cuda::attend(machine_, job, stream_), "attending");
}

void CudaBackend::normalise(std::span<const NormRow> rows, uint32_t width, float epsilon,
                            float* output) {
  NormJob job{.rows = nullptr,
              .count = uint32_t(rows.size()),
              .width = width,
              .epsilon = epsilon,
              .output = output,
              .few = {}};
  if (rows.size() <= kPassRows) {
    std::copy(rows.begin(), rows.end(), job.few);
  } else {
    job.rows = reinterpret_cast<const NormRow*>(upload(rows.data(), rows.size_bytes()));
  }
  check(cuda::normalise(machine_, job, stream_), "normalising");
}

void CudaBackend::route(const Routing& r) {
  const size_t bytes = size_t(r.rows) * 2 * sizeof(float);
  results_.reserve(bytes);
  const Router& router = *r.router;
  for (size_t i = 0; i < router.blocks.size(); i++) {
    const RouterBlock& block = router.blocks[i];
    project({.matrix = &block.fc1,
             .input = i == 0 ? r.input : r.outer,
             .rows = r.rows,
             .norm = i == 0 ? router.input_norm : nullptr,
             .epsilon = r.epsilon,
             .bias = block.bias1,
             .activation = Activation::gelu,
             .output = r.inner,
             .width = block.fc1.rows});
    project({.matrix = &block.fc2,
             .input = r.inner,
             .rows = r.rows,
             .bias = block.bias2,
             .output = r.outer,
             .width = block.fc2.rows});
  }
  project({.matrix = &router.head,
           .input = router.blocks.empty() ? r.input : r.outer,
           .rows = r.rows,
           .norm = router.norm,
           .epsilon = r.epsilon,
           .bias = router.bias,
           .output = results_.device<float>(),
           .width = 2});
  wait();
  std::memcpy(r.logits, results_.host<float>(), bytes);
}

void CudaBackend::draw(const Projection& head, std::span<const Draw> draws, uint32_t* tokens) {
  const uint32_t rows = uint32_t(draws.size()), vocab = head.width;
  results_.reserve(rows * sizeof(uint32_t));
  for (uint32_t begin = 0; begin < rows; begin += kPassRows) {
    Product product = product_of(head);
    product.rows = std::min(kPassRows, rows - begin);
    product.input += size_t(begin) * product.cols;
    if (product.residual != nullptr) product.residual += size_t(begin) * vocab;
    DrawBatch batch{.best = reinterpret_cast<unsigned long long*>(zeroed_),
                    .ticket = reinterpret_cast<uint32_t*>(zeroed_ + kBestBytes),
                    .tokens = results_.device<uint32_t>() + begin,
                    .draws = {}};
    bool top = false;
    for (uint32_t r = 0; r < product.rows; r++) {
      batch.draws[r] = draws[begin + r];
      top |= batch.draws[r].keeps_some(vocab);
    }
    // Logits go to memory only where they are needed again.
    product.output = top ? head.output + size_t(begin) * vocab : nullptr;
    check(
        project_and_draw(machine_, head.matrix->type, product, batch, scratch_of(product), stream_),
        "drawing");
  }
  wait();
  std::memcpy(tokens, results_.host<uint32_t>(), rows * sizeof(uint32_t));
}

void CudaBackend::mix(const Mixture& m) {
  const size_t count = size_t(m.exits) * m.rows;
  const auto* log_exit = reinterpret_cast<const float*>(upload(m.log_exit, count * sizeof(float)));
  Buffer log_norm(*this, count * sizeof(float));
  check(cuda::mix(machine_, m, log_exit, log_norm.floats(), stream_), "mixing");
  wait();  // the scratch goes back
}

bool CudaBackend::finite(const float* values, size_t count) {
  uint32_t* flag = results_.host<uint32_t>();
  *flag = 0;
  check(find_non_finite(machine_, values, count, results_.device<uint32_t>(), stream_),
        "looking for values that are not finite");
  wait();
  return *flag == 0;
}

void CudaBackend::erase(const CacheShape& shape, const Span& span, uint32_t first, uint32_t last) {
  if (span.rows() == 0 || first == last) return;
  const Table table = upload({&span, 1});
  const DeviceSpan entry{span.begin, span.end, span.first_row, 0};
  check(cuda::erase(shape, entry, table.blocks, first, last, stream_), "erasing");
}

}  // namespace nvium::cuda
