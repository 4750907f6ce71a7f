// Runs a grid: which thread goes on, and when a launch is over.
#pragma once

#include <string>

#include "choice.h"
#include "state.h"

namespace simt {

// The error that the launch leaves behind, or success.
cudaError_t run_grid(const Launch& launch, Op& op);

// Begins a dependent launch before the one ahead of it runs, and goes on until its threads wait for
// that one. run_grid() of the same operation takes it up again, on the same thread.
void begin_early(const Launch& launch, Op& op);
// It will not be taken up: the device has failed.
void abandon_early();

// ---- for barriers and collectives

// The running thread cannot go on; returns when it has been made ready again.
void wait_here();
void make_ready(Block& block, unsigned warp, uint32_t lanes);
// Ends the launch with a sticky error. Called on a fiber, it does not return.
void abort_launch(cudaError_t error);
// Something happened that others may wait for.
inline void note_progress() { hot.polls = 0; }
void take_turns();  // the running thread stays ready but lets another one go on

Choice& thread_choice();
// How many memory accesses a thread may make before it loses its turn in the adversarial order.
inline uint32_t draw_turn(Choice& choice) { return 1 + choice.below(96); }
bool is_thread_stack(uintptr_t address);
bool is_index_variable(uintptr_t address);  // threadIdx and the like

}  // namespace simt
