// Who accessed each word last, and whether that is ordered before the access at hand.
#pragma once

#include <cstdint>

#include "state.h"

namespace simt {

struct Op;

// An access as the shadow memory remembers it: 16 bytes.
struct Record {
  uint32_t block = 0;  // serial; kNobody, kHost or kSplit
  int32_t site = 0;    // distance from an anchor in this module
  uint64_t flags : 2 = 0;
  uint64_t thread : 10 = 0;
  uint64_t tick : 14 = 0;
  uint64_t warp_epoch : 18 = 0;
  uint64_t epoch : 20 = 0;

  bool operator==(const Record&) const = default;
};
constexpr uint32_t kNobody = 0, kHost = 1, kSplit = 2, kFirstBlock = 16;

// For writes.
constexpr unsigned kRelaxed = 1;
// For reads: who else read since the last write.
constexpr unsigned kSoleReader = 0, kLanesRead = 1, kWarpsRead = 2, kBlocksRead = 3;

struct Cell {
  Record write, read;
};
static_assert(sizeof(Cell) == 32);
constexpr size_t kCellBytes = 4;

// Who accesses: a thread, a copy or memset of a stream, or the host.
struct Actor {
  uint32_t block = kNobody;
  const Lane* lane = nullptr;
  const Op* op = nullptr;
};

void check_races(const Actor& actor, uintptr_t address, size_t size, Access access,
                 const void* site);

// Forgets all history of a range, or everything.
void forget_accesses(uintptr_t address, size_t size);
void forget_all_accesses();

int32_t pack_site(const void* site);
const void* unpack_site(int32_t packed);

}  // namespace simt
