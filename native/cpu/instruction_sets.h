// Which instruction sets this build holds, and which of them this machine may be trusted with.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels.h"

namespace nvium::cpu {

// Usable on this machine, fastest first. A set is listed when the processor has it and when it
// gives, on a fixed set of inputs, the same bits as the portable kernels, which are always listed,
// last.
std::span<const Kernels* const> available_kernels();

// The kernels of that name, or the first available for an empty name. Throws Failure
// (ERR_NVIUM_INVALID_ARG) naming what there is.
const Kernels& choose_kernels(std::string_view name);

// The same in parts. Of the candidates those that agree with the portable kernels, which end the
// list.
std::vector<const Kernels*> trusted(std::span<const Kernels* const> candidates);
const Kernels& choose_kernels(std::string_view name, std::span<const Kernels* const> among);

}  // namespace nvium::cpu
