#include "ops.h"

#include <algorithm>
#include <iterator>

#include "races.h"

namespace simt {

namespace {
constexpr size_t kRemembered = 1 << 16;
constexpr size_t kUnsettled = 1 << 12;
}  // namespace

void StreamClock::advance(uint32_t stream, uint64_t sequence) {
  if (stream >= done_.size()) done_.resize(stream + 1);
  done_[stream] = std::max(done_[stream], sequence);
}

void StreamClock::merge(const StreamClock& other) {
  for (uint32_t s = 0; s < other.done_.size(); ++s) advance(s, other.done_[s]);
}

std::shared_ptr<const Op> History::begin(std::shared_ptr<Op> op, uint32_t blocks) {
  if (blocks > ~next_block_) {  // serials are used up: begin again without a past
    forget_all_accesses();
    ops_.clear();
    unsettled_.clear();
    next_block_ = kFirstBlock;
  }
  op->first_block = next_block_;
  op->blocks = blocks;
  next_block_ += blocks;
  ops_.push_back(op);
  unsettled_.push_back(op);
  if (ops_.size() > kRemembered) ops_.pop_front();
  if (unsettled_.size() > kUnsettled) unsettled_.pop_front();
  return op;
}

const Op* History::find(uint32_t block) const {
  auto it = std::upper_bound(ops_.begin(), ops_.end(), block,
                             [](uint32_t b, const auto& op) { return b < op->first_block; });
  return it == ops_.begin() ? nullptr : std::prev(it)->get();
}

bool History::ordered(const Op& earlier, const Op& later, bool waited) {
  if (&earlier == &later) return true;
  const Before& before = later.dependent && !waited ? later.before_wait : later.before;
  if (earlier.graph_run && earlier.graph_run == later.graph_run)
    return earlier.node < before.nodes.size() && before.nodes[earlier.node];
  if (later.dependent && waited && !later.chain_waited && earlier.stream == later.stream &&
      &earlier != later.ahead.get())
    return ordered(earlier, *later.ahead, later.ahead->waited);
  return before.streams[earlier.stream] >= earlier.sequence;
}

uint32_t History::floor(const Op& op, bool waited) const {
  for (const auto& other : unsettled_)
    if (!ordered(*other, op, waited)) return std::min(other->first_block, op.first_block);
  return op.first_block;
}

void History::host_learns(const StreamClock& clock) {
  host_.merge(clock);
  std::erase_if(unsettled_, [this](const auto& op) { return known_to_host(*op); });
}

void History::forget() {
  const uint64_t time = host_time_;
  *this = History();
  host_time_ = time;
}

History& history() {
  static History& instance = *new History;
  return instance;
}

}  // namespace simt
