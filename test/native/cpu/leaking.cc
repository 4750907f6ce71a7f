// What the test of symbols must find: an inline function that is read after the instructions were
// asked for.
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#endif

namespace nvium::cpu {

struct Kernels {
  float (*sum)(const float*);
};

__attribute__((noinline)) inline float leaking(const float* x) { return x[0] + x[1] * x[2]; }

extern const Kernels kLeakingKernels;
const Kernels kLeakingKernels = {leaking};

}  // namespace nvium::cpu
