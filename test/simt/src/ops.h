// Operations of streams (launches, copies) and what orders them: streams, events, the host, edges
// of graphs.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "call_site.h"

namespace simt {

// For each stream, how many of its operations are known to be complete.
class StreamClock {
 public:
  uint64_t operator[](uint32_t stream) const { return stream < done_.size() ? done_[stream] : 0; }
  void advance(uint32_t stream, uint64_t sequence);
  void merge(const StreamClock& other);

 private:
  std::vector<uint64_t> done_;
};

// What an operation may rely on having happened.
struct Before {
  StreamClock streams;
  std::vector<bool> nodes;  // of the same graph launch
};

struct Op {
  const char* what = "";  // "kernel", "copy", ...
  const void* kernel = nullptr;
  dim3 grid{1, 1, 1}, block{1, 1, 1};
  CallSite site;

  uint32_t stream = 0;
  uint64_t sequence = 0;   // in its stream
  uint64_t graph_run = 0;  // zero outside graphs
  uint32_t node = 0;       // in the order of execution
  uint64_t host_time = 0;  // when the host issued it
  Before before;
  // A dependent launch may start early, and until it waits for the grids ahead it may rely on this
  // only.
  bool dependent = false;
  Before before_wait;
  bool waited = false;        // some thread of it waited for the grids ahead
  std::shared_ptr<Op> ahead;  // the launch it depends on
  // The launches ahead all waited for those ahead of them, so their ends are in order.
  bool chain_waited = true;

  uint32_t first_block = 0, blocks = 0;  // serials
};

class History {
 public:
  // Gives serials to an operation that is about to run.
  std::shared_ptr<const Op> begin(std::shared_ptr<Op> op, uint32_t blocks);
  // The operation to which a block belongs, if it is remembered.
  const Op* find(uint32_t block) const;
  static bool ordered(const Op& earlier, const Op& later, bool waited);
  // Blocks with lower serials are ordered before `op`.
  uint32_t floor(const Op& op, bool waited) const;

  bool known_to_host(const Op& op) const { return host_[op.stream] >= op.sequence; }
  void host_learns(const StreamClock& clock);
  const StreamClock& host() const { return host_; }
  // The host's own time: passes whenever it issues work, so that later writes can be told apart.
  uint64_t host_time() const { return host_time_; }
  uint64_t host_issues() { return host_time_++; }

  void forget();

 private:
  uint32_t next_block_ = 16;
  std::deque<std::shared_ptr<const Op>> ops_;
  std::deque<std::shared_ptr<const Op>> unsettled_;  // those the host does not know to be complete
  StreamClock host_;
  uint64_t host_time_ = 1;
};

History& history();

}  // namespace simt
