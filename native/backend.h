// What a device must provide: a handful of fused operations over ragged rows, and memory.
//
// Rows are fp32 and contiguous, [rows, width]. Every operation's arithmetic is fixed by
// docs/numerics.md, so a row's result does not depend on the rows beside it, on the device or on
// the number of threads. Pointers into device memory are never dereferenced outside the backend.
// Operations run in the order they are called; those that return a value, and `read`, wait for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

namespace nvium {

// How a matrix is packed, what an activation becomes beside it, and what keys and values are kept
// as. (How a file stores a tensor is StoredType, plan.h.)
// (`bytes` are integers that are multiplied as floats: keys and values.)
enum class MatrixType : uint8_t { bf16, f16, f32, bytes, int8, int4 };
enum class OperandType : uint8_t { bf16, f32, int8 };
enum class CacheType : uint8_t { bf16, f32, int8 };

constexpr bool holds_integers(MatrixType type) { return type >= MatrixType::int8; }

// Of an element, where there are no groups.
constexpr size_t bytes_of(MatrixType type) {
  if (type == MatrixType::bytes) return 1;
  return type == MatrixType::f32 ? 4 : 2;
}

// bf16 rounds what it is multiplied with, integers are multiplied with integers.
constexpr OperandType operand_of(MatrixType type) {
  if (holds_integers(type)) return OperandType::int8;
  return type == MatrixType::bf16 ? OperandType::bf16 : OperandType::f32;
}

// A weight tile is 32 output rows, K-major: bf16 [cols/2][32][2], f16 and f32 [cols][32]; rows and
// columns are padded with zeros.
constexpr uint32_t kTileRows = 32;
// Positions of one KV block and of one boundary block.
constexpr uint32_t kBlockPositions = 64;

constexpr uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
constexpr uint32_t even(uint32_t n) { return (n + 1) & ~1u; }

// Where element (row, k) of a tile lies, counted in elements.
constexpr size_t tile_index(MatrixType type, uint32_t row, uint32_t k) {
  return type == MatrixType::bf16 ? (size_t(k / 2) * kTileRows + row) * 2 + (k & 1)
                                  : size_t(k) * kTileRows + row;
}

// Keys and values lie in tiles as a matrix of this type.
constexpr MatrixType tiles_of(CacheType type) {
  if (type == CacheType::int8) return MatrixType::bytes;
  return type == CacheType::bf16 ? MatrixType::bf16 : MatrixType::f32;
}
constexpr size_t bytes_of(CacheType type) { return bytes_of(tiles_of(type)); }
constexpr size_t tile_index(CacheType type, uint32_t row, uint32_t k) {
  return tile_index(tiles_of(type), row, k);
}

// A tile of integers is a run of groups of columns: the group's 32 scales as bf16, then its
// elements, four columns of a row together. int8: groups of 128, bytes [cols/4][32][4] that are the
// integer + 128. int4: groups of 32, bytes [cols/8][32][4], of which the low halves are the first
// four columns and the high ones the next, each the integer + 8. Columns are padded to whole blocks
// of 32, and padding holds the integer 0.
constexpr uint32_t kIntegerBlock = 32;
constexpr size_t kScalesBytes = kTileRows * sizeof(uint16_t);

constexpr uint32_t group_columns(MatrixType type) { return type == MatrixType::int4 ? 32 : 128; }
constexpr size_t block_bytes(MatrixType type) {
  return kIntegerBlock * kTileRows / (type == MatrixType::int4 ? 2 : 1);
}
constexpr size_t integer_tile_bytes(MatrixType type, uint32_t cols) {
  return ceil_div(cols, group_columns(type)) * kScalesBytes +
         ceil_div(cols, kIntegerBlock) * block_bytes(type);
}

struct Matrix {
  const std::byte* tiles = nullptr;
  uint32_t rows = 0;
  uint32_t cols = 0;
  MatrixType type = MatrixType::f32;

  constexpr uint32_t tile_count() const { return ceil_div(rows, kTileRows); }
  constexpr size_t tile_bytes() const {
    return holds_integers(type) ? integer_tile_bytes(type, cols)
                                : size_t(even(cols)) * kTileRows * bytes_of(type);
  }
  constexpr size_t bytes() const { return tile_count() * tile_bytes(); }
};

enum class Activation : uint8_t {
  none,
  silu,
  gelu,
  // The matrix holds the tiles of gate and up in turn; the result is SiLU(gate) * up, half as wide.
  swiglu,
};

// output = activation(matrix · norm?(input) + bias) + residual, with each part but the product
// optional.
struct Projection {
  const Matrix* matrix = nullptr;
  const float* input = nullptr;  // [rows, matrix->cols]
  uint32_t rows = 0;
  const float* norm = nullptr;  // [matrix->cols]: the operand is RMSNorm(input) * norm
  float epsilon = 0;
  float* normed = nullptr;  // [rows, matrix->cols] or null: where RMSNorm(input) * norm goes too
  const float* bias = nullptr;      // [width]
  const float* residual = nullptr;  // [rows, width]; may be `output`
  Activation activation = Activation::none;
  float* output = nullptr;  // [rows, width]
  uint32_t width = 0;       // matrix->rows; for swiglu the width of gate
};

// The geometry of a KV block: [layer][kv head][key tiles | value tiles | steps]. Keys are tiles
// with 64 positions as rows, values are tiles with head_dim as rows and positions as columns, so
// attention is the same dot twice. Steps are there for int8 only: what the integers of each key,
// and of each value, are worth, as floats.
struct CacheShape {
  uint32_t layers = 0;
  uint32_t heads = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  CacheType type = CacheType::f32;

  constexpr size_t key_tile_bytes() const {
    return size_t(even(head_dim)) * kTileRows * bytes_of(type);
  }
  constexpr size_t value_tile_bytes() const {
    return size_t(kBlockPositions) * kTileRows * bytes_of(type);
  }
  constexpr uint32_t value_tiles() const { return ceil_div(head_dim, kTileRows); }
  constexpr size_t key_bytes() const { return kBlockPositions / kTileRows * key_tile_bytes(); }
  constexpr size_t tile_bytes() const { return key_bytes() + value_tiles() * value_tile_bytes(); }
  constexpr size_t head_bytes() const {
    return tile_bytes() + (type == CacheType::int8 ? 2 * kBlockPositions * sizeof(float) : 0);
  }
  constexpr size_t layer_bytes() const { return kv_heads * head_bytes(); }
  constexpr size_t block_bytes() const { return layers * layer_bytes(); }
  constexpr uint32_t query_width() const { return heads * head_dim; }
  constexpr uint32_t qkv_width() const { return (heads + 2 * kv_heads) * head_dim; }
};

// Contiguous positions [begin, end) of one sequence, lying at rows [first_row, first_row + end -
// begin) of the job.
struct Span {
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t first_row = 0;
  std::byte* const* blocks = nullptr;  // the sequence's KV blocks in order, in host memory

  uint32_t rows() const { return end - begin; }
};

// One layer's attention over ragged spans. Row: [queries | keys | values].
struct Attention {
  CacheShape shape;
  uint32_t layer = 0;
  std::span<const Span> spans;
  float* qkv = nullptr;           // [rows, qkv_width]
  const float* rotary = nullptr;  // [positions, head_dim / 2, (cos, sin)]
  float* output = nullptr;        // [rows, query_width]
  // What is multiplied next, in this order: a device may bring it nearer meanwhile.
  const Matrix* next[2] = {};
};

// A router (SPEC §1): norm, blocks of two products, norm, and the head's two logits.
struct RouterBlock {
  Matrix fc1;
  const float* bias1;
  Matrix fc2;
  const float* bias2;
};

struct Router {
  const float* input_norm;
  std::vector<RouterBlock> blocks;
  const float* norm;
  Matrix head;
  const float* bias;
};

struct Routing {
  const Router* router = nullptr;
  const float* input = nullptr;  // [rows, hidden_size]
  uint32_t rows = 0;
  float epsilon = 0;
  float* inner = nullptr;   // scratch: [rows, the widest fc1]
  float* outer = nullptr;   // scratch: [rows, the widest fc2]
  float* logits = nullptr;  // [rows, 2] in host memory: continue, exit
};

// A row to be normalised and the norm's weights, [width] each.
struct NormRow {
  const float* input;
  const float* weight;
};

// How one row's token is drawn from its logits.
struct Draw {
  float temperature = 1;  // 0: the largest logit
  uint32_t top_k = 0;     // 0: all
  uint64_t seed = 0;
  uint32_t stream = 0;
  uint32_t position = 0;  // of the token drawn

  // Whether the largest top_k of `vocab` logits are all that may be drawn, so that all must be
  // known first.
  constexpr bool keeps_some(uint32_t vocab) const {
    return top_k != 0 && top_k < vocab && temperature != 0;
  }
};

// What `draw` gives for a row whose logits are not all finite.
constexpr uint32_t kNoToken = UINT32_MAX;

// The mixture over `exits` laws for some rows (SPEC §5.2).
struct Mixture {
  uint32_t exits = 0;
  uint32_t rows = 0;
  uint32_t vocab = 0;
  const float* logits = nullptr;    // [exits, rows, vocab]
  const float* log_exit = nullptr;  // [exits, rows], log p_k, in host memory
  float* output = nullptr;          // [rows, vocab], log of the mixture
};

class Backend {
 public:
  virtual ~Backend() = default;

  // Rows up to which a pass costs little more than one of a single row. (Tuning: no bit depends on
  // it.)
  virtual uint32_t cheap_rows() const { return 8; }

  // Runs a job on the calling thread, prepared as this device needs it: every other call below
  // happens inside one, but `release`, which may come from any thread.
  virtual void enter(const std::function<void()>& job) = 0;

  // Memory of the device, 64-byte aligned, uninitialised. Throws Failure when there is none left.
  virtual void* allocate(size_t bytes) = 0;
  virtual void release(void* memory, size_t bytes) noexcept = 0;
  virtual void write(void* device, const void* host, size_t bytes) = 0;
  virtual void read(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  virtual void zero(void* device, size_t bytes) = 0;

  // output[r] = the table's row tokens[r], as fp32. Tokens are below table.rows.
  virtual void embed(const Matrix& table, std::span<const uint32_t> tokens, float* output) = 0;
  virtual void project(const Projection& projection) = 0;
  // Turns queries and keys of all rows by their positions, writes keys and values into the blocks,
  // and attends: every row over positions [0, its own]. `qkv` may be changed.
  virtual void attend(const Attention& attention) = 0;
  // output[r] = RMSNorm(input of rows[r]) * its weights, rows of `width`.
  virtual void normalise(std::span<const NormRow> rows, uint32_t width, float epsilon,
                         float* output) = 0;
  virtual void route(const Routing& routing) = 0;
  // Draws one token a row from the projection's logits; `output` of the projection is room for
  // them, used where they must all be there at once (top-k).
  virtual void draw(const Projection& head, std::span<const Draw> draws, uint32_t* tokens) = 0;
  virtual void mix(const Mixture& mixture) = 0;
  // Whether all values are finite.
  virtual bool finite(const float* values, size_t count) = 0;
  // Zeroes the slots of a span in the layers [first, last): a failed job leaves nothing behind.
  virtual void erase(const CacheShape& shape, const Span& span, uint32_t first, uint32_t last) = 0;
};

// Owned device memory.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend& backend, size_t bytes)
      : backend_(&backend),
        memory_(bytes == 0 ? nullptr : backend.allocate(bytes)),
        bytes_(bytes) {}
  Buffer(Buffer&& other) noexcept
      : backend_(other.backend_),
        memory_(std::exchange(other.memory_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() {
    if (memory_ != nullptr) backend_->release(memory_, bytes_);
  }

  std::byte* data() const { return static_cast<std::byte*>(memory_); }
  float* floats() const { return static_cast<float*>(memory_); }
  size_t bytes() const { return bytes_; }

 private:
  Backend* backend_ = nullptr;
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace nvium
