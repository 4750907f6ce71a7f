// Random operands for tests that compare two backends, made on the host and written to either.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "backend.h"
#include "numerics/rotary.h"
#include "numerics/types.h"

namespace equality {

using namespace nvium;

using Bytes = std::vector<std::byte>;

class Random {
 public:
  explicit Random(uint32_t seed) : bits_(seed) {}

  uint32_t bits() { return bits_(); }
  uint32_t below(uint32_t n) { return bits_() % n; }
  // In [first, last].
  uint32_t between(uint32_t first, uint32_t last) { return first + below(last - first + 1); }
  bool coin() { return bits_() & 1; }
  // Mixed sign and size, zeros of both signs among them.
  float value() {
    const uint32_t r = bits_();
    if (r % 37 == 0) return r & 64 ? -0.0f : 0.0f;
    return (float(int32_t(bits_())) * 0x1p-31f) * (r & 1 ? 1.0f : 0.03125f);
  }
  std::vector<float> values(size_t count) {
    std::vector<float> all(count);
    for (float& v : all) v = value();
    return all;
  }
  uint16_t half(MatrixType type) {
    if (type == MatrixType::bf16) return numerics::bf16_from_float(value());
    // Magnitudes below 1, subnormals among them.
    return uint16_t(below(0x3c00) | (coin() ? 0x8000 : 0));
  }

 private:
  std::mt19937 bits_;
};

template <class T>
Buffer on_device(Backend& backend, const std::vector<T>& values) {
  Buffer buffer(backend, values.size() * sizeof(T));
  if (!values.empty()) backend.write(buffer.data(), values.data(), buffer.bytes());
  return buffer;
}

inline Bytes read(Backend& backend, const Buffer& buffer) {
  Bytes bytes(buffer.bytes());
  if (!bytes.empty()) backend.read(bytes.data(), buffer.data(), bytes.size());
  return bytes;
}

inline void append(Bytes& to, const void* data, size_t bytes) {
  const auto* from = static_cast<const std::byte*>(data);
  to.insert(to.end(), from, from + bytes);
}
inline void append(Bytes& to, const Bytes& from) { to.insert(to.end(), from.begin(), from.end()); }

// A matrix in tiles; padding is zero.
struct Stored {
  Matrix matrix;
  Buffer tiles;
};

inline Stored random_matrix(Backend& backend, Random& random, MatrixType type, uint32_t rows,
                            uint32_t cols) {
  Stored s;
  s.matrix = {nullptr, rows, cols, type};
  Bytes tiles(s.matrix.bytes());
  for (uint32_t r = 0; r < rows; r++) {
    std::byte* tile = tiles.data() + r / kTileRows * s.matrix.tile_bytes();
    for (uint32_t c = 0; c < cols; c++) {
      const size_t at = tile_index(type, r % kTileRows, c);
      if (type == MatrixType::f32) {
        reinterpret_cast<float*>(tile)[at] = random.value();
      } else {
        reinterpret_cast<uint16_t*>(tile)[at] = random.half(type);
      }
    }
  }
  s.tiles = on_device(backend, tiles);
  s.matrix.tiles = s.tiles.data();
  return s;
}

inline std::vector<float> rotary_table(uint32_t positions, uint32_t dim) {
  const uint32_t half = dim / 2;
  std::vector<float> table(size_t(positions) * dim);
  for (uint32_t p = 0; p < positions; p++) {
    for (uint32_t i = 0; i < half; i++) {
      const auto r =
          numerics::rotation(p, numerics::inverse_frequency(int(i), int(dim), 10000, {}));
      table[(size_t(p) * half + i) * 2] = r.cos;
      table[(size_t(p) * half + i) * 2 + 1] = r.sin;
    }
  }
  return table;
}

}  // namespace equality
