// The dot of integers on one tile over vectors: four columns of an output share a lane, and a block
// of rows shares each vector of weights. `Integers`, of the instruction set's own header, says how
// four products are added to a lane; sums of groups are exact, so that cannot show.
#pragma once

#include "operand.h"
#include "tile_dot.h"

#include NVIUM_VECTOR

namespace nvium::cpu {
namespace {

// What is asked for ahead, into the first-level cache: two lines for every 128 bytes of weights, or
// one twice.
struct IntegersAhead {
  const std::byte* at;
  size_t step;
  size_t second;

  void ask() {
    __builtin_prefetch(at, 0, 3);
    __builtin_prefetch(at + second, 0, 3);
    at += step;
  }
};

constexpr uint32_t kQuadBytes = 4 * kTileRows;  // four columns of a tile
constexpr uint32_t kBlockQuads = kIntegerBlock / 4;

// Outputs taken at once. int4 has sums of floats beside those of integers, so with many rows it
// takes half as many.
template <MatrixType type, uint32_t Rows>
constexpr uint32_t kIntegerOutputs =
    type == MatrixType::int4 && Rows > kBlockRows / 2 ? kPassOutputs / 2 : kPassOutputs;

template <class Array>
inline void clear(Array& sums) {
#pragma GCC unroll 8
  for (auto& row : sums) {
#pragma GCC unroll 8
    for (auto& sum : row) sum = Vector::zero();
  }
}

// `Rows` rows through a chunk of int8, which is one group, or of int4, up to four: adds to
// sums[r][v], in units of the rows' steps. `w` points at the chunk's scales, `n` is the first
// output, `x` the first row's chunk.
template <MatrixType type, uint32_t Rows, bool Asks, uint32_t Vectors>
inline void integer_groups(const std::byte* w, uint32_t n, const std::byte* x, uint32_t blocks,
                           IntegersAhead& ahead, Vector::Float (&sums)[Rows][Vectors]) {
  constexpr uint32_t group_blocks = group_columns(type) / kIntegerBlock;
  const auto row = [x](uint32_t r) -> const IntegerChunk& {
    return *reinterpret_cast<const IntegerChunk*>(x + r * sizeof(IntegerChunk));
  };
  for (uint32_t group = 0; group < blocks; group += group_blocks) {
    const std::byte* scales = w + 2 * n;
    w += kScalesBytes;
    typename Integers::Sum acc[Rows][Vectors];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < Rows; r++) {
      const int32_t offset = type == MatrixType::int4 ? row(r).offsets[group]
                             : Integers::kUnsigned    ? row(r).offset
                                                      : 0;
#pragma GCC unroll 8
      for (uint32_t v = 0; v < Vectors; v++) acc[r][v] = Integers::all(offset);
    }
    const auto quad = [&](uint32_t r, uint32_t q) {
      int32_t four;
      __builtin_memcpy(&four, row(r).values + 4 * q, 4);
      return four;
    };
    if constexpr (type == MatrixType::int8) {
      for (uint32_t q = 0; q < blocks * kBlockQuads; q++) {
        if constexpr (Asks) ahead.ask();
        typename Integers::Bytes weights[Vectors];
#pragma GCC unroll 8
        for (uint32_t v = 0; v < Vectors; v++) {
          weights[v] = Integers::bytes(w + 4 * (n + v * Vector::lanes));
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < Rows; r++) {
#pragma GCC unroll 8
          for (uint32_t v = 0; v < Vectors; v++) {
            acc[r][v] = Integers::dot(weights[v], quad(r, q), acc[r][v]);
          }
        }
        w += kQuadBytes;
      }
    } else {
      for (uint32_t q = 0; q < kBlockQuads; q += 2) {
        if constexpr (Asks) ahead.ask();
        typename Integers::Nibbles low[Vectors], high[Vectors];
#pragma GCC unroll 8
        for (uint32_t v = 0; v < Vectors; v++) {
          Integers::nibbles(w + 4 * (n + v * Vector::lanes), &low[v], &high[v]);
        }
#pragma GCC unroll 8
        for (uint32_t r = 0; r < Rows; r++) {
          const int32_t first = quad(r, group * kBlockQuads + q),
                        second = quad(r, group * kBlockQuads + q + 1);
#pragma GCC unroll 8
          for (uint32_t v = 0; v < Vectors; v++) {
            acc[r][v] = Integers::dot(low[v], first, acc[r][v]);
            acc[r][v] = Integers::dot(high[v], second, acc[r][v]);
          }
        }
        w += kQuadBytes;
      }
    }
#pragma GCC unroll 8
    for (uint32_t v = 0; v < Vectors; v++) {
      const Vector::Float scale =
          Integers::widen(reinterpret_cast<const uint16_t*>(scales) + v * Vector::lanes);
#pragma GCC unroll 8
      for (uint32_t r = 0; r < Rows; r++) {
        sums[r][v] = Vector::fma(Integers::to_float(acc[r][v]), scale, sums[r][v]);
      }
    }
  }
}

// The same, with the sums taken to the totals at `totals`.
template <MatrixType type, uint32_t Rows, bool Asks>
inline void integer_chunk(const std::byte* w, uint32_t n, const std::byte* x, uint32_t blocks,
                          IntegersAhead& ahead, bool first, float* totals, uint32_t stride) {
  constexpr uint32_t vectors = kIntegerOutputs<type, Rows> / Vector::lanes;
  Vector::Float sums[Rows][vectors];
  clear(sums);
  integer_groups<type, Rows, Asks>(w, n, x, blocks, ahead, sums);
#pragma GCC unroll 8
  for (uint32_t r = 0; r < Rows; r++) {
    const float step = reinterpret_cast<const IntegerChunk*>(x + r * sizeof(IntegerChunk))->step;
#pragma GCC unroll 8
    for (uint32_t v = 0; v < vectors; v++) {
      float* total = totals + r * stride + v * Vector::lanes;
      Vector::store(total,
                    Vector::fma(sums[r][v], step, first ? Vector::zero() : Vector::load(total)));
    }
  }
}

// A block of at most kBlockRows rows through a chunk, all outputs.
template <MatrixType type, bool asks, uint32_t Rows = kBlockRows>
inline void integer_block(uint32_t rows, const std::byte* w, const std::byte* x, uint32_t blocks,
                          IntegersAhead ahead, bool first, float* totals, uint32_t stride) {
  if constexpr (Rows > 1) {
    if (rows < Rows) {
      return integer_block<type, asks, Rows - 1>(rows, w, x, blocks, ahead, first, totals, stride);
    }
  }
  constexpr uint32_t outputs = kIntegerOutputs<type, Rows>;
  if (outputs < kTileRows) ahead.step = 64, ahead.second = 0;
  for (uint32_t n = 0; n < kTileRows; n += outputs) {
    if (n == 2 * outputs) ahead.step = 0;  // all is asked for
    integer_chunk<type, Rows, asks>(w, n, x, blocks, ahead, first, totals + n, stride);
  }
}

template <MatrixType type, bool asks>
inline void dot_integers(const TileDot& t) {
  constexpr uint32_t chunk_blocks = numerics::kDotChunk / kIntegerBlock;
  constexpr size_t chunk_bytes =
      chunk_blocks * (block_bytes(type) + kScalesBytes * kIntegerBlock / group_columns(type));
  const uint32_t blocks = ceil_div(t.cols, kIntegerBlock);
  const std::byte* w = t.tile;
  const std::byte* operand = t.operand;
  for (uint32_t begin = 0; begin < blocks; begin += chunk_blocks) {
    const uint32_t count = blocks - begin < chunk_blocks ? blocks - begin : chunk_blocks;
    for (uint32_t r = 0; r < t.group; r += kBlockRows) {
      const uint32_t some = t.group - r < kBlockRows ? t.group - r : kBlockRows;
      IntegersAhead ahead{asks ? t.ahead + (w - t.tile) : w, r == 0 ? size_t{128} : size_t{0}, 64};
      integer_block<type, asks>(some, w, operand + r * sizeof(IntegerChunk), count, ahead,
                                begin == 0, t.sums + r * t.stride, t.stride);
    }
    w += chunk_bytes;
    operand += t.rows * sizeof(IntegerChunk);
  }
}

template <MatrixType type>
inline void dot_integers(const TileDot& t) {
  if (t.ahead == nullptr) {
    dot_integers<type, false>(t);
  } else {
    dot_integers<type, true>(t);
  }
}

}  // namespace
}  // namespace nvium::cpu
