#include "instruction_sets.h"

#include <vector>

#include "../error.h"
#include "self_check.h"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace nvium::cpu {
namespace {

#if defined(__aarch64__)
// Whether the processor multiplies four bytes with four.
bool has_dot_product() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  return true;  // every one that is sold has it
#else
  return false;
#endif
}
#endif

// Those the processor has, fastest first.
std::vector<const Kernels*> present() {
  std::vector<const Kernels*> kernels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  if (vnni) kernels.push_back(&kAvx512VnniKernels);
  if (avx512) kernels.push_back(&kAvx512Kernels);
  if (vnni && __builtin_cpu_supports("avx512bf16")) {
    // Intel's processors multiply pairs of bf16 at half the rate of two FMAs.
    const bool pairs_are_slow = __builtin_cpu_is("intel");
    kernels.insert(pairs_are_slow ? kernels.end() : kernels.begin(), &kAvx512Bf16Kernels);
  }
  if (avx2 && __builtin_cpu_supports("avxvnni")) kernels.push_back(&kAvxVnniKernels);
  if (avx2) kernels.push_back(&kAvx2Kernels);
#elif defined(__aarch64__)
  if (has_dot_product()) kernels.push_back(&kNeonDotKernels);
  kernels.push_back(&kNeonKernels);
#endif
  return kernels;
}

}  // namespace

std::vector<const Kernels*> trusted(std::span<const Kernels* const> candidates) {
  std::vector<const Kernels*> kernels;
  for (const Kernels* candidate : candidates) {
    if (agrees(*candidate)) kernels.push_back(candidate);
  }
  kernels.push_back(&kPortableKernels);
  return kernels;
}

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> kernels = trusted(present());
  return kernels;
}

const Kernels& choose_kernels(std::string_view name, std::span<const Kernels* const> among) {
  std::string names;
  for (const Kernels* kernels : among) {
    if (name.empty() || name == kernels->name) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw Failure{"ERR_NVIUM_INVALID_ARG",
                "Instruction set \"" + std::string(name) + "\" is not available here; there is " +
                    names + ".",
                {{"argument", "instructionSet"}}};
}

const Kernels& choose_kernels(std::string_view name) {
  return choose_kernels(name, available_kernels());
}

}  // namespace nvium::cpu
