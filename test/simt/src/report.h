// Faults as they are noticed; sources and names are resolved when somebody reads them.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

#include "call_site.h"
#include "simt/emulator.h"

namespace simt {

// Code addresses or the addresses of std::source_location data, the likeliest first.
using Trail = std::vector<const void*>;
Trail trail(const CallSite& site);

// Something seen by the running thread or, without one, by the host.
void report(Kind kind, const Trail& at, uintptr_t address, std::string detail,
            const Trail& other = {}, const void* kernel = nullptr);
// Whether a report of this kind and place exists, and the effort of describing one can be saved.
bool already_reported(Kind kind, const void* at);

const void* as_site(const std::source_location& place);
std::string describe_place(const std::source_location& place);

void forget_reports();

}  // namespace simt
