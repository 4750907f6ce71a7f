// The shapes of real models on the device: each operation against the CPU, and many times against
// itself, for a race that loses once in fifty times is found by nothing else.
//
// NVIUM_TEST_REPEATS: how often each is run again (100; on the emulator 1). On the emulator
// everything is over the smallest of the bench's shapes, one layer.
#include "../../bench/native/shapes.h"

#include "both.h"

using namespace equality;

namespace {

#if defined(NVIUM_SIMT)
constexpr const char* kShape = "S";
constexpr int kRepeats = 1;
constexpr uint32_t kVocab = 2000;
constexpr uint32_t kContexts[] = {150};
#else
constexpr const char* kShape = "XL";
constexpr int kRepeats = 100;
constexpr uint32_t kVocab = 32000;
constexpr uint32_t kContexts[] = {160, 2000};
#endif
constexpr uint32_t kRows[] = {1, 2, 4, 8, 16, 23};

int repeats() {
  const char* text = std::getenv("NVIUM_TEST_REPEATS");
  return text != nullptr ? std::atoi(text) : kRepeats;
}

// Numbers for operands: the same few at every place, which costs little to make. 61 of them are
// prime to every width.
std::vector<float> numbers(size_t count, uint32_t seed) {
  const std::vector<float> few = Random(seed).values(61);
  std::vector<float> all(count);
  for (size_t i = 0; i < count; i++) all[i] = few[i % few.size()] + float(i % 4093) * 0x1p-14f;
  return all;
}

Stored matrix(Backend& backend, uint32_t rows, uint32_t cols) {
  Stored s;
  s.matrix = {nullptr, rows, cols, MatrixType::bf16};
  const size_t count = s.matrix.bytes() / 2;
  const std::vector<float> values = numbers(count, 3);
  std::vector<uint16_t> halves(count);
  for (size_t i = 0; i < count; i++) halves[i] = numerics::bf16_from_float(values[i]);
  s.tiles = on_device(backend, halves);
  s.matrix.tiles = s.tiles.data();
  return s;
}

// compute(backend, again) makes operands and calls again(run, result): run() computes, and result()
// tells the bytes. On the device that is repeated, and each time must be the first's equal.
template <class Compute>
void same_every_time(const std::string& what, const Compute& compute) {
  const int times = repeats();
  same_on_both(what, [&](Backend& backend) {
    Bytes first;
    compute(backend, [&](const auto& run, const auto& result) {
      run();
      first = result();
      if (dynamic_cast<cuda::CudaBackend*>(&backend) == nullptr) return;
      int others = 0;
      for (int i = 0; i < times; i++) {
        run();
        others += result() != first;
      }
      if (others != 0) {
        testing::fail(what.c_str(), 0,
                      std::to_string(others) + " of " + std::to_string(times) +
                          " repetitions differ from the first");
      }
    });
    return first;
  });
}

void product(const char* name, Projection p, uint32_t matrix_rows, uint32_t cols, bool norm,
             bool residual) {
  for (const uint32_t rows : kRows) {
    const std::string what = std::string(name) + ", " + std::to_string(rows) + " rows";
    same_every_time(what, [&](Backend& backend, const auto& again) {
      const Stored m = matrix(backend, matrix_rows, cols);
      const Buffer input = on_device(backend, numbers(size_t(rows) * cols, 5));
      const Buffer weights = on_device(backend, numbers(cols, 7));
      const Buffer rest = on_device(backend, numbers(size_t(rows) * p.width, 9));
      Buffer output(backend, rest.bytes());
      p.matrix = &m.matrix;
      p.input = input.floats();
      p.rows = rows;
      p.norm = norm ? weights.floats() : nullptr;
      p.epsilon = 1e-6f;
      p.residual = residual ? output.floats() : nullptr;
      p.output = output.floats();
      again(
          [&] {
            backend.copy(output.data(), rest.data(), rest.bytes());
            backend.project(p);
          },
          [&] { return read(backend, output); });
    });
  }
}

const bench::Shape kModel = *bench::find_shape(kShape);

}  // namespace

TEST(products_of_a_layer) {
  const uint32_t d = kModel.hidden, width = kModel.heads * kModel.head_dim;
  product("qkv", {.width = 3 * width}, 3 * width, d, true, false);
  product("output", {.width = d}, d, width, false, true);
  product("gate and up", {.activation = Activation::swiglu, .width = kModel.ffn}, 2 * kModel.ffn, d,
          true, false);
  product("down", {.width = d}, d, kModel.ffn, false, true);
}

TEST(attention_of_a_layer) {
  const CacheShape shape{1, kModel.heads, kModel.heads, kModel.head_dim, CacheType::bf16};
  for (const uint32_t context : kContexts) {
    for (const uint32_t rows : kRows) {
      const std::string what =
          "context " + std::to_string(context) + ", " + std::to_string(rows) + " rows";
      same_every_time(what, [&](Backend& backend, const auto& again) {
        const uint32_t count = ceil_div(context + rows, kBlockPositions);
        std::vector<uint16_t> cache(count * shape.block_bytes() / 2);
        const std::vector<float> values = numbers(cache.size(), 11);
        for (size_t i = 0; i < cache.size(); i++) cache[i] = numerics::bf16_from_float(values[i]);
        const Buffer memory = on_device(backend, cache);
        std::vector<std::byte*> blocks;
        for (uint32_t b = 0; b < count; b++) {
          blocks.push_back(memory.data() + b * shape.block_bytes());
        }
        const Buffer rotary = on_device(backend, rotary_table(context + rows, shape.head_dim));
        const Buffer qkv = on_device(backend, numbers(size_t(rows) * shape.qkv_width(), 13));
        Buffer output(backend, size_t(rows) * shape.query_width() * 4);
        const Span span{context, context + rows, 0, blocks.data()};
        again(
            [&] {
              backend.attend(
                  {shape, 0, {&span, 1}, qkv.floats(), rotary.floats(), output.floats()});
            },
            [&] { return read(backend, output); });
      });
    }
  }
}

TEST(draws_from_a_whole_vocabulary) {
  for (const uint32_t rows : {1u, 16u}) {
    for (const uint32_t top_k : {0u, 40u}) {
      const std::string what =
          "head, " + std::to_string(rows) + " rows, top " + std::to_string(top_k);
      same_every_time(what, [&](Backend& backend, const auto& again) {
        const Stored head = matrix(backend, kVocab, kModel.hidden);
        const Buffer input = on_device(backend, numbers(size_t(rows) * kModel.hidden, 5));
        const Buffer norm = on_device(backend, numbers(kModel.hidden, 7));
        Buffer logits(backend, size_t(rows) * kVocab * 4);
        std::vector<Draw> draws(rows);
        for (uint32_t r = 0; r < rows; r++) draws[r] = {1, top_k, 7, r, 9};
        std::vector<uint32_t> tokens(rows);
        again(
            [&] {
              backend.draw({.matrix = &head.matrix,
                            .input = input.floats(),
                            .rows = rows,
                            .norm = norm.floats(),
                            .epsilon = 1e-6f,
                            .output = logits.floats(),
                            .width = kVocab},
                           draws, tokens.data());
            },
            [&] {
              Bytes bytes;
              append(bytes, tokens.data(), tokens.size() * 4);
              return bytes;
            });
      });
    }
  }
}
