#include "memory.h"

#include <cstdint>
#include <cstdlib>
#include <new>

#include "../error.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace nvium::cpu {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t(2) << 20;

constexpr size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

[[noreturn]] void fail(size_t bytes) {
  throw Failure{"ERR_NVIUM_OUT_OF_MEMORY",
                "Could not allocate " + std::to_string(bytes) + " bytes.",
                {{"needed", double(bytes)}}};
}

}  // namespace

void* allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 2) fail(bytes);
#ifdef __linux__
  if (bytes >= 2 * kHugePage) {
    // Aligned to a huge page by mapping one more and giving the ends back.
    const size_t size = round_up(bytes, kHugePage);
    void* mapped =
        mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) fail(bytes);
    std::byte* start = static_cast<std::byte*>(mapped);
    const size_t before = round_up(reinterpret_cast<uintptr_t>(start), kHugePage) -
                          reinterpret_cast<uintptr_t>(start);
    if (before > 0) munmap(start, before);
    if (before < kHugePage) munmap(start + before + size, kHugePage - before);
    madvise(start + before, size, MADV_HUGEPAGE);
    return start + before;
  }
#endif
  void* memory = std::aligned_alloc(kAlignment, round_up(bytes, kAlignment));
  if (memory == nullptr) fail(bytes);
  return memory;
}

void release(void* memory, size_t bytes) noexcept {
#ifdef __linux__
  if (bytes >= 2 * kHugePage) {
    munmap(memory, round_up(bytes, kHugePage));
    return;
  }
#endif
  (void)bytes;
  std::free(memory);
}

}  // namespace nvium::cpu
