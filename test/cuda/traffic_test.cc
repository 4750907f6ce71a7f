// What the kernels ask of memory, counted by the emulator: weights once, in whole sectors, the sums
// of chunks once; shared memory without conflicts but for those explained here; few launches.
#include "../../bench/native/shapes.h"
#include "both.h"
#include "model/model.h"

using namespace equality;

namespace {

struct Traffic {
  uint64_t weight_bytes = 0, sectors = 0, ideal_sectors = 0;  // of 16-byte reads of weights
  uint64_t sums_read = 0;                                     // bytes of chunks' sums
  uint64_t wavefronts = 0, ideal_wavefronts = 0;              // of shared memory
  // Of floats in attend.cu, which holds the merging of KV blocks and no more.
  uint64_t merging_written = 0, merging_read = 0;
  size_t launches = 0;
};

// Counts what `work` does on the device.
template <class Work>
Traffic count(const Work& work) {
  begin({"forward", int(simt::Order::forward), 1});
  simt::config().count = true;
  Traffic t;
  {
    cuda::CudaBackend backend(0);
    backend.enter([&] { work(static_cast<Backend&>(backend), [] { simt::reset_counters(); }); });
    for (const simt::LineCounters& line : simt::line_counters()) {
      if (line.shared) {
        t.wavefronts += line.moved;
        t.ideal_wavefronts += line.ideal;
        if (std::getenv("NVIUM_TEST_LINES") != nullptr && line.moved != line.ideal) {
          std::printf("    %s:%u %s %u bytes: %llu wavefronts, ideal %llu\n", line.at.file.c_str(),
                      line.at.line, line.access.c_str(), line.width, (unsigned long long)line.moved,
                      (unsigned long long)line.ideal);
        }
      } else if (line.width == 16 && line.access == "read") {
        (line.at.file.ends_with("project.cuh") ? t.sums_read : t.weight_bytes) += line.bytes;
        t.sectors += line.moved;
        t.ideal_sectors += line.ideal;
      } else if (line.width == 4 && line.at.file.ends_with("attend.cu")) {
        (line.access == "read" ? t.merging_read : t.merging_written) += line.bytes;
      }
    }
    t.launches = simt::launch_counters().size();
  }
  simt::config().count = false;
  CHECK(simt::take_reports().empty());
  return t;
}

Traffic project(MatrixType type, uint32_t rows, uint32_t cols, uint32_t width, bool norm) {
  return count([&](Backend& backend, const auto& start) {
    Random random(1);
    const Stored m = random_matrix(backend, random, type, width, cols);
    const Buffer input = on_device(backend, random.values(rows * cols));
    const Buffer weights = on_device(backend, random.values(cols));
    Buffer output(backend, rows * width * 4);
    start();
    backend.project({.matrix = &m.matrix,
                     .input = input.floats(),
                     .rows = rows,
                     .norm = norm ? weights.floats() : nullptr,
                     .epsilon = 1e-6f,
                     .output = output.floats(),
                     .width = width});
    read(backend, output);
  });
}

}  // namespace

TEST(weights_are_read_once_and_in_whole_sectors) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (const uint32_t rows : {1u, 2u, 4u, 8u, 12u, 16u}) {
      for (const uint32_t cols : {384u, 1000u}) {
        const Traffic t = project(type, rows, cols, 96, true);
        const Matrix stored{nullptr, 96, cols, type};
        const double ratio = double(t.weight_bytes) / double(stored.bytes());
        std::printf("    %s %u rows, %u columns: weights %.3f, sectors %.3f, wavefronts %.3f\n",
                    type == MatrixType::bf16  ? "bf16"
                    : type == MatrixType::f16 ? "f16"
                                              : "f32",
                    rows, cols, ratio, double(t.ideal_sectors) / double(t.sectors),
                    double(t.wavefronts) / double(t.ideal_wavefronts));
        CHECK_EQ(ratio, 1.0);
        CHECK_EQ(t.sums_read, uint64_t(ceil_div(cols, 128)) * rows * 96 * 4);
        CHECK_EQ(t.sectors, t.ideal_sectors);
        CHECK_EQ(t.wavefronts, t.ideal_wavefronts);
        CHECK_EQ(t.launches, 1u);
      }
    }
  }
}

TEST(one_launch_appends_and_attends) {
  const CacheShape shape{1, 8, 2, 64, CacheType::bf16};
  const uint32_t rows = 4;
  // With more KV blocks than the launch has blocks for, too.
  for (const uint32_t end : {154u, 2010u}) {
    const uint32_t block_count = ceil_div(end, kBlockPositions);
    const Traffic t = count([&](Backend& backend, const auto& start) {
      Buffer memory(backend, block_count * shape.block_bytes());
      backend.zero(memory.data(), memory.bytes());
      std::vector<std::byte*> blocks;
      for (uint32_t b = 0; b < block_count; b++) {
        blocks.push_back(memory.data() + b * shape.block_bytes());
      }
      const Buffer rotary = on_device(backend, rotary_table(end, 64));
      const Buffer qkv = on_device(backend, Random(2).values(rows * shape.qkv_width()));
      Buffer output(backend, rows * shape.query_width() * 4);
      start();
      const Span span{end - rows, end, 0, blocks.data()};
      backend.attend({shape, 0, {&span, 1}, qkv.floats(), rotary.floats(), output.floats()});
      read(backend, output);
    });
    // Keys and values of all positions for all rows and heads together: whole blocks, and the part
    // of the last that is filled. Partial outputs are written once and read once.
    const double least = 2.0 * 2 * 64 * 2 * end;
    const uint64_t output_bytes = uint64_t(rows) * shape.query_width() * 4;
    const uint64_t partial_bytes = block_count * output_bytes;
    std::printf(
        "    %u positions: keys and values %.3f, partial outputs %.3f of them, "
        "wavefronts %.3f\n",
        end, double(t.weight_bytes) / least, double(t.merging_read) / double(t.weight_bytes),
        double(t.wavefronts) / double(t.ideal_wavefronts));
    CHECK(double(t.weight_bytes) <= 1.05 * least);
    CHECK_EQ(t.sectors, t.ideal_sectors);
    CHECK_EQ(t.merging_read, partial_bytes);
    CHECK_EQ(t.merging_written, partial_bytes + output_bytes);
    CHECK_EQ(t.launches, 1u);
  }
}

TEST(a_router_is_three_launches_and_a_draw_one) {
  Random random(3);
  const Traffic routed = count([&](Backend& backend, const auto& start) {
    const Buffer vector = on_device(backend, random.values(256));
    const Stored fc1 = random_matrix(backend, random, MatrixType::bf16, 128, 256),
                 fc2 = random_matrix(backend, random, MatrixType::bf16, 256, 128),
                 head = random_matrix(backend, random, MatrixType::bf16, 2, 256);
    Router router;
    router.input_norm = router.norm = router.bias = vector.floats();
    router.blocks = {{fc1.matrix, vector.floats(), fc2.matrix, vector.floats()}};
    router.head = head.matrix;
    Buffer inner(backend, 128 * 4), outer(backend, 256 * 4);
    float logits[2];
    start();
    backend.route({&router, vector.floats(), 1, 1e-6f, inner.floats(), outer.floats(), logits});
  });
  CHECK_EQ(routed.launches, 3u);
  for (const uint32_t top_k : {0u, 5u}) {
    const Traffic drawn = count([&](Backend& backend, const auto& start) {
      const Stored head = random_matrix(backend, random, MatrixType::bf16, 500, 256);
      const Buffer input = on_device(backend, random.values(256));
      Buffer logits(backend, 500 * 4);
      const Draw draw{.top_k = top_k};
      uint32_t token;
      start();
      backend.draw({.matrix = &head.matrix,
                    .input = input.floats(),
                    .rows = 1,
                    .output = logits.floats(),
                    .width = 500},
                   {&draw, 1}, &token);
    });
    CHECK_EQ(drawn.launches, 1u);
  }
}

TEST(five_launches_a_layer) {
  constexpr bench::Shape kTiny{"tiny", 8, 64, 96, 4, 16, 300, true};
  for (const uint32_t rows : {1u, 16u}) {
    const Traffic t = count([&](Backend& backend, const auto& start) {
      bench::GeneratedSource source;
      Model model(backend, bench::make_plan(kTiny), source, Control());
      const uint32_t fresh[] = {0};
      Sequence sequence;
      sequence.cache.block = {0};
      model.reserve(sequence, fresh, kBlockPositions);
      std::vector<std::byte*> blocks;
      model.add_blocks(sequence, blocks);
      const std::vector<uint32_t> tokens(rows, 7);
      const Span span{0, rows, 0, blocks.data()};
      start();
      model.embed(tokens);
      model.run_segment(0, {&span, 1}, rows);
    });
    CHECK_EQ(t.launches, 1u + 5 * 2);
  }
}

// The norm, its adapter's two products and the draw, be it by top-k.
TEST(a_head_is_four_launches) {
  constexpr bench::Shape kTiny{"tiny", 8, 64, 96, 4, 16, 300, true};
  for (const uint32_t top_k : {0u, 5u}) {
    for (const uint32_t rows : {1u, 16u}) {
      const Traffic t = count([&](Backend& backend, const auto& start) {
        bench::GeneratedSource source;
        Model model(backend, bench::make_plan(kTiny), source, Control());
        model.reserve_exits(rows, rows);
        const std::vector<float> hidden = Random(4).values(rows * kTiny.hidden);
        backend.write(model.exit_row(0), hidden.data(), hidden.size() * sizeof(float));
        std::vector<Leaving> leaving;
        for (uint32_t r = 0; r < rows; r++) {
          leaving.push_back({.exit = 0, .row = r, .draw = {.top_k = top_k}, .owner = r});
        }
        start();
        model.emit(leaving);
      });
      CHECK_EQ(t.launches, 4u);
    }
  }
}
