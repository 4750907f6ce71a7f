// The cascade: which segments run, who leaves where, and how frontiers move. This rule lives here
// and nowhere else.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "control.h"
#include "model.h"
#include "sequence.h"

namespace nvium {

struct StepOptions {
  float temperature = 1;          // of the head; 0: its largest logit
  uint32_t top_k = 0;             // 0: all
  float router_temperature = 1;   // 0: leave where leaving is the more probable
  uint32_t max_pending = 15;      // UINT32_MAX: no bound
  std::optional<uint32_t> force;  // append this token instead of the one drawn
};

struct StepResult {
  uint32_t token;       // appended
  uint32_t drawn;       // what the model drew: the same unless forced
  uint32_t exit;        // 1-based; N: full depth
  uint32_t layers_run;  // by the new row: more than the exit's when a boundary was overdue
};

// Draws and appends one token for each sequence (options[i], results[i]). Throws Failure and
// Aborted: then no sequence has a new token, though frontiers may have moved.
void step(Model& model, std::span<Sequence> sequences, std::span<const StepOptions> options,
          const Control& control, std::span<StepResult> results);

// Brings every segment to position length - 1.
void flush(Model& model, std::span<Sequence> sequences, const Control& control);

}  // namespace nvium
