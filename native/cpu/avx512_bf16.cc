// The kernels compiled for AVX-512 with BF16. Everything from the pragma on may use these
// instructions, so it holds anonymous namespaces and headers of forced-inline functions only: a
// weak symbol compiled here could be the one the linker keeps for all.
#if defined(__x86_64__)
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels.h"

#pragma GCC push_options
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,f16c,prefer-vector-width=512")

#include "../numerics/cascade.h"
#include "../numerics/dot.h"
#include "../numerics/functions.h"
#include "../numerics/noise.h"
#include "../numerics/rotary.h"
#include "../numerics/sums.h"
#include "../numerics/types.h"

namespace nvium::cpu {

#include "kernels/pack.h"
// The dot before what is built on it.
#include "kernels/dot.h"
#include "kernels/dot_avx512.h"
// And the rest.
#include "kernels/attention.h"
#include "kernels/draw.h"
#include "kernels/project.h"
#include "kernels/table.h"

extern const Kernels kAvx512Bf16Kernels = make_kernels("avx512-bf16");

}  // namespace nvium::cpu

#pragma GCC pop_options
#endif
