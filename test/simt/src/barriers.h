// Barriers of blocks and grids.
#pragma once

#include <vector>

#include "state.h"

namespace simt {

// A thread returned while others of its block wait. Like hardware since Volta, the barrier counts
// the threads that are left.
void thread_left_barrier(Block& block);

// Lets a cooperative grid go on when every thread waits for it; false when some do not.
bool release_grid_barrier(const std::vector<Block*>& resident);

}  // namespace simt
