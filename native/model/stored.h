// Elements of tensors as files hold them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "plan.h"

namespace nvium {

// Checks `count` elements and flushes subnormals, in place. f16 converts exactly and is left alone;
// -128 is no integer of int8.
bool clean(StoredType type, size_t count, std::byte* data);

// An element that is a float.
float widen(StoredType type, const std::byte* at);

// A row of integers: int8 as they are; int4 two a byte, the low half first, each plus 8.
void read_integers(StoredType type, uint32_t cols, const std::byte* row, int8_t* integers);
void write_integers(StoredType type, uint32_t cols, const int8_t* integers, std::byte* row);

}  // namespace nvium
