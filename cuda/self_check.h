// Whether a CUDA device may be trusted with a model.
#pragma once

#include <string>

#include "../native/backend.h"

namespace nvium::cuda {

// Runs every operation on a fixed set of small operands on `device` and on the portable CPU
// backend, and compares the bytes: ragged shapes of every type, every number of rows that is code
// of its own, attention over two blocks, draws, mixtures, numbers that must be flushed. Returns
// what differs first, or nothing. Some milliseconds on a GPU. Called outside of enter(). Throws
// Failure where the device fails.
std::string find_difference(Backend& device);

}  // namespace nvium::cuda
