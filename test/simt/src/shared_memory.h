// Shared memory of resident blocks. Dynamic memory and each static variable are exact in size, with
// gaps behind them, and begin undefined.
#pragma once

#include "state.h"

namespace simt {

void prepare_shared(Block& block, size_t dynamic_size);

}  // namespace simt
