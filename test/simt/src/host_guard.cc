// Device memory touched by host code that has no hooks: the pages are inaccessible between
// operations, and the fault becomes a report.
#include <signal.h>
#include <ucontext.h>

#include <cstdint>

#include "arena.h"
#include "report.h"

namespace simt {

namespace {

struct sigaction previous;

void on_fault(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const bool in_device = address - hot.arena < kDeviceZone;
  if (!hot.lane && in_device && arena().guarded() && arena().find(info->si_addr, 1)) {
    const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    const auto next = reinterpret_cast<const char*>(registers[REG_RIP]) + 1;
    report(Kind::device_memory_in_host_code, {next}, address, "");
    arena().guard(false);  // the access succeeds when it is tried again
    return;
  }
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    sigaction(signal, &previous, nullptr);  // faults again, for good
  }
}

}  // namespace

// Called when the arena is made.
void install_host_guard() {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &action, &previous);
}

}  // namespace simt
