// The kernels compiled for AVX-512 with VNNI, without BF16.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

// Everything from here on may use these instructions, so it holds anonymous namespaces and
// forced-inline functions only: a weak symbol compiled here could be the one the linker keeps for
// all.
#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c,prefer-vector-width=512")

#define NVIUM_VECTOR "vector_avx512.h"
#define NVIUM_VNNI
#include "kernels/table.h"

namespace nvium::cpu {

extern const Kernels kAvx512VnniKernels = make_kernels("avx512-vnni");

}  // namespace nvium::cpu

#pragma GCC pop_options
#endif
