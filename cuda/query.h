// What there is of CUDA on this machine. Prints nothing, and throws nothing but std::bad_alloc,
// with or without a driver.
#pragma once

#include "../native/devices.h"

namespace nvium::cuda {

CudaState query();

}  // namespace nvium::cuda
