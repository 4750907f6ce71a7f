#include "barriers.h"

#include <algorithm>
#include <bit>

#include "counters.h"
#include "hand_over.h"
#include "report.h"
#include "scheduler.h"
#include "simt/emulator.h"

namespace simt {

namespace {

void release_block(Block& b) {
  b.at_barrier = 0;
  b.vote_result = b.votes;
  b.votes = 0;
  order_block(b);
  ++b.epoch;
  note_progress();
  for (unsigned w = 0; w < b.warps; ++w)
    if (const uint32_t lanes = b.warp[w].at_barrier) {
      if (hot.count) count_warp(b, w);
      b.warp[w].at_barrier = 0;
      make_ready(b, w, lanes);
    }
}

// The first thread found waiting, to compare where it waits.
const Lane* someone_waiting(const Block& b) {
  for (unsigned w = 0; w < b.warps; ++w)
    if (b.warp[w].at_barrier)
      return &b.lanes[w * kWarpSize + unsigned(std::countr_zero(b.warp[w].at_barrier))];
  return nullptr;
}

bool same_place(const Place& a, const Place& b) {
  return as_site(a) == as_site(b) || (a.line() == b.line() && a.column() == b.column() &&
                                      std::string_view(a.file_name()) == b.file_name());
}

void check_divergence(Lane& me, const Place& place) {
  const Lane* other = someone_waiting(*me.block);
  if (!other || same_place(other->place, place)) return;
  report(Kind::divergent_barrier, {as_site(place)}, 0,
         "thread " + std::to_string(other->id) + " of the block waits at " +
             describe_place(other->place),
         {as_site(other->place)});
}

void wait_at_barrier(Lane& me) {
  Block& b = *me.block;
  Warp& w = b.warp[me.warp];
  w.at_barrier |= 1u << me.index;
  if (hot.count && w.at_barrier == w.alive) count_warp(b, me.warp);
  wait_here();
}

}  // namespace

void thread_left_barrier(Block& b) {
  if (config().report_exit_before_barrier)
    report(Kind::exit_before_barrier, {as_site(someone_waiting(b)->place)}, 0,
           std::to_string(b.at_barrier) + " threads wait when this one returns");
  if (b.alive && b.at_barrier == b.alive && !b.at_grid_barrier) release_block(b);
}

int block_barrier(bool predicate, const Place& place) {
  InEmulator scope;
  Lane& me = *hot.lane;
  Block& b = *me.block;
  check_divergence(me, place);
  me.place = place;
  b.votes += predicate;
  if (++b.at_barrier == b.alive && !b.at_grid_barrier) {
    release_block(b);
  } else {
    wait_at_barrier(me);
  }
  return b.vote_result;
}

void grid_barrier(const Place& place) {
  InEmulator scope;
  Lane& me = *hot.lane;
  if (!hot.grid->launch.cooperative) {
    report(Kind::bad_launch, {as_site(place)}, 0, "a grid barrier needs a cooperative launch");
    return abort_launch(cudaErrorLaunchFailure);
  }
  check_divergence(me, place);
  me.place = place;
  ++me.block->at_barrier;
  ++me.block->at_grid_barrier;
  wait_at_barrier(me);
}

bool release_grid_barrier(const std::vector<Block*>& resident) {
  for (const Block* b : resident)
    if (b->at_grid_barrier != b->alive) return false;
  for (Block* b : resident) {
    b->at_grid_barrier = 0;
    release_block(*b);
  }
  order_grid(resident);
  return true;
}

// ---- warps

namespace {

bool fail(const Place& place, const char* format, auto... args) {
  char text[160];
  std::snprintf(text, sizeof text, format, args...);
  report(Kind::mismatched_mask, {as_site(place)}, 0, text);
  abort_launch(cudaErrorLaunchFailure);
  return false;
}

// Whether the deposits of all lanes of the mask belong to one instruction.
bool deposits_agree(const Lane* lanes, const Lane& me) {
  for (unsigned i = 0; i < kWarpSize; ++i) {
    if (!(me.mask >> i & 1)) continue;
    const Lane& other = lanes[i];
    if (other.mask != me.mask || other.op != me.op || other.collective != me.collective)
      return fail(me.place, "lane %u waits with mask %08x at %s, lane %u with mask %08x", i,
                  other.mask, describe_place(other.place).c_str(), unsigned(me.index), me.mask);
    if (me.collective == Collective::aligned && !same_place(other.place, me.place))
      return fail(me.place, "lane %u executes another instruction of this kind, at %s", i,
                  describe_place(other.place).c_str());
  }
  return true;
}

}  // namespace

void collective(unsigned mask, void* payload, WarpOp op, Collective kind, const Place& place) {
  InEmulator scope;
  Lane& me = *hot.lane;
  Block& b = *me.block;
  Warp& w = b.warp[me.warp];
  Lane* lanes = &b.lanes[me.warp * kWarpSize];
  const uint32_t bit = 1u << me.index;
  if (!(mask & bit)) {
    fail(place, "lane %u calls with mask %08x, which lacks it", unsigned(me.index), mask);
    return;
  }
  const unsigned in_warp = std::min(kWarpSize, b.threads - me.warp * kWarpSize);
  if (in_warp < kWarpSize) mask &= (1u << in_warp) - 1;
  if (const uint32_t gone = mask & ~w.alive) {
    fail(place, "mask %08x names lanes %08x, which have returned", mask, gone);
    return;
  }
  me.op = op;
  me.payload = payload;
  me.mask = mask;
  me.collective = kind;
  me.place = place;
  w.collecting |= bit;
  if ((w.collecting & mask) != mask) return wait_here();  // the last one runs `op` for all
  if (!deposits_agree(lanes, me)) return;
  void* payloads[kWarpSize] = {};
  for (unsigned i = 0; i < kWarpSize; ++i)
    if (mask >> i & 1) payloads[i] = lanes[i].payload;
  op(payloads, mask);
  w.collecting &= ~mask;
  if (kind == Collective::sync) {
    order_warp(b, me.warp, mask);
    note_progress();
  }
  if (hot.count && mask == w.alive) count_warp(b, me.warp);
  make_ready(b, me.warp, mask);
}

}  // namespace simt
