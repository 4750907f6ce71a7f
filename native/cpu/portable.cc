// The kernels compiled for the baseline of the architecture.
#include <cstddef>
#include <cstdint>

#include "../numerics/cascade.h"
#include "../numerics/dot.h"
#include "../numerics/functions.h"
#include "../numerics/noise.h"
#include "../numerics/rotary.h"
#include "../numerics/sums.h"
#include "../numerics/types.h"
#include "kernels.h"

namespace nvium::cpu {

#include "kernels/pack.h"
// The dot before what is built on it.
#include "kernels/dot.h"
#include "kernels/dot_portable.h"
// And the rest.
#include "kernels/attention.h"
#include "kernels/draw.h"
#include "kernels/project.h"
#include "kernels/table.h"

extern const Kernels kPortableKernels = make_kernels("portable");

}  // namespace nvium::cpu
