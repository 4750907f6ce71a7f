// The kernels compiled for AVX2 with FMA and VNNI in its 256-bit form.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

// Everything from here on may use these instructions, so it holds anonymous namespaces and
// forced-inline functions only: a weak symbol compiled here could be the one the linker keeps for
// all.
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avxvnni")

#define NVIUM_VECTOR "vector_avx2.h"
#define NVIUM_VNNI
#include "kernels/table.h"

namespace nvium::cpu {

extern const Kernels kAvxVnniKernels = make_kernels("avx-vnni");

}  // namespace nvium::cpu

#pragma GCC pop_options
#endif
