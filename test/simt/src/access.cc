#include "access.h"

#include <link.h>

#include <bit>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "arena.h"
#include "fiber.h"
#include "hand_over.h"
#include "ops.h"
#include "report.h"
#include "scheduler.h"

// The bounds of the section that holds __constant__ variables, where a program has any.
extern "C" const char __start_simt_constant[] __attribute__((weak));
extern "C" const char __stop_simt_constant[] __attribute__((weak));

namespace simt {

namespace {

constexpr uint64_t kMaxSteps = uint64_t(1) << 30;  // hooks without a scheduling point
constexpr uint32_t kPollsInTurn = 16;              // atomics in a row before others get their turn

// Segments of the program that cannot be written: constant tables, which nvcc puts where kernels
// can read them.
const std::vector<std::pair<uintptr_t, uintptr_t>>& constant_segments() {
  static const auto& segments = *[] {
    auto* list = new std::vector<std::pair<uintptr_t, uintptr_t>>;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* to) {
          for (int i = 0; i < info->dlpi_phnum; ++i) {
            const auto& s = info->dlpi_phdr[i];
            const bool constant =
                (s.p_type == PT_LOAD && !(s.p_flags & PF_W)) || s.p_type == PT_GNU_RELRO;
            const uintptr_t low = info->dlpi_addr + s.p_vaddr;
            if (constant)
              static_cast<std::vector<std::pair<uintptr_t, uintptr_t>>*>(to)->emplace_back(
                  low, low + s.p_memsz);
          }
          return 0;
        },
        list);
    list->emplace_back(reinterpret_cast<uintptr_t>(__start_simt_constant),
                       reinterpret_cast<uintptr_t>(__stop_simt_constant));
    return list;
  }();
  return segments;
}

bool is_write(Access kind) {
  return kind == Access::write || kind == Access::relaxed_write || kind == Access::update;
}

std::string what(Access kind, size_t size) {
  const char* verb = kind == Access::update ? "atomic update of "
                     : is_write(kind)       ? "write of "
                                            : "read of ";
  return verb + std::to_string(size) + " bytes";
}

bool all_set(const uint8_t* state, size_t size, uint8_t bit) {
  const uint64_t mask = 0x0101010101010101u * bit;
  for (; size >= 8; state += 8, size -= 8) {
    uint64_t eight;
    std::memcpy(&eight, state, 8);
    if ((eight & mask) != mask) return false;
  }
  for (size_t i = 0; i < size; ++i)
    if (!(state[i] & bit)) return false;
  return true;
}

bool any_set(const uint8_t* state, size_t size, uint8_t bit) {
  for (size_t i = 0; i < size; ++i)
    if (state[i] & bit) return true;
  return false;
}

// Neither device, pinned nor shared memory.
[[gnu::noinline]] void access_outside(uintptr_t address, size_t size, Access kind,
                                      const void* site) {
  if (is_index_variable(address)) return;
  const Launch& launch = hot.grid->launch;
  if (address - reinterpret_cast<uintptr_t>(launch.args.get()) < launch.args_size) return;
  if (is_thread_stack(address)) {
    report(Kind::other_threads_stack, {site}, address,
           what(kind, size) + " of a local variable of another thread");
    return abort_launch(cudaErrorIllegalAddress);
  }
  if (!is_write(kind))
    for (const auto& [low, high] : constant_segments())
      if (address >= low && address < high) return;
  report(Kind::host_memory_in_kernel, {site}, address, what(kind, size));
  abort_launch(cudaErrorIllegalAddress);
}

[[gnu::noinline]] void bad_address(uintptr_t address, size_t size, Access kind, const void* site) {
  const Zone zone = arena().zone(address);
  Kind fault = Kind::out_of_bounds;
  std::string text = what(kind, size);
  if (zone == Zone::shared) {
    fault = Kind::shared_out_of_bounds;
    const Block& b = *hot.lane->block;
    const auto into = reinterpret_cast<unsigned char*>(address) - b.dynamic_shared;
    text += " at " + std::to_string(into) + " bytes from the start of dynamic shared memory, of " +
            std::to_string(hot.grid->launch.dynamic_shared) + " bytes";
  } else if (arena().was_freed(address)) {
    fault = Kind::use_after_free;
  } else if (arena().is_pending(address)) {
    fault = Kind::missing_stream_order;
    text += "; the stream has not reached the allocation yet";
  }
  report(fault, {site}, address, std::move(text));
  abort_launch(cudaErrorIllegalAddress);
}

void check_state(uintptr_t address, size_t size, Access kind, const void* site, Lane& me) {
  if (std::has_single_bit(size) && size <= 16 && (address & (size - 1))) [[unlikely]] {
    report(Kind::misaligned_access, {site}, address, what(kind, size));
    return abort_launch(cudaErrorMisalignedAddress);
  }
  uint8_t* state = arena().state(reinterpret_cast<void*>(address));
  const bool shared = arena().zone(address) == Zone::shared;
  const bool own =
      !shared ||
      address - reinterpret_cast<uintptr_t>(arena().shared_slot(me.block->slot)) < kSharedSlot;
  if (!own || !all_set(state, size, kAddressable)) [[unlikely]]
    return bad_address(address, size, kind, site);
  if (shared && any_set(state, size, kInFlight)) [[unlikely]]
    report(Kind::copy_in_flight, {site}, address,
           what(kind, size) + " where a cp.async has not arrived");
  if (kind != Access::write && kind != Access::relaxed_write && !all_set(state, size, kInitialised))
      [[unlikely]]
    if (!any_set(state, size, kInFlight))
      report(Kind::uninitialised_read, {site}, address,
             what(kind, size) + (shared ? " of shared memory" : " of global memory"));
  if (is_write(kind))
    for (size_t i = 0; i < size; ++i) state[i] |= kInitialised;
}

// Threads may lose their turn between any two accesses, and polls give theirs away.
void maybe_switch(Lane& me, Access kind) {
  if (++hot.steps > kMaxSteps) [[unlikely]] {
    report(Kind::live_lock, {as_site(me.place)}, 0, "a thread runs on without end");
    return abort_launch(cudaErrorLaunchTimeout);
  }
  if (hot.steps_to_switch && --hot.steps_to_switch == 0) [[unlikely]] {
    hot.steps_to_switch = draw_turn(thread_choice());
    take_turns();
  }
  if (kind == Access::relaxed_read || kind == Access::update) {
    if (++hot.polls % kPollsInTurn == 0) pause();
  }
}

[[gnu::noinline]] void host_access(uintptr_t address, size_t size, Access kind, const void* site) {
  const Zone zone = arena().zone(address);
  if (zone == Zone::device) {
    report(Kind::device_memory_in_host_code, {site}, address, what(kind, size));
    arena().guard(false);  // reported once: let the program go on
  } else if (zone == Zone::pinned && hot.check) {
    check_races({.block = kHost}, address, size, kind, site);
  }
}

}  // namespace

void access(uintptr_t address, size_t size, Access kind, const void* site) {
  Lane* me = hot.lane;
  const bool inside = address - hot.arena < hot.arena_size;
  if (!hot.in_kernel) {
    if (!me && inside) host_access(address, size, kind, site);
    return;
  }
  if (address - me->stack < kStackSize) return;
  InEmulator scope;
  if (!inside) return access_outside(address, size, kind, site);
  maybe_switch(*me, kind);
  if (hot.check) {
    check_state(address, size, kind, site, *me);
    me->accessed = true;
    check_races({me->block->serial, me, &hot.grid->op}, address, size, kind, site);
    if (kind == Access::relaxed_read || kind == Access::relaxed_write || kind == Access::update)
      synchronise_through(address, kind);
  }
  if (hot.count) me->events.push_back({site, address, uint16_t(size), kind});
}

bool observing = false;

void note(const void* address, size_t size, Access kind, const Place& place) {
  if (hot.lane) hot.lane->place = place;
  if (observing) {
    access(reinterpret_cast<uintptr_t>(address), size, kind, as_site(place));
  } else if (hot.lane) {
    InEmulator scope;
    if ((kind == Access::relaxed_read || kind == Access::update) && ++hot.polls % kPollsInTurn == 0)
      pause();
  }
}

}  // namespace simt
