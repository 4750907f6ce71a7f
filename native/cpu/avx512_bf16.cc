// The kernels compiled for AVX-512 with BF16 and VNNI.
#if defined(__x86_64__)
#include <immintrin.h>

#include "kernels.h"

// Everything from here on may use these instructions, so it holds anonymous namespaces and
// forced-inline functions only: a weak symbol compiled here could be the one the linker keeps for
// all.
#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,avx2,fma,f16c,prefer-vector-width=512")

#define NVIUM_VECTOR "vector_avx512.h"
#define NVIUM_AVX512_BF16
#define NVIUM_VNNI
#include "kernels/table.h"

namespace nvium::cpu {

extern const Kernels kAvx512Bf16Kernels = make_kernels("avx512-bf16");

}  // namespace nvium::cpu

#pragma GCC pop_options
#endif
