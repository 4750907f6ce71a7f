// What tests say to the emulator and hear from it. Host code under test never includes this; it
// sees the CUDA runtime API alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace simt {

// ---- configuration

// Who runs next wherever CUDA gives no order: lanes, warps, blocks, streams, nodes of a graph.
enum class Order {
  forward,      // lowest first; a stream runs only when something waits for it
  reverse,      // highest first; other streams run before the one waited for
  random,       // drawn from the seed
  adversarial,  // drawn from the seed, and threads lose their turn between memory accesses too
};

// What the host finds where the driver and the device should be.
enum class Driver {
  works,
  missing,    // no libcuda: cudaErrorInsufficientDriver
  too_old,    // the same error, but cudaDriverGetVersion answers
  no_device,  // cudaErrorNoDevice
};

struct Config {
  Order order = Order::forward;
  uint64_t seed = 1;
  // Both default to what the build can do: on with simt_checked, without effect in simt_plain.
  bool check = true;
  bool count = false;
  // Threads that return while others wait at __syncthreads are accepted, as hardware accepts them.
  bool report_exit_before_barrier = false;
  // Device memory is inaccessible to the host between operations, so that code compiled without
  // hooks is caught as well.
  bool guard_device_memory = true;
  // Subnormal numbers are flushed in kernels, as nvcc -ftz=true does.
  bool flush_subnormals = true;
  int resident_blocks = 8;  // of an ordinary launch, unless the order is forward
  int devices = 1;          // all alike; a stream is of the one that was current
  int multiprocessors = 4;
  size_t device_memory = size_t(16) << 30;
  Driver driver = Driver::works;
};
Config& config();

// ---- failures of the device

// What a device refuses or dies of although the program is right.
enum class Failing {
  allocation,  // of device or pinned memory: cudaErrorMemoryAllocation
  launch,      // a kernel, a copy or a fill is not queued: cudaErrorLaunchOutOfResources
  execution,   // one that was queued ends in cudaErrorLaunchFailure, which is sticky
};

// The next `after` of that kind succeed, then one fails. The count goes on over reset().
void fail_after(Failing what, uint64_t after);
// Takes back what has not failed yet; whether it had.
bool failed();

// ---- reports

enum class Kind {
  out_of_bounds,
  shared_out_of_bounds,
  use_after_free,
  uninitialised_read,
  misaligned_access,
  host_memory_in_kernel,
  device_memory_in_host_code,
  other_threads_stack,
  race_in_warp,
  race_in_block,
  race_between_blocks,
  unfenced_hand_over,
  stale_read_only_load,
  divergent_barrier,
  exit_before_barrier,
  mismatched_mask,
  undefined_condition,
  copy_in_flight,
  copy_never_awaited,
  deadlock,
  live_lock,
  missing_stream_order,
  missing_host_sync,
  missing_grid_dependency,
  bad_copy,
  bad_launch,
  bad_free,
  condition_set_twice,
  leak,
  trap,
};
std::string_view name(Kind kind);

struct SourceLine {
  std::string file;
  unsigned line = 0;
  std::string function;
};

struct Report {
  Kind kind{};
  std::string kernel;  // empty for host code
  SourceLine at;       // where it was noticed
  SourceLine other;    // the access it conflicts with, where there is one
  std::string thread;  // "thread (3,0,0) of block (1,0,0)"
  uintptr_t address = 0;
  std::string where;  // the address in words
  std::string detail;
};
std::string to_string(const Report& report);

// Reports since the last call, one for each kind and place.
std::vector<Report> take_reports();

// Reports what was allocated or created and not released.
void report_leaks();

// Forgets memory, streams, errors, reports and counters, but not the configuration.
void reset();

// ---- counters

struct LineCounters {
  std::string kernel;
  SourceLine at;
  std::string access;  // "read", "write", "atomic"
  bool shared = false;
  unsigned width = 0;     // bytes of one lane
  uint64_t requests = 0;  // of warps
  uint64_t lanes = 0;     // that took part, over all requests
  uint64_t bytes = 0;     // distinct ones of each request
  uint64_t moved = 0;     // 32-byte sectors, or wavefronts of shared memory
  uint64_t ideal = 0;     // the least possible for those bytes
  uint64_t first = 0;     // sectors that the launch had not touched before
};
struct WorkCounters {
  std::string kernel;
  SourceLine at;
  uint64_t instructions = 0;  // summed over threads
};
struct LaunchCounters {
  std::string kernel;
  uint64_t blocks = 0, threads = 0;
  uint64_t requests = 0, bytes = 0, sectors = 0, first = 0;
  uint64_t wavefronts = 0, ideal_wavefronts = 0;
  uint64_t instructions = 0;       // summed over threads
  uint64_t most_instructions = 0;  // of one thread
};
std::vector<LineCounters> line_counters();
std::vector<WorkCounters> work_counters();
std::vector<LaunchCounters> launch_counters();
void print_counters(std::FILE* out);
void reset_counters();

// Switches between threads so far: the unit of the emulator's own cost.
uint64_t thread_switches();

}  // namespace simt
