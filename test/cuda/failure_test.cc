// A device that refuses a call, on the emulator: what the backend's memory holds afterwards.
#include "both.h"

using namespace equality;

namespace {

// Calls work(backend) with a backend of its own, inside enter().
template <class Work>
void on_emulator(const char* what, const Schedule& schedule, const Work& work) {
  begin(schedule);
  {
    cuda::CudaBackend backend(0);
    work(backend);
  }
  end(schedule, what);
}

// The code of the failure that `job` ends with, or nothing.
template <class Job>
std::string failure_of(const Job& job) {
  try {
    job();
  } catch (const Failure& failure) {
    return failure.code;
  }
  return "";
}

}  // namespace

// More than the buffer of uploads holds: it grows, and either of its halves is refused.
TEST(an_upload_that_found_no_memory_succeeds_when_there_is_some) {
  const CacheShape shape{1, 1, 1, 32, CacheType::f32};  // without padding, which erase leaves
  for (const uint64_t refused : {0, 1}) {
    on_emulator("upload", schedules(false).front(), [&](Backend& backend) {
      backend.enter([&] {
        const Buffer memory = on_device(backend, std::vector<float>(shape.block_bytes() / 4, 1.0f));
        const std::vector<std::byte*> blocks(200'000, memory.data());
        const uint32_t end = uint32_t(blocks.size()) * kBlockPositions;
        const Span long_span{end - kBlockPositions, end, 0, blocks.data()};
        simt::fail_after(simt::Failing::allocation, refused);
        CHECK_EQ(failure_of([&] { backend.erase(shape, long_span, 0, 1); }),
                 std::string("ERR_NVIUM_OUT_OF_MEMORY"));
        CHECK(simt::failed());
        // A short one first: it must not take what is left of the two halves.
        backend.erase(shape, {0, 1, 0, blocks.data()}, 0, 1);
        backend.erase(shape, long_span, 0, 1);
        CHECK(read(backend, memory) == Bytes(memory.bytes()));
      });
    });
  }
}

// Tokens drawn by a launch before the one that is refused arrive where the next job's flag is.
TEST(a_job_after_one_that_failed_sees_nothing_of_it) {
  const uint32_t vocab = 70, cols = 40, rows = 2 * cuda::kPassRows;
  for (const Schedule& schedule : schedules(true)) {
    uint32_t failures = 0;
    for (uint64_t after = 0;; after++) {
      bool failed = false;
      on_emulator("results", schedule, [&](Backend& backend) {
        Random random(7);
        Stored head;
        Buffer input, logits, ones;
        backend.enter([&] {
          head = random_matrix(backend, random, MatrixType::bf16, vocab, cols);
          input = on_device(backend, random.values(size_t(rows) * cols));
          logits = Buffer(backend, size_t(rows) * vocab * 4);
          ones = on_device(backend, std::vector<float>(10, 1.0f));
        });
        const std::vector<Draw> draws(rows, Draw{.temperature = 1.0f, .seed = 5});
        std::vector<uint32_t> tokens(rows);
        simt::fail_after(simt::Failing::launch, after);
        const std::string code = failure_of([&] {
          backend.enter([&] {
            backend.draw({.matrix = &head.matrix,
                          .input = input.floats(),
                          .rows = rows,
                          .output = logits.floats(),
                          .width = vocab},
                         draws, tokens.data());
          });
        });
        failed = simt::failed();
        CHECK_EQ(code, std::string(failed ? "ERR_NVIUM_CUDA" : ""));
        backend.enter([&] { CHECK(backend.finite(ones.floats(), 10)); });
      });
      if (!failed) break;
      failures++;
    }
    CHECK(failures >= 2);
  }
}
