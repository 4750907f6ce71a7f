// The kernels for 64-bit Arm with the dot product of bytes.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "kernels.h"

// As for the wide sets of x86: nothing that the linker could share.
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")

#define NVIUM_VECTOR "vector_neon.h"
#define NVIUM_DOT_PRODUCT
#include "kernels/table.h"

namespace nvium::cpu {

extern const Kernels kNeonDotKernels = make_kernels("neon-dot");

}  // namespace nvium::cpu

#pragma GCC pop_options
#endif
