#include "hand_over.h"

#include <algorithm>

#include "ops.h"
#include "scheduler.h"

namespace simt {

namespace {

void begin_tick(Lane& lane) {
  if (lane.accessed) ++lane.tick;
  lane.accessed = false;
}

Publication publication(const Lane& lane) {
  const Block& b = *lane.block;
  return {true, b.epoch, b.warp[lane.warp].epoch, lane.tick, lane.acquired};
}

void publish(ClockRef& to, const Lane& lane, const Publication& fence, bool append) {
  const Block& b = *lane.block;
  auto clock = append && to ? std::make_shared<Clock>(*to) : std::make_shared<Clock>();
  if (fence.set) {
    if (fence.base) clock->merge(*fence.base);
    clock->add_block(b.serial, fence.epoch);
    clock->add_warp(b.serial, lane.warp, fence.warp_epoch);
    clock->add_thread(b.serial, lane.id, fence.tick);
  }
  for (const auto& [thread, tick] : b.fenced) clock->add_thread(b.serial, thread, tick);
  to = std::move(clock);
}

ClockRef& block_clock(Location& location, uint32_t block) {
  for (auto& [serial, clock] : location.block_scope)
    if (serial == block) return clock;
  return location.block_scope.emplace_back(block, nullptr).second;
}

void insert_sorted(std::vector<uint32_t>& list, uint32_t value) {
  if (!list.empty() && list.back() == value) return;
  auto it = std::lower_bound(list.begin(), list.end(), value);
  if (it == list.end() || *it != value) list.insert(it, value);
}

}  // namespace

void fence(Scope scope) {
  InEmulator inside;
  if (!hot.check) return;
  Lane& me = *hot.lane;
  begin_tick(me);
  merge(me.acquired, me.observed);
  me.block_fence = publication(me);
  if (scope == Scope::device) {
    me.device_fence = me.block_fence;
    me.block->has_fences = true;
  }
}

void synchronise_through(uintptr_t address, Access access) {
  Lane& me = *hot.lane;
  Block& b = *me.block;
  Location& location = hot.grid->locations[address];
  if (std::find(b.atomics.begin(), b.atomics.end(), address) == b.atomics.end() &&
      b.atomics.size() < 16)
    b.atomics.push_back(address);
  if (access != Access::relaxed_write) {
    merge(me.observed, location.device);
    for (const auto& [serial, clock] : location.block_scope)
      if (serial == b.serial) merge(me.observed, clock);
    if (me.observed) b.has_clocks = true;
  }
  auto& current = location.up_to_date;
  if (access != Access::relaxed_read) current.clear();
  if (std::find(current.begin(), current.end(), b.serial) == current.end())
    current.push_back(b.serial);
  if (access != Access::relaxed_read) {
    insert_sorted(location.writers, b.serial);
    const bool append = access == Access::update;
    if (me.device_fence.set || !b.fenced.empty()) {
      publish(location.device, me, me.device_fence, append);
    } else if (!append) {
      location.device.reset();
    }
    if (me.block_fence.set) publish(block_clock(location, b.serial), me, me.block_fence, append);
  }
}

bool saw_last_atomic(const Lane& lane, uintptr_t address) {
  const auto it = hot.grid->locations.find(address);
  if (it == hot.grid->locations.end()) return false;
  const auto& current = it->second.up_to_date;
  return std::find(current.begin(), current.end(), lane.block->serial) != current.end();
}

bool met_through_atomics(const Lane& lane, uint32_t block) {
  const auto& locations = hot.grid->locations;
  for (const uintptr_t address : lane.block->atomics) {
    const auto it = locations.find(address);
    if (it != locations.end() &&
        std::binary_search(it->second.writers.begin(), it->second.writers.end(), block))
      return true;
  }
  return false;
}

void order_block(Block& b) {
  if (b.has_fences)
    for (unsigned i = 0; i < b.threads; ++i) {
      Lane& l = b.lanes[i];
      if (!l.device_fence.set) continue;
      const auto known = std::find_if(b.fenced.begin(), b.fenced.end(),
                                      [&](const auto& f) { return f.first == l.id; });
      if (known == b.fenced.end()) {
        b.fenced.emplace_back(l.id, l.device_fence.tick);
      } else {
        known->second = l.device_fence.tick;
      }
    }
  bool synced = false;
  for (unsigned i = 0; i < b.threads && hot.grid->op.dependent; ++i)
    synced |= b.lanes[i].grid_synced;
  if (!b.has_clocks && !synced) return;
  ClockRef acquired, observed;
  for (unsigned i = 0; i < b.threads; ++i) {
    merge(acquired, b.lanes[i].acquired);
    merge(observed, b.lanes[i].observed);
  }
  for (unsigned i = 0; i < b.threads; ++i) {
    b.lanes[i].acquired = acquired;
    b.lanes[i].observed = observed;
    b.lanes[i].grid_synced |= synced;
  }
}

void order_grid(const std::vector<Block*>& resident) {
  if (!hot.check) return;
  auto all = std::make_shared<Clock>();
  for (const Block* b : resident) {
    all->add_block(b->serial, b->epoch);
    for (unsigned i = 0; i < b->threads; ++i)
      if (b->lanes[i].acquired) {
        all->merge(*b->lanes[i].acquired);
        break;  // all threads of a block know the same after its barrier
      }
  }
  for (Block* b : resident) {
    b->has_clocks = true;
    for (unsigned i = 0; i < b->threads; ++i) b->lanes[i].acquired = b->lanes[i].observed = all;
  }
}

void order_warp(Block& b, unsigned warp, uint32_t mask) {
  if (!hot.check) return;
  Warp& w = b.warp[warp];
  Lane* lanes = &b.lanes[warp * kWarpSize];
  const bool whole = mask == w.alive;
  if (whole) ++w.epoch;
  bool synced = false;
  for (unsigned i = 0; i < kWarpSize; ++i)
    if (mask >> i & 1) synced |= lanes[i].grid_synced;
  if (whole && !b.has_clocks && !synced) return;
  auto known = std::make_shared<Clock>();
  ClockRef observed;
  for (unsigned i = 0; i < kWarpSize; ++i) {
    if (!(mask >> i & 1)) continue;
    if (lanes[i].acquired) known->merge(*lanes[i].acquired);
    merge(observed, lanes[i].observed);
    if (whole) continue;
    begin_tick(lanes[i]);
    known->add_thread(b.serial, lanes[i].id, lanes[i].tick);
  }
  b.has_clocks = true;
  const ClockRef acquired = known->empty() ? nullptr : ClockRef(std::move(known));
  for (unsigned i = 0; i < kWarpSize; ++i)
    if (mask >> i & 1) {
      lanes[i].acquired = acquired;
      lanes[i].observed = observed;
      lanes[i].grid_synced |= synced;
    }
}

}  // namespace simt
