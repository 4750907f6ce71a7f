#include "reserve.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

namespace simt {

void* reserve(size_t bytes) {
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) {
    std::perror("simt: cannot reserve address space (ulimit -v, vm.overcommit_memory=2?)");
    std::abort();
  }
  return p;
}

void discard(void* address, size_t bytes) { madvise(address, bytes, MADV_DONTNEED); }

}  // namespace simt
