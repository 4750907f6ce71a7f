// One fiber for each CUDA thread. A switch saves the callee-saved registers and exchanges stacks:
// a few nanoseconds, where swapcontext needs a system call.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" void simt_switch_stack(void** save, void* to) asm("simt_switch_stack");

namespace simt {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackSize = 256 << 10;
#else
constexpr size_t kStackSize = 64 << 10;
#endif

// A reservation of stacks; pages are used only when a fiber touches them.
class StackPool {
 public:
  explicit StackPool(size_t count);
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  uintptr_t base() const { return base_; }
  size_t size() const { return size_; }
  uintptr_t stack(size_t i) const { return base_ + i * kStackSize; }
  bool contains(uintptr_t address) const { return address - base_ < size_; }

  // A stack pointer that enters `entry` on stack i when switched to.
  void* prepare(size_t i, void (*entry)());

 private:
  uintptr_t base_;
  size_t size_;
};

}  // namespace simt
