// Address space without memory behind it until it is touched.
#pragma once

#include <cstddef>

namespace simt {

void* reserve(size_t bytes);
// Gives the pages back; they read as zero afterwards.
void discard(void* address, size_t bytes);

}  // namespace simt
