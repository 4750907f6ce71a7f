// Limits of launches.
#pragma once

#include <cstddef>

namespace simt {

// Threads that a kernel's __launch_bounds__ allows, rounded up to whole warps.
unsigned launch_bound(const void* kernel);
size_t shared_limit(const void* kernel);
void set_shared_limit(const void* kernel, size_t bytes);
unsigned blocks_per_multiprocessor(unsigned threads, size_t dynamic_shared);

}  // namespace simt
