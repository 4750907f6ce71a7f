// From floats to groups of small integers with a scale (docs/numerics.md): how the weights of a
// quantised model come about, whether while it is loaded or when a file is written.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../backend.h"
#include "plan.h"

namespace nvium {

// A row of `cols` finite weights, subnormals among them, as integers of `type` (int8 or int4), and
// a bf16 scale a group. Called with subnormals flushed, as everything that computes.
void quantise_row(MatrixType type, const float* row, uint32_t cols, int8_t* integers,
                  uint16_t* scales);

// The same for `rows` rows of a tensor of floats as a file holds them, to rows of integers as a
// file holds those. Changes `stored`; false where a value is not finite.
bool quantise_rows(StoredType from, StoredType to, uint32_t rows, uint32_t cols, std::byte* stored,
                   std::byte* integers, uint16_t* scales);

}  // namespace nvium
