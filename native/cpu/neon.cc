// The kernels for 64-bit Arm, whose baseline has NEON and FMA.
#if defined(__aarch64__)
#define NVIUM_VECTOR "vector_neon.h"
#include "kernels/table.h"

namespace nvium::cpu {

extern const Kernels kNeonKernels = make_kernels("neon");

}  // namespace nvium::cpu
#endif
