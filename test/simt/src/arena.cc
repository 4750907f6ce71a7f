#include "arena.h"

#include <sys/mman.h>

#include <cstring>

#include "reserve.h"

namespace simt {

void install_host_guard();

namespace {

constexpr size_t kPage = 4096;

size_t pages(size_t size) { return (size + kPage - 1) / kPage * kPage; }

}  // namespace

Arena::Arena()
    : base_(static_cast<unsigned char*>(reserve(kArena))),
      state_(static_cast<uint8_t*>(reserve(kArena))),
      cells_(static_cast<Cell*>(reserve(kArena / kCellBytes * sizeof(Cell)))),
      stamps_(static_cast<uint32_t*>(reserve(kArena / kSector * sizeof(uint32_t)))) {
  mprotect(base_, kDeviceZone + kPinnedZone, PROT_NONE);
  madvise(cells_, kArena / kCellBytes * sizeof(Cell), MADV_HUGEPAGE);
  install_host_guard();
}

void* Arena::allocate(Zone zone, size_t size, bool pending) {
  size_t& top = zone == Zone::device ? device_top_ : pinned_top_;
  const size_t end = zone == Zone::device ? kDeviceZone : kDeviceZone + kPinnedZone;
  const size_t length = pages(size);
  if (size > end - top || length + kPage > end - top) return nullptr;
  unsigned char* p = base_ + top;
  top += length + kPage;  // a page without access behind each allocation
  const bool open = !(zone == Zone::device && guarded_);
  mprotect(p, length, PROT_READ | PROT_WRITE);
  std::memset(p, 0xff, length);  // NaN in every format
  if (!open) mprotect(p, length, PROT_NONE);
  auto& allocation = allocations_[reinterpret_cast<uintptr_t>(p)];
  allocation = {size, false, pending, CallSite::here()};
  // The host may write pinned memory from code that has no hooks, so it counts as initialised.
  if (!pending)
    set_state(p, size, zone == Zone::device ? kAddressable : kAddressable | kInitialised);
  if (zone == Zone::device) live_ += size;
  return p;
}

void Arena::activate(void* p) {
  auto it = allocations_.find(reinterpret_cast<uintptr_t>(p));
  if (it == allocations_.end()) return;
  it->second.pending = false;
  set_state(p, it->second.size, kAddressable);
}

bool Arena::release(void* p) {
  auto it = allocations_.find(reinterpret_cast<uintptr_t>(p));
  if (it == allocations_.end() || it->second.freed) return false;
  const size_t size = it->second.size, length = pages(size);
  set_state(p, size, 0);
  discard(state(p), length);
  forget_accesses(it->first, size);
  mprotect(p, length, PROT_NONE);
  discard(p, length);
  if (zone(p) == Zone::device) live_ -= size;
  it->second.freed = true;
  return true;
}

void Arena::release_all() {
  for (auto& [address, allocation] : allocations_)
    if (!allocation.freed) release(reinterpret_cast<void*>(address));
  allocations_.clear();
}

std::map<uintptr_t, Allocation>::const_iterator Arena::around(uintptr_t address) const {
  auto it = allocations_.upper_bound(address);
  return it == allocations_.begin() ? allocations_.end() : std::prev(it);
}

const Allocation* Arena::find(const void* p, size_t size) const {
  const auto address = reinterpret_cast<uintptr_t>(p);
  const auto it = around(address);
  if (it == allocations_.end() || it->second.freed) return nullptr;
  const size_t into = address - it->first;
  return into <= it->second.size && size <= it->second.size - into ? &it->second : nullptr;
}

bool Arena::is_base(const void* p) const {
  const auto it = allocations_.find(reinterpret_cast<uintptr_t>(p));
  return it != allocations_.end() && !it->second.freed;
}

bool Arena::was_freed(uintptr_t address) const {
  const auto it = around(address);
  return it != allocations_.end() && it->second.freed && address - it->first < it->second.size;
}

bool Arena::is_pending(uintptr_t address) const {
  const auto it = around(address);
  return it != allocations_.end() && it->second.pending && address - it->first < it->second.size;
}

std::string Arena::describe(uintptr_t address) const {
  if (zone(address) != Zone::device && zone(address) != Zone::pinned) return "";
  const auto it = around(address);
  if (it == allocations_.end()) return "no allocation is near";
  const size_t into = address - it->first, size = it->second.size;
  const std::string place = into < size ? std::to_string(into) + " bytes into"
                                        : std::to_string(into - size) + " bytes past the end of";
  return place + (it->second.freed ? " a freed allocation of " : " an allocation of ") +
         std::to_string(size) + " bytes";
}

void Arena::set_state(const void* p, size_t size, uint8_t value) {
  std::memset(state(p), value, size);
}

bool Arena::initialised(const void* p, size_t size) const {
  const uint8_t* s = state_ + offset(p);
  for (size_t i = 0; i < size; ++i)
    if (!(s[i] & kInitialised)) return false;
  return true;
}

void Arena::guard(bool on) {
  if (on == guarded_) return;
  guarded_ = on;
  for (const auto& [address, allocation] : allocations_)
    if (!allocation.freed && zone(address) == Zone::device)
      mprotect(reinterpret_cast<void*>(address), pages(allocation.size),
               on ? PROT_NONE : PROT_READ | PROT_WRITE);
}

Arena& arena() {
  static Arena& instance = *new Arena;
  hot.arena = reinterpret_cast<uintptr_t>(instance.at(0));
  hot.arena_size = kArena;
  return instance;
}

}  // namespace simt
