// Attention over KV blocks: both of its products are the dot on tiles, so rows of a span and query
// heads of a group share each block read.
#pragma once

#include "../../numerics/integers.h"
#include "../../numerics/rotary.h"
#include "../../numerics/sums.h"
#include "../../numerics/types.h"
#include "../kernels.h"
#include "dot.h"
#include "largest.h"
#include "pack.h"

namespace nvium::cpu {
namespace {

// What a row becomes integers by, of any length.
inline numerics::Steps steps_of_row(const float* row, uint32_t count) {
  uint32_t largest = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t m = numerics::magnitude(row[i]);
    largest = m > largest ? m : largest;
  }
  return numerics::steps_of(largest);
}

// Writes `count` elements of a row of a tile, k = first … : a key at its slot. `count` is even, at
// most 32.
inline void store_row(CacheType type, std::byte* tile, uint32_t row, uint32_t first, uint32_t count,
                      const float* values, const numerics::Steps& steps) {
  if (type == CacheType::bf16) {
    uint16_t rounded[kTileRows];
    for (uint32_t i = 0; i < count; i++) rounded[i] = numerics::bf16_from_float(values[i]);
    uint32_t* out = reinterpret_cast<uint32_t*>(tile) + size_t(first / 2) * kTileRows + row;
    for (uint32_t p = 0; p < count / 2; p++) {
      out[p * kTileRows] = uint32_t(rounded[2 * p]) | uint32_t(rounded[2 * p + 1]) << 16;
    }
  } else if (type == CacheType::int8) {
    std::byte* out = tile + size_t(first) * kTileRows + row;
    for (uint32_t i = 0; i < count; i++) {
      out[i * kTileRows] = std::byte(numerics::activation_byte(values[i], steps));
    }
  } else {
    float* out = reinterpret_cast<float*>(tile) + size_t(first) * kTileRows + row;
    for (uint32_t i = 0; i < count; i++) out[i * kTileRows] = values[i];
  }
}

// Writes column k of a tile for its first `count` rows: a value at its slot.
inline void store_column(CacheType type, std::byte* tile, uint32_t k, uint32_t count,
                         const float* values, const numerics::Steps& steps) {
  if (type == CacheType::bf16) {
    uint16_t* out = reinterpret_cast<uint16_t*>(tile) + tile_index(type, 0, k);
    for (uint32_t n = 0; n < count; n++) out[2 * n] = numerics::bf16_from_float(values[n]);
  } else if (type == CacheType::int8) {
    std::byte* out = tile + tile_index(type, 0, k);
    for (uint32_t n = 0; n < count; n++) {
      out[n] = std::byte(numerics::activation_byte(values[n], steps));
    }
  } else {
    float* out = reinterpret_cast<float*>(tile) + tile_index(type, 0, k);
    for (uint32_t n = 0; n < count; n++) out[n] = values[n];
  }
}

inline void rotate_head(float* x, const float* angles, uint32_t half) {
  for (uint32_t j = 0; j < half; j++) {
    const numerics::Pair pair =
        numerics::rotate(x[j], x[half + j], angles[2 * j], angles[2 * j + 1]);
    x[j] = pair.lo;
    x[half + j] = pair.hi;
  }
}

void append_head(const Attention& a, const Span& span, uint32_t kv_head) {
  const CacheShape& shape = a.shape;
  const uint32_t dim = shape.head_dim, share = shape.heads / shape.kv_heads;
  for (uint32_t i = 0; i < span.rows(); i++) {
    const uint32_t position = span.begin + i, slot = position % kBlockPositions;
    float* row = a.qkv + size_t(span.first_row + i) * shape.qkv_width();
    const float* angles = a.rotary + size_t(position) * dim;
    for (uint32_t head = kv_head * share; head < (kv_head + 1) * share; head++) {
      rotate_head(row + size_t(head) * dim, angles, dim / 2);
    }
    float* key = row + size_t(shape.heads + kv_head) * dim;
    const float* value = key + size_t(shape.kv_heads) * dim;
    rotate_head(key, angles, dim / 2);
    std::byte* keys = span.blocks[position / kBlockPositions] + a.layer * shape.layer_bytes() +
                      kv_head * shape.head_bytes();
    std::byte* values = keys + shape.key_bytes();
    numerics::Steps key_steps{}, value_steps{};
    if (shape.type == CacheType::int8) {
      key_steps = steps_of_row(key, dim);
      value_steps = steps_of_row(value, dim);
      float* steps = reinterpret_cast<float*>(keys + shape.tile_bytes());
      steps[slot] = key_steps.step;
      steps[kBlockPositions + slot] = value_steps.step;
    }
    keys += slot / kTileRows * shape.key_tile_bytes();
    for (uint32_t first = 0; first < dim; first += kTileRows) {
      const uint32_t count = dim - first < kTileRows ? dim - first : kTileRows;
      store_row(shape.type, keys, slot % kTileRows, first, count, key + first, key_steps);
      store_column(shape.type, values + first / kTileRows * shape.value_tile_bytes(), slot, count,
                   value + first, value_steps);
    }
  }
}

// Scores to weights of one block: p = exp(s - max) over the filled slots, +0 elsewhere.
inline void block_weights(float* scores, uint32_t filled, float scale, float* maximum, float* sum) {
  for (uint32_t i = 0; i < kBlockPositions; i++) {
    // A slot that is not filled must not be the largest.
    scores[i] = i < filled ? scores[i] * scale : -__builtin_inff();
  }
  const float m = largest(scores, kBlockPositions);
  float slots[kBlockPositions];
  for (uint32_t i = 0; i < kBlockPositions; i++) {
    const float p = numerics::exp(scores[i] - m);
    slots[i] = scores[i] = i < filled ? p : 0.0f;
  }
  *maximum = m;
  *sum = numerics::halving_tree<kBlockPositions>(slots);
}

void attend_unit(const AttentionUnit& unit) {
  const Attention& a = *unit.attention;
  const CacheShape& shape = a.shape;
  const uint32_t dim = shape.head_dim, share = shape.heads / shape.kv_heads;
  const uint32_t group = unit.pairs;
  const uint32_t padded = shape.value_tiles() * kTileRows;
  const float scale = 1.0f / numerics::sqrt(float(dim));
  const size_t row_width = shape.qkv_width();
  const MatrixType tiles = tiles_of(shape.type);
  const OperandType operand = operand_of(tiles);
  const bool integers = shape.type == CacheType::int8;

  std::byte* memory = unit.memory;
  const auto take = [&](size_t bytes) {
    std::byte* at = memory;
    memory += (bytes + 63) / 64 * 64;
    return at;
  };
  std::byte* queries = take(operand_bytes(group, dim));
  std::byte* probabilities = take(operand_bytes(group, kBlockPositions));
  const auto weights =
      reinterpret_cast<float(*)[kBlockPositions]>(take(kGroupRows * kBlockPositions * 4));
  float* block_output = reinterpret_cast<float*>(take(size_t(kGroupRows) * padded * 4));
  float* output = reinterpret_cast<float*>(take(size_t(kGroupRows) * padded * 4));
  float running_max[kGroupRows], running_sum[kGroupRows];

  const auto row_of = [&](uint32_t pair) { return (unit.first + pair) / share; };
  const auto head_of = [&](uint32_t pair) {
    return unit.kv_head * share + (unit.first + pair) % share;
  };
  for (uint32_t pair = 0; pair < group; pair++) {
    const float* query =
        a.qkv + (unit.span->first_row + row_of(pair)) * row_width + size_t(head_of(pair)) * dim;
    store_operand(operand, queries, group, pair, dim, [=](size_t i) { return query[i]; });
  }

  const uint32_t last_block = (unit.span->begin + row_of(group - 1)) / kBlockPositions;
  for (uint32_t b = 0; b <= last_block; b++) {
    const std::byte* keys =
        unit.span->blocks[b] + a.layer * shape.layer_bytes() + unit.kv_head * shape.head_bytes();
    const std::byte* values = keys + shape.key_bytes();
    const float* steps = reinterpret_cast<const float*>(keys + shape.tile_bytes());
    // What is read next, asked for now, since blocks lie apart: the same head's next block, or
    // after the last one the next head's first.
    const std::byte* next_keys =
        b < last_block ? unit.span->blocks[b + 1] + (keys - unit.span->blocks[b])
                       : unit.span->blocks[0] + (keys - unit.span->blocks[b]) + shape.head_bytes();
    const std::byte* next_values = next_keys + shape.key_bytes();
    for (uint32_t t = 0; t < kBlockPositions / kTileRows; t++) {
      dot_tile(tiles, {.tile = keys + t * shape.key_tile_bytes(),
                       .operand = queries,
                       .rows = group,
                       .group = group,
                       .cols = dim,
                       .sums = weights[0] + t * kTileRows,
                       .stride = kBlockPositions,
                       .ahead = next_keys + t * shape.key_tile_bytes()});
    }
    float maximum[kGroupRows], sum[kGroupRows];
    bool reached[kGroupRows];
    for (uint32_t pair = 0; pair < group; pair++) {
      const uint32_t position = unit.span->begin + row_of(pair);
      reached[pair] = position >= b * kBlockPositions;
      float* w = weights[pair];
      if (reached[pair]) {
        const uint32_t upto = position - b * kBlockPositions + 1;
        if (integers) {
          for (uint32_t i = 0; i < kBlockPositions; i++) w[i] *= steps[i];
        }
        block_weights(w, upto < kBlockPositions ? upto : kBlockPositions, scale, &maximum[pair],
                      &sum[pair]);
      } else {
        for (uint32_t i = 0; i < kBlockPositions; i++) w[i] = 0.0f;
      }
      if (integers) {
        for (uint32_t i = 0; i < kBlockPositions; i++) w[i] *= steps[kBlockPositions + i];
      }
      store_operand(operand, probabilities, group, pair, kBlockPositions,
                    [=](size_t i) { return w[i]; });
    }
    float* target = b == 0 ? output : block_output;
    for (uint32_t t = 0; t < shape.value_tiles(); t++) {
      dot_tile(tiles, {.tile = values + t * shape.value_tile_bytes(),
                       .operand = probabilities,
                       .rows = group,
                       .group = group,
                       .cols = kBlockPositions,
                       .sums = target + t * kTileRows,
                       .stride = padded,
                       .ahead = next_values + t * shape.value_tile_bytes()});
    }
    for (uint32_t pair = 0; pair < group; pair++) {
      if (!reached[pair]) continue;
      if (b == 0) {
        running_max[pair] = maximum[pair];
        running_sum[pair] = sum[pair];
        continue;
      }
      const numerics::Merge merge = numerics::merge_blocks(running_max[pair], maximum[pair]);
      running_max[pair] = merge.max;
      running_sum[pair] = numerics::merged(merge, running_sum[pair], sum[pair]);
      float* o = output + size_t(pair) * padded;
      const float* ob = block_output + size_t(pair) * padded;
      for (uint32_t i = 0; i < padded; i++) {
        o[i] = numerics::merged(merge, o[i], ob[i]);
      }
    }
  }
  for (uint32_t pair = 0; pair < group; pair++) {
    const float* o = output + size_t(pair) * padded;
    float* out = a.output + (unit.span->first_row + row_of(pair)) * size_t(shape.query_width()) +
                 size_t(head_of(pair)) * dim;
    const float sum = running_sum[pair];
    for (uint32_t i = 0; i < dim; i++) out[i] = o[i] / sum;
  }
}

}  // namespace
}  // namespace nvium::cpu
