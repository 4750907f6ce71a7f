// Memory for weights, caches and activations.
#pragma once

#include <cstddef>

namespace nvium::cpu {

// 64-byte aligned; large blocks are mapped and ask for huge pages, which decoding at memory speed
// needs. Throws Failure (ERR_NVIUM_OUT_OF_MEMORY) when there is none.
void* allocate(size_t bytes);
void release(void* memory, size_t bytes) noexcept;

}  // namespace nvium::cpu
