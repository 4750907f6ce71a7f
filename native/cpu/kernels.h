// What one instruction set provides: the single-threaded pieces the CPU backend shares out to its
// team. Every table computes the same bits (docs/numerics.md).
#pragma once

#include <cstddef>
#include <cstdint>

#include "../backend.h"
#include "../numerics/dot.h"

namespace nvium::cpu {

// Rows go through a tile in groups of 32, which share each weight loaded.
constexpr uint32_t kGroupRows = 32;

// Operands (rounded activations) lie as kernels read them: [ceil(cols / 128)][rows][128], a chunk
// of the dot after the other. A chunk of the rows that share a load then fills the first-level
// cache without two lines in one place, whatever the width, and a row is written in runs. Elements
// are fp32, a bf16 operand too once it is rounded; only a set that multiplies pairs of bf16 keeps
// those as bf16 (operand.h). This is room for either.
constexpr size_t kOperandPadding = 16;
constexpr size_t operand_bytes(uint32_t rows, uint32_t cols) {
  return size_t(ceil_div(cols, numerics::kDotChunk)) * rows *
         (numerics::kDotChunk * sizeof(float) + kOperandPadding);
}

struct Pack {
  OperandType type;
  const float* input;  // [rows, cols]
  const float* norm;   // [cols] or null: RMSNorm first
  float epsilon;
  float* normed;  // [rows, cols] or null: the normalised rows too
  uint32_t rows;
  uint32_t cols;
  std::byte* operand;  // operand_bytes(rows, cols)
};

// One unit of attention: up to 32 (row, query head) pairs of one span and one kv head. Pair i of a
// span is its row i / share and the query head i % share of the kv head's group, share being query
// heads per kv head.
struct AttentionUnit {
  const Attention* attention;
  const Span* span;
  uint32_t kv_head;
  uint32_t first;     // pair the unit begins at
  uint32_t pairs;     // 1 … 32
  std::byte* memory;  // scratch of attention_scratch_bytes, 64-byte aligned
};

struct Best {
  float score;
  uint32_t token;
};

// Tokens that are drawn from together.
constexpr uint32_t kDrawTokens = 256;

struct Kernels {
  const char* name;

  // Rows [first, last) of a pack.
  void (*pack)(const Pack& pack, uint32_t first, uint32_t last);
  // Output tiles [first, last) of a projection over a packed operand; for swiglu a tile of the
  // output is two of the matrix.
  void (*project)(const Projection& projection, const std::byte* operand, uint32_t first,
                  uint32_t last);
  // One kv head of all rows of a span, with its query heads: rotary embedding in place, key and
  // value into the blocks.
  void (*append)(const Attention& attention, const Span& span, uint32_t kv_head);
  void (*attend)(const AttentionUnit& unit);
  // The best of tokens [first, last), whose logits these are; `first` is a multiple of 4.
  // draw_kept: of `count` tokens `kept`, in ascending order, from all logits.
  Best (*draw)(const float* logits, const Draw& draw, uint32_t first, uint32_t last);
  Best (*draw_kept)(const float* logits, const Draw& draw, const uint32_t* kept, uint32_t count);
  float (*maximum)(const float* values, size_t count);
  // Sum of exp(value - maximum) in fixed point: its order cannot matter.
  uint64_t (*fixed_sum)(const float* values, size_t count, float maximum);
  // output[v] of one row, v in [first, last). log_exit[k] = log p_k and log_norm[k] = log Z_k;
  // logits[k] are rows of the vocabulary.
  void (*mix)(const float* const* logits, const float* log_exit, const float* log_norm,
              uint32_t exits, uint32_t first, uint32_t last, float* output);
  bool (*finite)(const float* values, size_t count);
};

size_t attention_scratch_bytes(const CacheShape& shape);

extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels, kAvxVnniKernels, kAvx512Kernels, kAvx512VnniKernels,
    kAvx512Bf16Kernels;
#elif defined(__aarch64__)
extern const Kernels kNeonKernels, kNeonDotKernels;
#endif

}  // namespace nvium::cpu
