// What can go wrong from outside, made to go wrong on purpose: memory, threads, reads, operations.
// Replaces operator new; the program is linked with --wrap for the functions of libc that the core
// calls (test/native/CMakeLists.txt).
#pragma once

#include <atomic>
#include <cstdint>

namespace nvium::faults {

// The next `after` allocations (of operator new, of aligned memory, of threads) succeed, then one
// fails; `forever`: that one and all that follow.
void arm(int64_t after, bool forever);
// Whether an allocation has failed since `arm`.
bool disarm();

// Allocations that were not given back, of any kind.
int64_t live();

// What pread does at its `at`-th call from now on: as ever, or this once.
enum class Reading { right, half, interrupted, failing, ended };
void arm_reads(int64_t at, Reading how);
// Calls of pread since `arm_reads`.
int64_t reads();

// Memory mapped by the core is refused while this is set.
inline std::atomic<bool> refuse_mappings{false};

}  // namespace nvium::faults
