#include "fiber.h"

#include <sys/mman.h>

#include <cstdlib>

#include "reserve.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

asm(R"(
.text
.globl simt_switch_stack
.hidden simt_switch_stack
.type simt_switch_stack,@function
simt_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size simt_switch_stack,.-simt_switch_stack
)");

namespace simt {

namespace {
constexpr size_t kPage = 4096;
}

StackPool::StackPool(size_t count)
    : base_(reinterpret_cast<uintptr_t>(reserve(count * kStackSize))), size_(count * kStackSize) {
  // Otherwise one touched page commits two megabytes.
  madvise(reinterpret_cast<void*>(base_), size_, MADV_NOHUGEPAGE);
}

void* StackPool::prepare(size_t i, void (*entry)()) {
  const uintptr_t low = stack(i);
  mprotect(reinterpret_cast<void*>(low), kPage, PROT_NONE);  // an overflow faults
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(reinterpret_cast<void*>(low + kPage), kStackSize - kPage);
#endif
  // Stacks start at different offsets, or the hot frames of a warp share a few sets of the L1
  // cache.
  const uintptr_t top = (low + kStackSize - 64 - (i * 192) % 3840) & ~uintptr_t(63);
  auto** sp = reinterpret_cast<void**>(top);
  *--sp = nullptr;                         // the return address of entry: keeps rsp % 16 == 8
  *--sp = reinterpret_cast<void*>(entry);  // popped into rcx
  for (int k = 0; k < 6; ++k) *--sp = nullptr;
  return sp;
}

}  // namespace simt
