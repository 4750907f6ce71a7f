// What a call is asked to do for one sequence, and what became of it.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "../error.h"
#include "control.h"
#include "sequence.h"

namespace nvium {

// How a position decides where its token leaves and which one it is.
struct Law {
  float temperature = 1;         // of the head; 0: its largest logit
  uint32_t top_k = 0;            // 0: all
  float router_temperature = 1;  // 0: leave where leaving is the more probable
};

// What was computed. A pass serves several sequences; each is charged an equal share of its reads,
// and its own rows.
struct Work {
  double layer_passes = 0;  // times one layer's weights were read
  double layer_rows = 0;    // rows times layers
  double weight_bytes = 0;  // bytes of weights read

  Work& operator+=(const Work& other) {
    layer_passes += other.layer_passes;
    layer_rows += other.layer_rows;
    weight_bytes += other.weight_bytes;
    return *this;
  }
};

struct StepResult {
  uint32_t token;       // appended
  uint32_t drawn;       // what the model drew: the same unless forced
  uint32_t exit;        // 1-based; N: full depth
  uint32_t layers_run;  // by the new row: more than the exit's when a boundary was overdue
  uint32_t pending;     // rows that segment 1 has processed and segment N has not
  Work work;            // since the token before it
};

// Why a sequence goes no further in its call.
enum class Stop : uint8_t {
  none,      // it goes on
  count,     // as many tokens as were asked for
  token,     // a stop token, which was appended
  capacity,  // the sequence is full
  deadline,  // the call's time is over
  aborted,   // its own abort word, or the environment ends
  failed,    // `failure` says how
};

struct Request {
  Sequence sequence;
  std::vector<uint32_t> fresh;  // its blocks of keys and values that were free: they are zeroed
  Law law;
  // Generated rows that may wait at a boundary; UINT32_MAX: no bound.
  uint32_t max_pending = 15;
  std::optional<uint32_t> force;   // append this token instead of the one drawn
  uint32_t count = 0;              // tokens at the most; 0: flush
  uint32_t capacity = UINT32_MAX;  // tokens the sequence may hold
  std::vector<uint32_t> stop_tokens;
  Control control;
  // R, the probability that the last token's row stayed at the exits it has passed: those of the
  // segments whose frontier is behind it. A call that ends by its deadline leaves it for the next.
  float remaining = 1;

  std::vector<StepResult> steps;
  Stop stop = Stop::none;
  Failure failure;
  Work work;  // since the last of `steps`

  // Positions whose rows it may compute: all but the last token it may append.
  uint32_t end_of_rows() const {
    if (count == 0) return sequence.length;
    return std::min(sequence.length + count, std::max(capacity, sequence.length + 1)) - 1;
  }

  // Ends the request. The last token is the next step's row once more: the segments it has been
  // through take it again and write the same.
  void end(Stop why) {
    stop = why;
    if (why == Stop::deadline) return;
    remaining = 1;
    for (uint32_t& f : sequence.frontiers) f = std::min(f, sequence.rows_given());
  }
  // False, and ended, where it was aborted. Throws Failure where the environment is closing.
  bool look() {
    try {
      control.check();
    } catch (const Aborted&) {
      end(Stop::aborted);
    }
    return stop == Stop::none;
  }
  void fail(Failure why) {
    failure = std::move(why);
    end(Stop::failed);
  }
};

}  // namespace nvium
