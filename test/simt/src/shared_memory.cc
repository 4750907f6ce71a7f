#include "shared_memory.h"

#include <algorithm>
#include <cstring>

#include "arena.h"
#include "report.h"
#include "scheduler.h"

namespace simt {

namespace {

constexpr size_t kGap = 128;
constexpr size_t kMaxStatic = 48 << 10;

size_t with_gap(size_t size) { return (size + kGap - 1) / kGap * kGap + kGap; }

void open(unsigned char* p, size_t size) {
  if (hot.check) arena().set_state(p, size, kAddressable);
  std::memset(p, 0xff, size);
}

void close(unsigned char* p, size_t size) {
  if (hot.check) arena().set_state(p, size, 0);
}

}  // namespace

void prepare_shared(Block& b, size_t dynamic_size) {
  unsigned char* slot = arena().shared_slot(b.slot);
  if (b.dynamic_shared)  // what the last block in this slot had
    close(slot, size_t(b.static_shared - slot) + b.static_used);
  b.dynamic_shared = slot;
  b.static_shared = slot + with_gap(dynamic_size);
  b.static_used = 0;
  b.statics.clear();
  open(b.dynamic_shared, dynamic_size);
}

unsigned char* dynamic_shared() { return hot.lane->block->dynamic_shared; }

void* static_shared(const void* key, size_t size, size_t align) {
  InEmulator scope;
  Block& b = *hot.lane->block;
  for (const auto& [known, p] : b.statics)
    if (known == key) return p;
  const size_t start = (b.static_used + align - 1) / align * align;
  if (start + size > kMaxStatic + kGap * b.statics.size() * 2) {
    report(Kind::bad_launch, {hot.grid->launch.kernel}, 0,
           "more than 48 KiB of static shared memory");
    abort_launch(cudaErrorInvalidValue);
  }
  unsigned char* p = b.static_shared + start;
  b.static_used = start + with_gap(size);
  b.statics.emplace_back(key, p);
  open(p, size);
  return p;
}

}  // namespace simt
