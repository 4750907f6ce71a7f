// Copies and fills in stream order.
#pragma once

#include <cuda_runtime.h>

namespace simt {

cudaError_t copy(void* to, const void* from, size_t size, cudaMemcpyKind kind, cudaStream_t stream,
                 bool wait);
cudaError_t fill(void* p, int value, size_t size, cudaStream_t stream);

}  // namespace simt
