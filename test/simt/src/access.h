// One memory access of a kernel or of host code, and everything that can be wrong with it.
#pragma once

#include <cstdint>

#include "simt/runtime.h"

namespace simt {

void access(uintptr_t address, size_t size, Access kind, const void* site);

}  // namespace simt
