// Speed on a real GPU: every product against a measured copy of device memory, attention, and whole
// decoding of the 1.5 B shape beside its dense twin. Each figure is printed and written as it
// comes.
//
//   gpu_bench [--json file] [--quick]
#include <chrono>
#include <cstring>

#include "../../bench/native/json.h"
#include "../../bench/native/shapes.h"
#include "../../cuda/cuda_backend.h"
#include "error.h"
#include "model/step.h"
#include "values.h"

using namespace equality;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Report {
 public:
  explicit Report(std::string file) : file_(std::move(file)) {}

  void add(const std::string& name, double value, const char* unit) {
    std::printf("%-44s %12.3f %s\n", name.c_str(), value, unit);
    std::fflush(stdout);
    char line[200];
    std::snprintf(line, sizeof line, "  {\"name\": \"%s\", \"value\": %.9g, \"unit\": \"%s\"}",
                  name.c_str(), value, unit);
    text_ += (text_.empty() ? "" : ",\n") + std::string(line);
    if (file_.empty()) return;
    std::FILE* out = std::fopen(file_.c_str(), "w");
    if (out == nullptr) return;
    std::fprintf(out, "[\n%s\n]\n", text_.c_str());
    std::fclose(out);
  }

 private:
  std::string file_, text_;
};

struct Bench {
  cuda::CudaBackend& backend;
  Report& report;
  bool quick;
  double copy_rate = 0;
  Buffer flag;

  // Seconds of `work`, until the device is done with it.
  template <class Work>
  double seconds(const Work& work) {
    uint32_t word;
    backend.read(&word, flag.data(), 4);
    const double begin = now();
    work();
    backend.read(&word, flag.data(), 4);
    return now() - begin;
  }

  void copies() {
    const size_t bytes = size_t(quick ? 8 : 1024) << 20;
    Buffer from(backend, bytes), to(backend, bytes);
    backend.zero(from.data(), bytes);
    std::vector<double> rates;
    for (int i = 0; i < 7; i++) {
      rates.push_back(2 * double(bytes) /
                      seconds([&] { backend.copy(to.data(), from.data(), bytes); }));
    }
    copy_rate = median(rates);
    report.add("copy of device memory", copy_rate / 1e9, "GB/s");
  }

  // A matrix of which there are so many that none is in a cache when its turn comes.
  void product(const char* name, uint32_t rows, uint32_t cols, Activation activation) {
    Matrix m{nullptr, rows, cols, DType::bf16};
    const size_t pool = quick ? m.bytes() : size_t(512) << 20;
    const uint32_t count = uint32_t(std::max<size_t>(1, pool / m.bytes()));
    Buffer tiles(backend, count * m.bytes());
    backend.zero(tiles.data(), tiles.bytes());
    const uint32_t width = activation == Activation::swiglu ? rows / 2 : rows;
    Buffer input(backend, 16 * cols * 4), norm(backend, cols * 4), output(backend, 16 * width * 4);
    for (const Buffer* b : {&input, &norm, &output}) backend.zero(b->data(), b->bytes());
    for (const uint32_t k : {1u, 2u, 4u, 8u, 16u}) {
      std::vector<double> times;
      for (int round = 0; round < 7; round++) {
        times.push_back(seconds([&] {
          for (uint32_t i = 0; i < count; i++) {
            m.tiles = tiles.data() + i * m.bytes();
            backend.project({.matrix = &m,
                             .input = input.floats(),
                             .rows = k,
                             .norm = norm.floats(),
                             .epsilon = 1e-6f,
                             .activation = activation,
                             .output = output.floats(),
                             .width = width});
          }
        }));
      }
      const double rate = double(count) * double(m.bytes()) / median(times);
      const std::string what = std::string(name) + ", " + std::to_string(k) + " rows";
      report.add(what, rate / 1e9, "GB/s");
      report.add(what + ", of the copy", rate / copy_rate, "");
    }
  }

  void attention(uint32_t context) {
    const CacheShape shape{48, 12, 12, 128, DType::bf16};
    const uint32_t count = ceil_div(context + 16, kBlockPositions);
    Buffer memory(backend, count * shape.block_bytes());
    backend.zero(memory.data(), memory.bytes());
    std::vector<std::byte*> blocks;
    for (uint32_t b = 0; b < count; b++) blocks.push_back(memory.data() + b * shape.block_bytes());
    const Buffer rotary = on_device(backend, rotary_table(count * kBlockPositions, 128));
    Buffer qkv(backend, 16 * shape.qkv_width() * 4), output(backend, 16 * shape.query_width() * 4);
    backend.zero(qkv.data(), qkv.bytes());
    for (const uint32_t k : {1u, 4u, 16u}) {
      std::vector<double> times;
      const Span span{context, context + k, 0, blocks.data()};
      for (int round = 0; round < 5; round++) {
        times.push_back(seconds([&] {
          for (uint32_t layer = 0; layer < shape.layers; layer++) {
            backend.attend(
                {shape, layer, {&span, 1}, qkv.floats(), rotary.floats(), output.floats()});
          }
        }));
      }
      report.add("attention at " + std::to_string(context) + ", " + std::to_string(k) + " rows",
                 median(times) / shape.layers * 1e6, "us a layer");
    }
  }

  void decode(const bench::Shape& shape, uint32_t tokens) {
    bench::GeneratedSource source;
    const double begin = now();
    Model model(backend, bench::make_plan(shape), source, Control());
    report.add(std::string(shape.name) + ", loading", now() - begin, "s");
    const Plan& plan = model.plan();
    constexpr uint32_t kBlocks = 8;
    std::vector<uint32_t> fresh;
    for (uint32_t b = 0; b < kBlocks; b++) fresh.push_back(b);
    model.reserve(kBlocks, kBlocks * plan.segments(), fresh, kBlocks * kBlockPositions);
    Sequence s;
    s.frontiers.assign(plan.segments(), 0);
    for (uint32_t b = 0; b < kBlocks; b++) s.cache.block.push_back(int32_t(b));
    s.cache.spare.assign(kBlocks, kNoBlock);
    for (uint32_t m = 0; m + 1 < plan.segments(); m++) {
      BlockTable table = s.cache;
      for (int32_t& block : table.block) block += int32_t(m * kBlocks);
      s.boundary.push_back(table);
    }
    s.length = quick ? 3 : 128;
    for (uint32_t i = 0; i < s.length; i++) s.tokens.push_back(i * 7919 % shape.vocab);
    s.generated.assign(s.length, 0);
    const double prompt = seconds([&] { flush(model, {&s, 1}, Control()); });
    report.add(std::string(shape.name) + ", a prompt of " + std::to_string(s.length), prompt, "s");
    const StepOptions options;
    const auto one = [&] {
      StepResult result;
      step(model, {&s, 1}, {&options, 1}, Control(), {&result, 1});
    };
    for (uint32_t i = 0; i < tokens / 8; i++) one();
    const uint64_t bytes = model.work().weight_bytes, passes = model.work().layer_passes;
    const double time = seconds([&] {
      for (uint32_t i = 0; i < tokens; i++) one();
    });
    const std::string name = shape.name;
    report.add(name + ", decoding", tokens / time, "tokens/s");
    report.add(name + ", weights", double(model.work().weight_bytes - bytes) / time / 1e9, "GB/s");
    report.add(name + ", layers run", double(model.work().layer_passes - passes) / tokens,
               "a token");
  }
};

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  for (int i = 1; i < argc; i++) quick |= std::strcmp(argv[i], "--quick") == 0;
  Report report(bench::json_file(argc, argv));
  try {
    cuda::CudaBackend backend(0);
    std::printf("%s\n", backend.name().c_str());
    backend.enter([&] {
      Bench bench{backend, report, quick, 0, Buffer(backend, 4)};
      backend.zero(bench.flag.data(), 4);
      bench.copies();
      if (quick) {
        constexpr bench::Shape kTiny{"tiny", 4, 64, 96, 4, 16, 300, true};
        bench.product("o", 64, 64, Activation::none);
        bench.decode(kTiny, 8);
        return;
      }
      bench.product("qkv", 4608, 1536, Activation::none);
      bench.product("o", 1536, 1536, Activation::none);
      bench.product("gate and up", 8192, 1536, Activation::swiglu);
      bench.product("down", 1536, 4096, Activation::none);
      bench.product("head", 32000, 1536, Activation::none);
      bench.attention(512);
      bench.attention(2048);
      bench.decode(*bench::find_shape("XL-dense"), 200);
      bench.decode(*bench::find_shape("XL"), 200);
    });
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s: %s\n", failure.code.c_str(), failure.message.c_str());
    return 1;
  }
}
