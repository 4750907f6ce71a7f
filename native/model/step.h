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

// Drives a model's segments and exits. Keeps its lists, so that a step allocates nothing where one
// like it went before and its sequences have room for a token.
class Cascade {
 public:
  explicit Cascade(Model& model) : model_(model) {}

  // Draws and appends one token for each sequence (options[i], results[i]). Throws Failure and
  // Aborted: then no sequence has a new token, though frontiers may have moved.
  void step(std::span<Sequence> sequences, std::span<const StepOptions> options,
            const Control& control, std::span<StepResult> results);

  // Brings every segment to position length - 1.
  void flush(std::span<Sequence> sequences, const Control& control);

 private:
  // One sequence on its way up.
  struct Climb {
    Sequence* sequence;
    const StepOptions* options;
    uint32_t top;   // the deepest segment that must run whatever the routers say, 0-based
    uint32_t exit;  // segment the token left at, 0-based
    uint32_t token;
    float remaining;   // R: probability of having stayed so far
    uint32_t uniform;  // the cascade's draw for this position
  };

  bool leaves(Climb& climb, float stay, float go) const;
  void keep_rows();

  Model& model_;
  std::vector<Climb> climbs_;
  std::vector<Climb*> undecided_, leaving_;
  std::vector<Advance> spans_;
  std::vector<uint32_t> kept_, tokens_;
  std::vector<float> scores_;
  std::vector<Draw> draws_;
};

}  // namespace nvium
