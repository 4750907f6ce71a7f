// The cascade over many sequences: which segments run over which rows, who leaves where, and how
// frontiers move. This rule lives here and nowhere else.
//
// All sequences of a call take a step together. On the way up each segment is read once, for those
// who have not left, for rows that are overdue, for rows of prompts and for rows that ride along;
// all tokens are drawn at the end, in one pass over each head. Which rows share a pass changes when
// they are computed and not one bit of them.
#pragma once

#include <chrono>
#include <span>
#include <vector>

#include "model.h"
#include "request.h"

namespace nvium {

// What bounds a call, for all of its sequences.
struct Limits {
  // Rows of prompts a step takes through the whole model beside rows that decode: a bound on how
  // long those wait for them.
  uint32_t prompt_rows = 32;
  // No step begins after this, and where no row decodes no pass either; but a call does something,
  // and the first request that waits for rows of such numbers gets some.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

// Drives a model's segments and exits. Keeps its lists, so that a step allocates nothing where one
// like it went before and its sequences have room for a token.
class Cascade {
 public:
  explicit Cascade(Model& model) : model_(model) {}

  // Runs every request until it ends, which `stop` then tells, or the time is over. Throws what no
  // single request is to blame for (a device that fails, no memory): then all that had not ended
  // are as after their last whole step, and `failed`.
  void run(std::span<Request> requests, const Limits& limits);

 private:
  // A request in a step.
  struct Climb {
    Request* request;
    uint32_t overdue;  // the deepest segment that must run whatever the routers say, 0-based
    bool held;         // its own row does not climb: what waits comes first
    bool crowded;      // so many rows are overdue that rows of others must not wait for them
    bool passing;      // it takes part in the pass at hand
    uint32_t exit;     // segment the token left at, 0-based
    uint32_t row;      // of the model's exit rows: where its own row has come to
    uint32_t uniform;  // the cascade's draw for this position

    Sequence& sequence() const { return request->sequence; }
    bool going() const { return request->stop == Stop::none; }
    bool undecided() const;
    // Segments its own row has been through.
    uint32_t depth() const;
    // Rows before its own that wait before segment m, and the end of them.
    uint32_t waiting(uint32_t m) const;
    uint32_t waiting_end(uint32_t m) const;
    // Whether those are so many that rows that decode must not wait for them: of a prompt fewer.
    bool bulky(uint32_t m) const;
    // The segment before which so many wait that it goes no further by itself; none: how many
    // segments there are.
    uint32_t stays_before() const;
    // Whether its own row comes to segment m next.
    bool arrives(uint32_t m) const;
  };

  void begin(std::span<Request> requests);
  void step(const Limits& limits);
  bool collect(uint32_t m, const Limits& limits);
  double kept_for_oldest(uint32_t m) const;
  void pass(uint32_t m);
  void decide(uint32_t m, std::span<Climb* const> arrived);
  void draw();
  void append(const Climb& climb, uint32_t drawn);
  bool over(const Limits& limits) const;

  Model& model_;
  std::vector<Climb> climbs_;
  std::vector<Advance> advances_;
  std::vector<Climb*> passing_, arrived_;  // passing_[i] is whose advances_[i] is
  std::vector<Leaving> leaving_;
  std::vector<float> scores_;
  uint32_t exit_rows_ = 0;   // in use, in this step
  double bulk_left_ = 0;     // rows of prompts this step may take yet, times layers
  bool decoding_ = false;    // somebody's own row climbs now, and must not be held up
  bool worked_ = false;      // this call has made a pass
  Climb* oldest_ = nullptr;  // the first whose rows are taken in such numbers
  bool served_ = false;      // it has got some, in this call
};

}  // namespace nvium
