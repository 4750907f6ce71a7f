// Speed on a real GPU, a part at a time: single kernels against a measured copy of device memory,
// and whole decoding of the 1.5 B shape beside its dense twin. Each figure is printed and written
// as it comes. scripts/gpu.sh runs it.
//
//   gpu_bench device|products|attention|exits|decode|all [--json file] [--quick]
//
// `device` only says which it is. With --quick every part runs once over a tiny shape: it shows
// that the parts work, not what they cost. Exit status 3: there is no device, and the file says
// why.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>

#include "bench/native/json.h"
#include "cuda/cuda_backend.h"
#include "cuda/query.h"
#include "decode.h"
#include "kernels.h"
#include "native/error.h"

using namespace nvium;
using namespace nvium::bench;

namespace {

constexpr int kNoDevice = 3;
constexpr Shape kTiny{"tiny", 4, 64, 96, 4, 16, 300, true};
constexpr Shape kTinyDense{"tiny-dense", 4, 64, 128, 4, 16, 300, false};

// What was not found out is zero.
Row describe(int device) {
  cudaDeviceProp p{};
  int driver = 0, runtime = 0;
  cudaGetDeviceProperties(&p, device);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const auto version = [](int v) {
    return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10);
  };
  return Row()
      .add("name", p.name)
      .add("computeCapability", std::to_string(p.major) + "." + std::to_string(p.minor))
      .add("multiprocessors", p.multiProcessorCount)
      .add("memoryBytes", p.totalGlobalMem)
      .add("l2Bytes", p.l2CacheSize)
      .add("driverCuda", version(driver))
      .add("runtimeCuda", version(runtime));
}

void run(const std::string& part, Device& device) {
  const auto wanted = [&](const char* name) { return part == "all" || part == name; };
  const Shape shape = device.quick ? kTiny : *find_shape("XL");
  if (wanted("products") || wanted("attention") || wanted("exits")) {
    Kernels kernels(device, shape);
    if (wanted("products")) kernels.products();
    if (wanted("attention")) {
      for (const uint32_t context : {128u, 512u, 1024u, 2048u, 4096u}) {
        if (device.quick && context > 128) break;
        kernels.attention(context);
      }
    }
    if (wanted("exits")) kernels.exits();
  }
  if (!wanted("decode")) return;
  if (device.quick) {
    decode(device, {kTiny, kTinyDense}, 4, 16);
  } else {
    decode(device, {shape, *find_shape("XL-dense"), *find_shape("XL-plain")}, 128, 64);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string part = argc > 1 ? argv[1] : "";
  const std::vector<std::string> parts = {"device", "products", "attention",
                                          "exits",  "decode",   "all"};
  if (std::find(parts.begin(), parts.end(), part) == parts.end()) {
    std::fprintf(stderr, "There is no part '%s'.\n", part.c_str());
    return 2;
  }
  bool quick = false;
  for (int i = 1; i < argc; i++) quick |= std::strcmp(argv[i], "--quick") == 0;
  const std::string file = json_file(argc, argv);
  const CudaState state = cuda::query();
  const CudaDevice* chosen = state.chosen();
  if (chosen == nullptr || part == "device") {
    const Row row =
        chosen != nullptr ? describe(chosen->ordinal) : Row().add("missing", state.reason);
    std::printf("%s\n", row.text().c_str());
    write_file(file, row.text() + "\n");
    return chosen != nullptr ? 0 : kNoDevice;
  }
  Report report(file, describe(chosen->ordinal));
  try {
    cuda::CudaBackend backend(chosen->ordinal);
    backend.enter([&] {
      Device device(backend, report, quick);
      run(part, device);
      device.measure_copy();
    });
    report.finish();
  } catch (const Failure& failure) {
    report.add("errors", Row().add("code", failure.code).add("message", failure.message));
    return 1;
  }
}
