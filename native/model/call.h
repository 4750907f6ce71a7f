// A call: several sequences, what is asked for each, and what must exist before any is computed.
#pragma once

#include <chrono>
#include <vector>

#include "request.h"
#include "step.h"

namespace nvium {

struct Call {
  std::vector<Request> requests;
  // All numbers of blocks are below these.
  uint32_t cache_blocks = 0, boundary_blocks = 0;
  uint32_t prompt_rows = 0;             // Limits::prompt_rows
  std::chrono::milliseconds budget{0};  // until Limits::deadline, from when the work begins
};

// What a call may touch: every block it names is one of the caller's, and every number one that the
// model knows. Throws Failure (ERR_NVIUM_INTERNAL).
void check(const Call& call, const Plan& plan);

// Makes what a request needs exist, or ends it. Throws std::bad_alloc.
void reserve(Model& model, Request& request);

// Runs a call that was checked, inside of backend.enter(). Throws as Cascade::run does.
void run(Model& model, Cascade& cascade, Call& call);

}  // namespace nvium
