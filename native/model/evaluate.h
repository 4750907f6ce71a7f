// Every exit's law at every position of a text: what tests and scoring are built on.
#pragma once

#include "control.h"
#include "model.h"
#include "sequence.h"

namespace nvium {

// Rows evaluated together: the logits of all exits are held for as many.
constexpr uint32_t kEvaluateRows = 32;

// Host memory the results go to; null where one is not wanted. T tokens, N exits, V tokens of
// vocabulary.
struct Evaluation {
  float* exit_probs = nullptr;         // [T, N]: p_k
  float* exit_logits = nullptr;        // [N, T, V]
  float* mixture_log_probs = nullptr;  // [T, V]
};

// Runs all of a fresh sequence's tokens through every segment, the last one included. Throws
// Failure (ERR_NVIUM_NON_FINITE), Aborted.
void evaluate(Model& model, Sequence& sequence, const Control& control, const Evaluation& out);

}  // namespace nvium
