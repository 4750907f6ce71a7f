#include "faults.h"

#include <sys/mman.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>
#include <thread>

#define START_THREAD \
  _ZNSt6thread15_M_start_threadESt10unique_ptrINS_6_StateESt14default_deleteIS1_EEPFvvE
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

extern "C" {
void* __real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void* memory);
void* __real_mmap(void*, size_t, int, int, int, off_t);
ssize_t __real_pread(int fd, void* to, size_t bytes, off_t offset);
void JOIN(__real_, START_THREAD)(std::thread*, void*, void (*)());
}

namespace nvium::faults {
namespace {

constexpr int64_t kNever = INT64_MAX;

std::atomic<int64_t> left{kNever}, alive{0}, read_calls{0}, read_at{kNever};
std::atomic<bool> persistent{false}, fired{false};
std::atomic<Reading> reading{Reading::right};

// Whether the allocation that asks now is to fail.
bool fails() {
  if (left.load(std::memory_order_relaxed) == kNever) return false;
  const int64_t before = left.fetch_sub(1);
  const bool failing = persistent ? before <= 0 : before == 0;
  if (failing) fired = true;
  return failing;
}

void* take(size_t bytes) {
  void* memory = fails() ? nullptr : std::malloc(bytes);
  if (memory != nullptr) alive++;
  return memory;
}

void give(void* memory) {
  if (memory == nullptr) return;
  alive--;
  __real_free(memory);
}

}  // namespace

void arm(int64_t after, bool forever) {
  fired = false;
  persistent = forever;
  left = after;
}

bool disarm() {
  left = kNever;
  return fired;
}

int64_t live() { return alive; }

void arm_reads(int64_t at, Reading how) {
  read_calls = 0;
  read_at = at;
  reading = how;
}

int64_t reads() { return read_calls; }

}  // namespace nvium::faults

using namespace nvium::faults;

extern "C" {

void* __wrap_aligned_alloc(size_t alignment, size_t bytes) {
  if (fails()) return nullptr;
  void* memory = __real_aligned_alloc(alignment, bytes);
  if (memory != nullptr) alive++;
  return memory;
}

void __wrap_free(void* memory) { give(memory); }

void* __wrap_mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) {
  if (refuse_mappings) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return __real_mmap(at, bytes, protection, flags, fd, offset);
}

ssize_t __wrap_pread(int fd, void* to, size_t bytes, off_t offset) {
  if (read_calls++ == read_at) {
    switch (reading) {
      case Reading::right:
        break;
      case Reading::half:
        bytes = (bytes + 1) / 2;
        break;
      case Reading::interrupted:
        errno = EINTR;
        return -1;
      case Reading::failing:
        errno = EIO;
        return -1;
      case Reading::ended:
        return 0;
    }
  }
  return __real_pread(fd, to, bytes, offset);
}

void JOIN(__wrap_, START_THREAD)(std::thread* self, void* state, void (*depend)()) {
  if (fails()) throw std::system_error(EAGAIN, std::generic_category());
  JOIN(__real_, START_THREAD)(self, state, depend);
}
}

void* operator new(size_t bytes) {
  void* memory = take(bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return take(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return take(bytes); }
void* operator new(size_t bytes, std::align_val_t alignment) {
  const size_t unit = size_t(alignment);
  void* memory = __wrap_aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return operator new(bytes, alignment);
}
void operator delete(void* memory) noexcept { give(memory); }
void operator delete[](void* memory) noexcept { give(memory); }
void operator delete(void* memory, size_t) noexcept { give(memory); }
void operator delete[](void* memory, size_t) noexcept { give(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { give(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { give(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { give(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { give(memory); }
