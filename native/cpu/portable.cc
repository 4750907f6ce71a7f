// The kernels as plain C++, compiled for the baseline of the architecture.
#include "kernels/table.h"

namespace nvium::cpu {

extern const Kernels kPortableKernels = make_kernels("portable");

}  // namespace nvium::cpu
