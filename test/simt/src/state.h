// The state of a running launch: threads, warps, blocks, the grid, and what the hooks need at hand.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "clock.h"
#include "simt/launch.h"
#include "simt/runtime.h"

namespace simt {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kMaxWarps = kMaxThreads / kWarpSize;

struct Block;
struct Op;

struct PendingCopy {
  unsigned char* to;
  const unsigned char* from;
  uint16_t bytes, source_bytes;
};

// One memory access, kept until the warp converges and it can be counted.
struct Event {
  const void* site;
  uintptr_t address;
  uint16_t size;
  Access access;
};

// What a fence made ready to be handed to other threads by the next atomic.
struct Publication {
  bool set = false;
  uint32_t epoch = 0, warp_epoch = 0, tick = 0;
  ClockRef base;
};

struct Lane {
  void* sp = nullptr;
  uintptr_t stack = 0;
  Block* block = nullptr;
  uint3 thread{};
  uint16_t id = 0;      // in the block
  uint8_t warp = 0;     // in the block
  uint8_t index = 0;    // in the warp
  bool parked = false;  // the fiber waits for another kernel call
  bool grid_synced = false;
  bool waits_for_grid = false;

  // Memory order. A tick passes at each fence that has something to order.
  bool accessed = false;  // since the last tick
  uint32_t tick = 0;
  ClockRef acquired;  // holds for every access
  ClockRef
      observed;  // seen through atomics: holds for accesses that do not use L1, or after a fence
  Publication device_fence, block_fence;

  // What it waits for.
  WarpOp op = nullptr;
  void* payload = nullptr;
  unsigned mask = 0;
  Collective collective = Collective::exchange;
  Place place;

  std::vector<PendingCopy> copies;  // cp.async, oldest first
  std::vector<size_t> copy_groups;  // copies.size() at each commit
  std::vector<Event> events;
  uint64_t instructions = 0;
};

struct Warp {
  uint32_t alive = 0, ready = 0;
  uint32_t collecting = 0, at_barrier = 0;
  uint32_t epoch = 0;  // passes when the whole warp synchronises
};

struct Block {
  unsigned slot = 0;
  unsigned linear = 0;
  uint32_t serial = 0;  // unique over launches
  uint3 index{};
  unsigned threads = 0, warps = 0, alive = 0;
  unsigned at_barrier = 0, at_grid_barrier = 0;
  int votes = 0, vote_result = 0;
  uint32_t ready_warps = 0;
  uint32_t epoch = 0;  // passes at each __syncthreads
  bool has_clocks = false, has_fences = false;
  std::vector<std::pair<uint32_t, uint32_t>> fenced;  // thread, tick: known to all since a barrier
  std::vector<uintptr_t> atomics;  // the locations its threads used to synchronise, for diagnosis
  Warp warp[kMaxWarps];
  Lane* lanes = nullptr;

  unsigned char* dynamic_shared = nullptr;
  unsigned char* static_shared = nullptr;
  size_t static_used = 0;
  std::vector<std::pair<const void*, unsigned char*>> statics;
};

// A memory location through which threads synchronise.
struct Location {
  ClockRef device;
  std::vector<std::pair<uint32_t, ClockRef>> block_scope;
  std::vector<uint32_t> writers;     // blocks, ascending
  std::vector<uint32_t> up_to_date;  // blocks that accessed it since the last write of another one
};

struct Grid {
  const Launch& launch;
  Op& op;
  unsigned blocks = 0;
  bool early = false;  // the launch ahead has not run yet
  // Blocks with lower serials are ordered before every access, before and after a thread has
  // waited for the grids ahead.
  uint32_t floor_unsynced = 0, floor = 0;
  std::unordered_map<uintptr_t, Location> locations{};
  std::optional<cudaError_t> error{};
};

// What the hooks look at first. Kernels run on the thread that waits for them, while other threads
// of the program go on.
struct Hot {
  Lane* lane = nullptr;    // the thread that runs, or null in host code
  bool in_kernel = false;  // it runs code of the kernel, not of the emulator
  Grid* grid = nullptr;
  uintptr_t arena = 0;
  size_t arena_size = 0;
  bool check = false, count = false;
  uint32_t steps_to_switch = 0;  // memory accesses until the turn is lost; zero: it never is
  uint32_t polls = 0;            // atomic accesses since something moved on
  uint64_t steps = 0;            // hooks since the last scheduling point
  uint64_t switches = 0;
};
extern constinit thread_local Hot hot __attribute__((tls_model("initial-exec")));

// While kernel code has called the emulator. The linker may give the emulator instrumented copies
// of inline library functions, whose hooks must not count as the kernel's.
class InEmulator {
 public:
  InEmulator() { hot.in_kernel = false; }
  ~InEmulator() { hot.in_kernel = hot.lane != nullptr; }
  InEmulator(const InEmulator&) = delete;
  InEmulator& operator=(const InEmulator&) = delete;
};

}  // namespace simt
