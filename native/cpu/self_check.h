// Whether a table of kernels may be trusted on this machine.
#pragma once

#include "kernels.h"

namespace nvium::cpu {

// Whether every kernel of a table gives the portable kernels' bits on a fixed set of inputs: ragged
// shapes of every type, every number of rows that is code of its own, every activation, attention
// over two blocks, noise, sums and mixtures. A few milliseconds the first time, for the portable
// kernels' part. Throws Failure (ERR_NVIUM_OUT_OF_MEMORY).
bool agrees(const Kernels& kernels);

}  // namespace nvium::cpu
