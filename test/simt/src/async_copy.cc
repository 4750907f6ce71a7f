// cp.async: copies to shared memory that land when their thread waits for them, as late as CUDA
// allows.
#include <cstring>

#include "access.h"
#include "arena.h"
#include "report.h"

namespace simt {

void cp_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes,
              const Place& place) {
  Lane& me = *hot.lane;
  me.place = place;
  if (observing) {  // the accesses are the kernel's own
    const void* site = as_site(place);
    if (source_bytes) access(reinterpret_cast<uintptr_t>(global), source_bytes, Access::read, site);
    access(reinterpret_cast<uintptr_t>(shared), bytes, Access::write, site);
    InEmulator scope;
    if (hot.check) {
      uint8_t* state = arena().state(shared);
      for (unsigned i = 0; i < bytes; ++i)
        state[i] = uint8_t((state[i] | kInFlight) & ~kInitialised);
    }
  }
  InEmulator scope;
  me.copies.push_back({static_cast<unsigned char*>(shared),
                       static_cast<const unsigned char*>(global), uint16_t(bytes),
                       uint16_t(source_bytes)});
}

void cp_async_commit() {
  InEmulator scope;
  hot.lane->copy_groups.push_back(hot.lane->copies.size());
}

void cp_async_wait(unsigned groups_left_pending) {
  InEmulator scope;
  Lane& me = *hot.lane;
  if (me.copy_groups.size() <= groups_left_pending) return;
  const size_t groups = me.copy_groups.size() - groups_left_pending;
  const size_t copies = me.copy_groups[groups - 1];
  for (size_t i = 0; i < copies; ++i) {
    const PendingCopy& c = me.copies[i];
    if (c.source_bytes) std::memcpy(c.to, c.from, c.source_bytes);
    std::memset(c.to + c.source_bytes, 0, size_t(c.bytes - c.source_bytes));
    if (hot.check) {
      uint8_t* state = arena().state(c.to);
      for (unsigned k = 0; k < c.bytes; ++k)
        state[k] = uint8_t((state[k] | kInitialised) & ~kInFlight);
    }
  }
  me.copies.erase(me.copies.begin(), me.copies.begin() + ptrdiff_t(copies));
  me.copy_groups.erase(me.copy_groups.begin(), me.copy_groups.begin() + ptrdiff_t(groups));
  for (size_t& g : me.copy_groups) g -= copies;
}

}  // namespace simt
