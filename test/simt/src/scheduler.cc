#include "scheduler.h"

#include <pmmintrin.h>

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "arena.h"
#include "barriers.h"
#include "counters.h"
#include "fiber.h"
#include "ops.h"
#include "report.h"
#include "shared_memory.h"
#include "simt/emulator.h"

uint3 simt_threadIdx asm("simt_threadIdx"), simt_blockIdx asm("simt_blockIdx");
dim3 simt_blockDim asm("simt_blockDim"), simt_gridDim asm("simt_gridDim");

namespace simt {

constinit thread_local Hot hot;

namespace {

// Resident threads of all multiprocessors that a configuration may ask for.
constexpr size_t kMaxFibers = size_t(128) * 2048;
constexpr uint32_t kMaxPolls = 1 << 20;

// A launch that has begun.
struct Started {
  const Launch launch;
  Grid grid;
  unsigned next = 0;  // of the order of blocks
  size_t at = 0;      // whose turn it is

  Started(const Launch& launch, Op& op, unsigned blocks)
      : launch(launch), grid{.launch = this->launch, .op = op, .blocks = blocks} {}
};

struct Scheduler {
  explicit Scheduler(unsigned first_slot) : first_slot(first_slot) {}

  const unsigned first_slot;  // of shared memory
  std::unique_ptr<Started> started;
  StackPool stacks{kMaxFibers};
  std::vector<Lane> lanes;
  std::vector<Block> blocks;
  std::vector<Block*> resident;
  std::vector<uint32_t> order;  // of blocks
  void* main_sp = nullptr;
  std::thread::id owner;
  Choice choice;
};

// Two launches at most have begun: the one that runs, and behind it a dependent one, which has come
// to its waits. They take turns in having one of these.
constexpr unsigned kSchedulerSlots = kMaxSlots / 2;

Scheduler& scheduler_of(unsigned which) {
  static Scheduler* const instances[] = {new Scheduler(0), new Scheduler(kSchedulerSlots)};
  return *instances[which];
}

unsigned& current() {
  static unsigned which = 0;
  return which;
}

Scheduler& scheduler() { return scheduler_of(current()); }
Scheduler& other_scheduler() { return scheduler_of(1 - current()); }

void enter(Lane& lane) {
  hot.lane = &lane;
  simt_threadIdx = lane.thread;
  hot.steps = 0;
  ++hot.switches;
}

void leave_to_main(Lane& from) {
  hot.lane = nullptr;
  simt_switch_stack(&from.sp, scheduler().main_sp);
}

void switch_lanes(Lane& from, Lane& to) {
  enter(to);
  simt_switch_stack(&from.sp, to.sp);
}

Lane& ready_lane(Block& block, unsigned warp, int after = Choice::kNone) {
  const int i = scheduler().choice.bit(config().order, block.warp[warp].ready, after);
  return block.lanes[warp * kWarpSize + unsigned(i)];
}

Lane& ready_lane(Block& block) {
  return ready_lane(block, unsigned(scheduler().choice.bit(config().order, block.ready_warps)));
}

void finish_thread(Lane& me) {
  Block& b = *me.block;
  Warp& w = b.warp[me.warp];
  const uint32_t bit = 1u << me.index;
  note_progress();
  if (!me.copies.empty()) {
    report(Kind::copy_never_awaited, {as_site(me.place)}, 0,
           std::to_string(me.copies.size()) + " copies are in flight when the thread returns");
    me.copies.clear();
    me.copy_groups.clear();
  }
  w.alive &= ~bit;
  w.ready &= ~bit;
  --b.alive;
  for (unsigned i = 0; i < kWarpSize; ++i) {
    const Lane& other = b.lanes[me.warp * kWarpSize + i];
    if (!(w.collecting >> i & 1) || !(other.mask & bit)) continue;
    char text[96];
    std::snprintf(text, sizeof text, "mask %08x of lane %u names lane %u, which has returned",
                  other.mask, i, unsigned(me.index));
    report(Kind::mismatched_mask, {as_site(other.place)}, 0, text);
    return abort_launch(cudaErrorLaunchFailure);
  }
  if (hot.count && (!w.alive || w.at_barrier == w.alive)) count_warp(b, me.warp);
  if (b.at_barrier) thread_left_barrier(b);
}

[[noreturn]] void fiber_main() {
  for (;;) {
    const Launch& launch = hot.grid->launch;
    hot.in_kernel = true;
    launch.invoke(launch.args.get());
    hot.in_kernel = false;
    Lane& me = *hot.lane;
    finish_thread(me);
    me.parked = true;
    wait_here();
  }
}

void start_block(Block& b, const Launch& launch, unsigned linear) {
  const auto& [grid, block] = std::tie(launch.grid, launch.block);
  b.linear = linear;
  b.serial = hot.grid->op.first_block + linear;
  b.index = {linear % grid.x, linear / grid.x % grid.y, linear / grid.x / grid.y};
  b.threads = b.alive = block.x * block.y * block.z;
  b.warps = (b.threads + kWarpSize - 1) / kWarpSize;
  b.at_barrier = b.at_grid_barrier = 0;
  b.votes = 0;
  b.ready_warps = 0;
  b.epoch = 0;
  b.has_clocks = b.has_fences = false;
  b.fenced.clear();
  b.atomics.clear();
  prepare_shared(b, launch.dynamic_shared);
  for (unsigned w = 0; w < b.warps; ++w) {
    const unsigned lanes = std::min(kWarpSize, b.threads - w * kWarpSize);
    b.warp[w] = Warp{};
    b.warp[w].alive = lanes == kWarpSize ? kFullMask : (1u << lanes) - 1;
    make_ready(b, w, b.warp[w].alive);
  }
  for (unsigned i = 0; i < b.threads; ++i) {
    Lane& l = b.lanes[i];
    l.block = &b;
    l.id = uint16_t(i);
    l.warp = uint8_t(i / kWarpSize);
    l.index = uint8_t(i % kWarpSize);
    l.thread = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    if (!l.parked) {
      const size_t stack = size_t(&l - scheduler().lanes.data());
      l.stack = scheduler().stacks.stack(stack);
      l.sp = scheduler().stacks.prepare(stack, fiber_main);
    }
    l.parked = false;
    l.grid_synced = l.waits_for_grid = false;
    l.accessed = false;
    l.tick = 0;
    l.acquired.reset();
    l.observed.reset();
    l.device_fence = l.block_fence = {};
    l.copies.clear();
    l.copy_groups.clear();
    l.events.clear();
    l.instructions = 0;
  }
}

// Places for `width` blocks. Threads keep their fibers from launch to launch.
void prepare_slots(unsigned width, unsigned threads) {
  Scheduler& s = scheduler();
  const unsigned stride = (threads + kWarpSize - 1) / kWarpSize * kWarpSize;
  // A fiber must not find itself on another thread in the middle of a function.
  if (std::exchange(s.owner, std::this_thread::get_id()) != std::this_thread::get_id())
    for (Lane& l : s.lanes) l.parked = false;
  if (s.lanes.size() < size_t(width) * stride) s.lanes.resize(size_t(width) * stride);
  if (s.blocks.size() < width) s.blocks.resize(width);
  for (unsigned i = 0; i < width; ++i) {
    s.blocks[i].slot = s.first_slot + i;
    s.blocks[i].lanes = &s.lanes[size_t(i) * stride];
  }
}

std::vector<uint32_t> block_order(unsigned total) {
  std::vector<uint32_t> order(total);
  std::iota(order.begin(), order.end(), 0u);
  if (config().order == Order::reverse) {
    std::reverse(order.begin(), order.end());
  } else if (config().order != Order::forward) {
    for (uint32_t i = total; i > 1; --i)
      std::swap(order[i - 1], order[scheduler().choice.below(i)]);
  }
  return order;
}

void report_deadlock() {
  std::map<std::string, int> waiting;
  const Lane* first = nullptr;
  for (const Block* b : scheduler().resident)
    for (unsigned i = 0; i < b->threads; ++i) {
      const Lane& l = b->lanes[i];
      const Warp& w = b->warp[l.warp];
      if (!(w.alive >> l.index & 1)) {
        ++waiting["have returned"];
        continue;
      }
      if (!first) first = &l;
      char mask[32] = "";
      const bool collecting = w.collecting >> l.index & 1;
      if (collecting) std::snprintf(mask, sizeof mask, " with mask %08x", l.mask);
      ++waiting[std::string("wait ") + (collecting ? "for their warp" : "at a barrier") + " at " +
                describe_place(l.place) + mask];
    }
  std::string text;
  for (const auto& [what, count] : waiting)
    text += (text.empty() ? "" : "; ") + std::to_string(count) + " threads " + what;
  report(Kind::deadlock, {as_site(first->place)}, 0, text);
}

// While it lives kernels flush subnormals or do not, as configured, whatever the host does.
class FlushSubnormals {
 public:
  FlushSubnormals() : saved_(_mm_getcsr()) {
    constexpr unsigned kFlushing = _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON;
    _mm_setcsr(config().flush_subnormals ? saved_ | kFlushing : saved_ & ~kFlushing);
  }
  ~FlushSubnormals() { _mm_setcsr(saved_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  unsigned saved_;
};

// Resident blocks take turns whenever all threads of one of them wait. A launch that is early stops
// where all wait for the launch ahead.
void run_blocks(Started& started) {
  Scheduler& s = scheduler();
  Grid& grid = started.grid;
  unsigned& next = started.next;
  size_t& at = started.at;
  while (!s.resident.empty() && !grid.error) {
    const size_t count = s.resident.size();
    if (config().order >= Order::random) at = s.choice.next();
    Block* go = nullptr;
    for (size_t k = 0; k < count && !go; ++k)
      if (Block* b = s.resident[(at + k) % count]; b->ready_warps) {
        go = b;
        at = (at + k) % count;
      }
    if (!go) {
      if (grid.early) return;
      if (release_grid_barrier(s.resident)) continue;
      report_deadlock();
      grid.error = cudaErrorLaunchTimeout;
      return;
    }
    simt_blockIdx = go->index;
    Lane& to = ready_lane(*go);
    enter(to);
    simt_switch_stack(&s.main_sp, to.sp);
    hot.lane = nullptr;
    hot.in_kernel = false;
    if (grid.error) return;
    if (go->alive > 0) {
      ++at;
    } else if (next < grid.blocks) {
      if (hot.count) count_block(*go);
      start_block(*go, grid.launch, s.order[next++]);
    } else {
      if (hot.count) count_block(*go);
      std::erase(s.resident, go);
    }
  }
}

}  // namespace

Choice& thread_choice() { return scheduler().choice; }

bool is_thread_stack(uintptr_t address) {
  return scheduler_of(0).stacks.contains(address) || scheduler_of(1).stacks.contains(address);
}

void make_ready(Block& block, unsigned warp, uint32_t lanes) {
  block.warp[warp].ready |= lanes;
  block.ready_warps |= 1u << warp;
}

void wait_here() {
  Lane& me = *hot.lane;
  Block& b = *me.block;
  Warp& w = b.warp[me.warp];
  w.ready &= ~(1u << me.index);
  if (w.ready) return switch_lanes(me, ready_lane(b, me.warp, me.index));
  b.ready_warps &= ~(1u << me.warp);
  if (!b.ready_warps) return leave_to_main(me);
  const int next = scheduler().choice.bit(config().order, b.ready_warps, me.warp);
  switch_lanes(me, ready_lane(b, unsigned(next)));
}

void take_turns() {
  Lane& me = *hot.lane;
  Block& b = *me.block;
  Warp& w = b.warp[me.warp];
  const uint32_t others = w.ready & ~(1u << me.index);
  const uint32_t other_warps = b.ready_warps & ~(1u << me.warp);
  Choice& choice = scheduler().choice;
  // Another block, another lane or another warp: a waiting thread must not starve those it waits
  // for.
  const unsigned way = config().order >= Order::random ? choice.below(3) : hot.polls % 3;
  if (way == 0 && scheduler().resident.size() > 1) return leave_to_main(me);
  if (others && (way == 1 || !other_warps)) {
    const int i = choice.bit(config().order, others, me.index);
    return switch_lanes(me, b.lanes[me.warp * kWarpSize + unsigned(i)]);
  }
  if (other_warps) {
    const int i = choice.bit(config().order, other_warps, me.warp);
    return switch_lanes(me, ready_lane(b, unsigned(i)));
  }
  leave_to_main(me);
}

bool is_index_variable(uintptr_t address) {
  return address - reinterpret_cast<uintptr_t>(&simt_threadIdx) < sizeof simt_threadIdx ||
         address - reinterpret_cast<uintptr_t>(&simt_blockIdx) < sizeof simt_blockIdx ||
         address - reinterpret_cast<uintptr_t>(&simt_blockDim) < sizeof simt_blockDim ||
         address - reinterpret_cast<uintptr_t>(&simt_gridDim) < sizeof simt_gridDim;
}

void pause() {
  InEmulator scope;
  if (++hot.polls > kMaxPolls) {
    report(Kind::live_lock, {as_site(hot.lane->place)}, 0,
           std::to_string(kMaxPolls) + " polls without progress of any thread");
    return abort_launch(cudaErrorLaunchTimeout);
  }
  take_turns();
}

void abort_launch(cudaError_t error) {
  hot.grid->error = error;
  hot.lane->parked = false;
  leave_to_main(*hot.lane);
}

namespace {

// Begins a launch on the current scheduler: its first blocks are there, and nothing has run.
void start(const Launch& launch, Op& op, bool early) {
  Scheduler& s = scheduler();
  const unsigned total = launch.grid.x * launch.grid.y * launch.grid.z;
  const unsigned threads = launch.block.x * launch.block.y * launch.block.z;
  const unsigned stride = (threads + kWarpSize - 1) / kWarpSize * kWarpSize;
  const unsigned room = unsigned(std::min<size_t>(kMaxFibers / stride, kSchedulerSlots));
  const bool one = config().order == Order::forward && !early;
  const unsigned wanted = launch.cooperative ? total
                          : one              ? 1u
                                             : unsigned(config().resident_blocks);
  const unsigned width = std::min({wanted, total, room});

  s.started = std::make_unique<Started>(launch, op, total);
  Grid& grid = s.started->grid;
  grid.early = early;
  grid.floor_unsynced = history().floor(op, !op.dependent);
  grid.floor = early ? grid.floor_unsynced : history().floor(op, true);
  hot.grid = &grid;
  note_progress();
  s.choice.seed(config().seed * 1000003 + op.first_block);
  s.order = block_order(total);
  prepare_slots(width, threads);
  if (hot.count) count_launch(grid);
  s.resident.clear();
  for (unsigned i = 0; i < width; ++i) {
    s.resident.push_back(&s.blocks[i]);
    start_block(s.blocks[i], s.started->launch, s.order[i]);
  }
  s.started->next = width;
}

void go_on() {
  Scheduler& s = scheduler();
  Started& started = *s.started;
  hot.grid = &started.grid;
  hot.steps_to_switch = config().order == Order::adversarial ? draw_turn(s.choice) : 0;
  simt_blockDim = started.launch.block;
  simt_gridDim = started.launch.grid;
  {
    FlushSubnormals flush;
    run_blocks(started);
  }
  hot.grid = nullptr;
}

// The launch ahead has ended.
void wake(Scheduler& s) {
  Grid& grid = s.started->grid;
  grid.early = false;
  grid.floor = history().floor(grid.op, true);
  for (Block* b : s.resident) {
    for (unsigned i = 0; i < b->threads; ++i) {
      Lane& l = b->lanes[i];
      if (std::exchange(l.waits_for_grid, false)) make_ready(*b, l.warp, 1u << l.index);
    }
  }
}

void end(Scheduler& s, bool abandoned) {
  if (abandoned)  // fibers start afresh
    for (Lane& l : s.lanes) l.parked = false;
  s.started.reset();
}

}  // namespace

void begin_early(const Launch& launch, Op& op) {
  // The launch ahead may have begun early itself.
  if (other_scheduler().started) current() = 1 - current();
  current() = 1 - current();
  start(launch, op, true);
  go_on();
  current() = 1 - current();
}

void abandon_early() {
  for (Scheduler* s : {&scheduler(), &other_scheduler()}) {
    if (s->started) end(*s, true);
  }
}

cudaError_t run_grid(const Launch& launch, Op& op) {
  const auto has_it = [&](const Scheduler& s) { return s.started && &s.started->grid.op == &op; };
  if (has_it(other_scheduler())) current() = 1 - current();
  if (has_it(scheduler())) {
    wake(scheduler());
  } else {
    start(launch, op, false);
  }
  Scheduler& s = scheduler();
  if (!s.started->grid.error) go_on();
  const std::optional<cudaError_t> error = s.started->grid.error;
  end(s, error.has_value());
  return error.value_or(cudaSuccess);
}

void wait_for_prior_grids() {
  InEmulator scope;
  if (hot.grid->early) {
    hot.lane->waits_for_grid = true;
    wait_here();
  }
  hot.lane->grid_synced = true;
  hot.grid->op.waited = true;
}

unsigned active_lanes() { return hot.lane->block->warp[hot.lane->warp].alive; }
unsigned lane_index() { return hot.lane->index; }
uint64_t thread_switches() { return hot.switches; }

void trap(const char* why, const Place& place) {
  InEmulator scope;
  report(Kind::trap, {as_site(place)}, 0, why);
  abort_launch(cudaErrorLaunchFailure);
}

}  // namespace simt
