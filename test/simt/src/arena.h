// All memory that kernels may touch, in one reservation: device memory, pinned host memory and the
// shared memory of the resident blocks, with a shadow for each byte, word and sector.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "call_site.h"
#include "races.h"

namespace simt {

constexpr size_t kDeviceZone = size_t(64) << 30;
constexpr size_t kPinnedZone = size_t(8) << 30;
constexpr size_t kSharedSlot = size_t(512) << 10;
constexpr size_t kMaxShared = size_t(227) << 10;
constexpr size_t kMaxSlots = 2048;
constexpr size_t kSharedZone = kSharedSlot * kMaxSlots;
constexpr size_t kArena = kDeviceZone + kPinnedZone + kSharedZone;
constexpr size_t kSector = 32;

enum class Zone { device, pinned, shared, outside };

// The state of a byte.
constexpr uint8_t kAddressable = 1, kInitialised = 2, kInFlight = 4;

struct Allocation {
  size_t size = 0;
  bool freed = false;
  bool pending = false;  // the stream has not reached its allocation yet
  CallSite site;
};

class Arena {
 public:
  Arena();

  unsigned char* at(size_t offset) { return base_ + offset; }
  size_t offset(uintptr_t address) const { return address - reinterpret_cast<uintptr_t>(base_); }
  size_t offset(const void* p) const { return offset(reinterpret_cast<uintptr_t>(p)); }
  uint8_t* state(const void* p) { return state_ + offset(p); }
  Cell* cell(uintptr_t address) { return cells_ + offset(address) / kCellBytes; }
  // The launch that last touched each sector.
  uint32_t& sector_stamp(uintptr_t address) { return stamps_[offset(address) / kSector]; }
  Zone zone(uintptr_t address) const {
    const size_t o = offset(address);
    return o < kDeviceZone                 ? Zone::device
           : o < kDeviceZone + kPinnedZone ? Zone::pinned
           : o < kArena                    ? Zone::shared
                                           : Zone::outside;
  }
  Zone zone(const void* p) const { return zone(reinterpret_cast<uintptr_t>(p)); }
  unsigned char* shared_slot(unsigned slot) {
    return base_ + kDeviceZone + kPinnedZone + slot * kSharedSlot;
  }

  // Null when there is no room. Addresses are never given out twice.
  void* allocate(Zone zone, size_t size, bool pending);
  void activate(void* p);  // a pending allocation is reached by its stream
  bool release(void* p);   // false when it is no allocation
  // The live allocation that holds all of these bytes.
  const Allocation* find(const void* p, size_t size) const;
  bool is_base(const void* p) const;
  size_t live_device_bytes() const { return live_; }
  std::string describe(uintptr_t address) const;
  bool was_freed(uintptr_t address) const;
  bool is_pending(uintptr_t address) const;

  void set_state(const void* p, size_t size, uint8_t state);
  bool initialised(const void* p, size_t size) const;

  // Makes device memory inaccessible to code that is neither a kernel nor the emulator.
  void guard(bool on);
  bool guarded() const { return guarded_; }

  const std::map<uintptr_t, Allocation>& allocations() const { return allocations_; }
  void release_all();

 private:
  std::map<uintptr_t, Allocation>::const_iterator around(uintptr_t address) const;

  unsigned char* base_;
  uint8_t* state_;
  Cell* cells_;
  uint32_t* stamps_;
  size_t device_top_ = 4096, pinned_top_ = kDeviceZone;
  size_t live_ = 0;
  bool guarded_ = false;
  std::map<uintptr_t, Allocation> allocations_;
};

Arena& arena();

}  // namespace simt
