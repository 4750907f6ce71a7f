// Memory order between threads of a launch: barriers, fences and atomics.
#pragma once

#include <vector>

#include "state.h"

namespace simt {

// A barrier of the block is complete: what one of its threads knows, all know.
void order_block(Block& block);
void order_grid(const std::vector<Block*>& resident);
void order_warp(Block& block, unsigned warp, uint32_t mask);

// The running thread accesses a location that others synchronise through.
void synchronise_through(uintptr_t address, Access access);

// Whether the lane's block has seen the last atomic write of this location by an atomic of its own.
bool saw_last_atomic(const Lane& lane, uintptr_t address);

// Whether `lane` used a location that the block with this serial wrote atomically: if the two are
// not ordered all the same, a fence is missing.
bool met_through_atomics(const Lane& lane, uint32_t block);

}  // namespace simt
