// Traffic and work: what each source line of a kernel asks of the memory system.
#pragma once

#include "state.h"

namespace simt {

void count_launch(const Grid& grid);
void count_block(const Block& block);
// The lanes of a warp have come together: their accesses since the last time are grouped into
// requests.
void count_warp(Block& block, unsigned warp);
// The running thread enters a stretch of code without branches, which begins at `site`.
void count_instructions(const void* site);

void forget_counters();

}  // namespace simt
