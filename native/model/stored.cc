#include "stored.h"

#include <algorithm>
#include <cstring>

#include "../numerics/types.h"

namespace nvium {

bool clean(StoredType type, size_t count, std::byte* data) {
  if (type == StoredType::int4) return true;
  if (type == StoredType::int8) {
    return std::find(data, data + count, std::byte{0x80}) == data + count;
  }
  if (type == StoredType::f32) {
    float* values = reinterpret_cast<float*>(data);
    for (size_t i = 0; i < count; i++) {
      if (!numerics::is_finite(values[i])) return false;
      values[i] = numerics::flush_subnormal(values[i]);
    }
    return true;
  }
  uint16_t* values = reinterpret_cast<uint16_t*>(data);
  for (size_t i = 0; i < count; i++) {
    if (type == StoredType::bf16) {
      if (!numerics::is_finite_bf16(values[i])) return false;
      values[i] = numerics::flush_subnormal_bf16(values[i]);
    } else if (!numerics::is_finite_f16(values[i])) {
      return false;
    }
  }
  return true;
}

float widen(StoredType type, const std::byte* at) {
  uint16_t half;
  float single;
  std::memcpy(&half, at, 2);
  switch (type) {
    case StoredType::bf16:
      return numerics::bf16_to_float(half);
    case StoredType::f16:
      return numerics::f16_to_float(half);
    default:
      break;
  }
  std::memcpy(&single, at, 4);
  return single;
}

void read_integers(StoredType type, uint32_t cols, const std::byte* row, int8_t* integers) {
  if (type == StoredType::int8) {
    std::memcpy(integers, row, cols);
    return;
  }
  for (uint32_t k = 0; k < cols; k++) {
    const int both = int(row[k / 2]);
    integers[k] = int8_t((k & 1 ? both >> 4 : both & 15) - 8);
  }
}

void write_integers(StoredType type, uint32_t cols, const int8_t* integers, std::byte* row) {
  if (type == StoredType::int8) {
    std::memcpy(row, integers, cols);
    return;
  }
  for (uint32_t k = 0; k < cols; k += 2) {
    const int low = integers[k] + 8, high = (k + 1 < cols ? integers[k + 1] : 0) + 8;
    row[k / 2] = std::byte(low | high << 4);
  }
}

}  // namespace nvium
