// What there is of CUDA on this machine. Neither throws nor prints, with or without a driver.
#pragma once

#include "../native/devices.h"

namespace nvium::cuda {

CudaState query() noexcept;

}  // namespace nvium::cuda
