// Source lines and function names of code addresses, by way of addr2line.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "simt/emulator.h"

namespace simt {

// Looks up many addresses in one go, so that `source_line` is quick afterwards.
void look_up(std::span<const void* const> sites);

// The innermost line of the program itself, past the emulator, the dialect header, the toolkit and
// the standard library.
SourceLine source_line(std::span<const void* const> trail);

// False where all of it is the emulator's or a library's.
bool in_program(const void* site);

std::string kernel_name(const void* kernel);

}  // namespace simt
