// The boundary between kernel code and the emulator: what the CUDA built-ins of this directory are
// made of. Kernels never call these functions by name; they include "dialect.cuh".
#pragma once

#include <cstddef>
#include <cstdint>
#include <source_location>

// For functions that stand for one instruction: their loads and stores are announced by `note`
// instead of being seen as plain accesses.
#ifdef __SANITIZE_THREAD__
#define SIMT_UNHOOKED __attribute__((no_sanitize("thread"), no_sanitize_coverage, noinline)) inline
#else
#define SIMT_UNHOOKED inline
#endif

namespace simt {

using Place = std::source_location;

inline constexpr unsigned kWarpSize = 32;
inline constexpr unsigned kFullMask = 0xffffffffu;

// What a value that CUDA leaves undefined looks like: integers repeat the pattern that
// -ftrivial-auto-var-init=pattern gives to locals, floats are NaN with the same low bits.
inline constexpr uint32_t kPoison = 0xfefefefeu;
inline constexpr uint32_t kPoisonNan = 0xfffefefeu;

// ---- barriers and warp collectives

// Returns how many of the block's threads passed a true predicate.
int block_barrier(bool predicate, const Place& place);
void grid_barrier(const Place& place);

// Runs once for all lanes of `mask`; payload[i] is what lane i deposited.
using WarpOp = void (*)(void** payload, unsigned mask);
enum class Collective : uint8_t {
  exchange,  // moves values between registers and orders no memory: shuffles, votes
  sync,      // orders the memory of the lanes named: __syncwarp
  aligned,   // all lanes execute the very same instruction: mma, ldmatrix
};
void collective(unsigned mask, void* payload, WarpOp op, Collective kind, const Place& place);

unsigned active_lanes();
unsigned lane_index();

// Lets every other thread run: __nanosleep, and polling loops that do not call it.
void pause();
void trap(const char* why, const Place& place);

// ---- memory

unsigned char* dynamic_shared();
// The same bytes for every thread of a block that passes the same key.
void* static_shared(const void* key, size_t size, size_t align);

enum class Access : uint8_t {
  read,
  write,
  relaxed_read,  // volatile and atomic accesses: they may race with each other
  relaxed_write,
  update,       // an atomic read-modify-write
  bypass_read,  // __ldcg: a plain read that does not look into L1
  read_only,    // __ldg: through the cache that writes of this launch do not reach
};
void note(const void* address, size_t size, Access access, const Place& place);
extern bool observing;  // false where `note` would do nothing with loads and stores

enum class Scope : uint8_t { block, device };
void fence(Scope scope);

// 16-, 8- or 4-byte copies to shared memory that land at the wait for their group.
void cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes,
              const Place& place);
void cp_async_commit();
void cp_async_wait(unsigned groups_left_pending);

// ---- launches

void wait_for_prior_grids();  // cudaGridDependencySynchronize
void set_graph_condition(unsigned long long handle, unsigned value, const Place& place);

}  // namespace simt
