// Every operation of the CUDA backend against the CPU backend's portable kernels, bit for bit, over
// ragged shapes.
#include <array>

#include "both.h"

using namespace equality;

namespace {

const char* name_of(MatrixType type) {
  return type == MatrixType::bf16 ? "bf16" : type == MatrixType::f16 ? "f16" : "f32";
}

struct Shape {
  MatrixType type;
  uint32_t rows, cols, width;
  bool norm, normed, bias, residual;
  Activation activation;

  std::string text() const {
    return std::string(name_of(type)) + " " + std::to_string(rows) + " rows, " +
           std::to_string(cols) + " to " + std::to_string(width) + (norm ? ", norm" : "") +
           (normed ? ", normed" : "") + (bias ? ", bias" : "") + (residual ? ", residual" : "") +
           ", activation " + std::to_string(int(activation));
  }
};

Bytes project(Backend& backend, const Shape& s, uint32_t seed) {
  Random random(seed);
  const bool paired = s.activation == Activation::swiglu;
  const Stored m = random_matrix(backend, random, s.type,
                                 paired ? 2 * ceil_div(s.width, 32) * 32 : s.width, s.cols);
  const Buffer input = on_device(backend, random.values(size_t(s.rows) * s.cols));
  const Buffer norm = on_device(backend, random.values(s.cols));
  const Buffer bias = on_device(backend, random.values(s.width));
  // In place, as a layer does it.
  const Buffer output = on_device(backend, random.values(size_t(s.rows) * s.width));
  Buffer normed(backend, s.normed ? input.bytes() : 0);
  backend.project({.matrix = &m.matrix,
                   .input = input.floats(),
                   .rows = s.rows,
                   .norm = s.norm ? norm.floats() : nullptr,
                   .epsilon = 1e-6f,
                   .normed = normed.floats(),
                   .bias = s.bias ? bias.floats() : nullptr,
                   .residual = s.residual ? output.floats() : nullptr,
                   .activation = s.activation,
                   .output = output.floats(),
                   .width = s.width});
  Bytes result = read(backend, output);
  append(result, read(backend, normed));
  return result;
}

void compare(const Shape& shape, uint32_t seed, bool all = false) {
  same_on_both(
      shape.text(), [&](Backend& b) { return project(b, shape, seed); }, all);
}

}  // namespace

TEST(projections_of_every_row_count) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    Random random(11);
    for (uint32_t rows = 1; rows <= 17; rows++) {
      const bool norm = random.coin();
      compare({type, rows, random.between(1, 300), random.between(1, 70), norm,
               norm && random.coin(), random.coin(), random.coin(), Activation(random.below(4))},
              rows);
    }
  }
}

TEST(projections_with_all_that_surrounds_them) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (int activation = 0; activation < 4; activation++) {
      compare({type, 3, 260, 40, true, true, true, true, Activation(activation)}, 5, true);
    }
  }
}

TEST(more_rows_than_a_pass) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    compare({type, 33, 150, 40, true, true, false, true, Activation::none}, 7);
  }
}

TEST(more_chunks_than_a_block_has_slots) {
  compare({MatrixType::bf16, 2, 4500, 33, false, false, true, false, Activation::silu}, 3);
  compare({MatrixType::bf16, 16, 2000, 33, true, false, false, false, Activation::swiglu}, 3);
  compare({MatrixType::f32, 16, 1300, 65, true, false, false, true, Activation::none}, 3);
  compare({MatrixType::f16, 9, 1700, 40, false, false, false, false, Activation::gelu}, 3);
}

TEST(one_column_and_one_output) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (const uint32_t cols : {1u, 2u, 127u, 128u, 129u, 256u}) {
      compare({type, 1, cols, 1, true, true, true, true, Activation::none}, cols);
    }
  }
}

// Subnormal operands and results are zeros everywhere. All of these products and sums are exact, so
// that it cannot matter when a device decides that a result is too small.
TEST(values_around_the_smallest_normal_number) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f32}) {
    same_on_both(std::string("small ") + name_of(type), [&](Backend& b) {
      const uint32_t cols = 64, width = 40;
      Random random(13);
      std::vector<float> input(cols * 3);
      for (float& v : input) {
        const float sizes[] = {0x1p-126f, 0x1p-125f, 0x1.8p-126f, 0x1p-127f, 0x1p-149f, 0x1p-120f};
        v = sizes[random.below(6)] * (random.coin() ? 1.0f : -1.0f);
      }
      Matrix m{nullptr, width, cols, type};
      Bytes tiles(m.bytes());
      for (uint32_t r = 0; r < width; r++) {
        // One element a row, so that a dot is one product.
        const float weights[] = {1.0f, 0.5f, -1.0f, 2.0f, -0.25f};
        const float w = weights[random.below(5)];
        std::byte* at = tiles.data() + r / kTileRows * m.tile_bytes();
        const size_t index = tile_index(type, r % kTileRows, random.below(cols));
        if (type == MatrixType::f32) {
          reinterpret_cast<float*>(at)[index] = w;
        } else {
          reinterpret_cast<uint16_t*>(at)[index] = numerics::bf16_from_float(w);
        }
      }
      const Buffer on = on_device(b, tiles), x = on_device(b, input);
      m.tiles = on.data();
      Buffer output(b, 3 * width * 4);
      b.project({.matrix = &m,
                 .input = x.floats(),
                 .rows = 3,
                 .output = output.floats(),
                 .width = width});
      return read(b, output);
    });
  }
}

namespace {

struct Sizes {
  CacheShape shape;
  // (positions there already, rows) of each sequence.
  std::vector<std::pair<uint32_t, uint32_t>> spans;
};

// Sequences get their first positions span by span, then all of them one more call together.
Bytes attend(Backend& backend, const Sizes& sizes, uint32_t seed) {
  Random random(seed);
  const CacheShape& shape = sizes.shape;
  uint32_t longest = 0, most = 0, rows = 0;
  for (const auto& [before, count] : sizes.spans) {
    longest = std::max(longest, before + count);
    most = std::max({most, before, count});
    rows += count;
  }
  const Buffer rotary = on_device(backend, rotary_table(longest, shape.head_dim));
  std::vector<Buffer> memory;
  std::vector<std::vector<std::byte*>> blocks;
  for (const auto& [before, count] : sizes.spans) {
    const uint32_t needed = ceil_div(before + count, kBlockPositions);
    memory.emplace_back(backend, needed * shape.block_bytes());
    backend.zero(memory.back().data(), memory.back().bytes());
    blocks.emplace_back();
    for (uint32_t b = 0; b < needed; b++) {
      // In reverse: a table's order is not memory's.
      blocks.back().push_back(memory.back().data() + (needed - 1 - b) * shape.block_bytes());
    }
  }
  Buffer output(backend, size_t(std::max(rows, most)) * shape.query_width() * sizeof(float));
  const uint32_t layer = shape.layers - 1;
  Bytes result;
  const auto run = [&](const std::vector<Span>& spans, uint32_t count) {
    const Buffer qkv = on_device(backend, random.values(size_t(count) * shape.qkv_width()));
    backend.attend({shape, layer, spans, qkv.floats(), rotary.floats(), output.floats()});
    Bytes found(size_t(count) * shape.query_width() * sizeof(float));
    backend.read(found.data(), output.data(), found.size());
    append(result, found);
  };
  for (size_t i = 0; i < sizes.spans.size(); i++) {
    const uint32_t before = sizes.spans[i].first;
    if (before != 0) run({{0, before, 0, blocks[i].data()}}, before);
  }
  std::vector<Span> spans;
  uint32_t first = 0;
  for (size_t i = 0; i < sizes.spans.size(); i++) {
    const auto [before, count] = sizes.spans[i];
    spans.push_back({before, before + count, first, blocks[i].data()});
    first += count;
  }
  run(spans, rows);
  for (size_t i = 0; i < memory.size(); i++) append(result, read(backend, memory[i]));
  // A failed job leaves zeros.
  const auto [before, count] = sizes.spans.back();
  if (shape.layers > 1) {
    backend.erase(shape, {before, before + count, 0, blocks.back().data()}, 1, shape.layers);
  } else {
    backend.erase(shape, {before, before + count, 0, blocks.back().data()}, 0, 1);
  }
  append(result, read(backend, memory.back()));
  return result;
}

void compare(const char* what, const Sizes& sizes, bool all = false) {
  same_on_both(
      what, [&](Backend& b) { return attend(b, sizes, 21); }, all);
}

}  // namespace

TEST(attention_over_spans_of_several_sequences) {
  compare("f32, 24", {{2, 4, 2, 24, CacheType::f32}, {{0, 5}, {63, 2}, {70, 1}, {130, 3}}}, true);
  compare("bf16, 32", {{1, 6, 3, 32, CacheType::bf16}, {{0, 1}, {64, 1}, {0, 16}, {10, 7}}}, true);
  compare("bf16, 6", {{2, 2, 1, 6, CacheType::bf16}, {{3, 2}, {61, 9}}});
}

TEST(attention_of_more_pairs_than_a_block_holds) {
  compare("bf16, 16", {{1, 40, 1, 16, CacheType::bf16}, {{0, 9}, {3, 1}}});
  compare("f32, 128", {{1, 2, 1, 128, CacheType::f32}, {{0, 70}, {66, 40}}});
}

namespace {

// Rows behind caches that are long already: of made-up keys and values, which `attend` would take
// too long to make.
Bytes attend_far(Backend& backend, const Sizes& sizes, uint32_t seed) {
  Random random(seed);
  const CacheShape& shape = sizes.shape;
  std::vector<Buffer> memory;
  std::vector<std::vector<std::byte*>> blocks;
  std::vector<Span> spans;
  uint32_t longest = 0, rows = 0;
  for (const auto& [before, count] : sizes.spans) {
    const uint32_t end = before + count, needed = ceil_div(end, kBlockPositions);
    Bytes bytes(needed * shape.block_bytes());
    for (size_t i = 0; i < bytes.size(); i += bytes_of(shape.type)) {
      const uint32_t value = shape.type == CacheType::bf16 ? random.half(MatrixType::bf16)
                                                           : numerics::bits(random.value());
      std::memcpy(&bytes[i], &value, bytes_of(shape.type));
    }
    memory.push_back(on_device(backend, bytes));
    blocks.emplace_back();
    for (uint32_t b = 0; b < needed; b++) {
      blocks.back().push_back(memory.back().data() + b * shape.block_bytes());
    }
    spans.push_back({before, end, rows, blocks.back().data()});
    longest = std::max(longest, end);
    rows += count;
  }
  const Buffer rotary = on_device(backend, rotary_table(longest, shape.head_dim));
  Buffer output(backend, size_t(rows) * shape.query_width() * sizeof(float));
  Bytes result;
  for (uint32_t layer = 0; layer < shape.layers; layer++) {
    std::vector<float> values = random.values(size_t(rows) * shape.qkv_width());
    // Large, so that maxima rise and fall from one KV block to the next.
    for (float& v : values) v *= 16;
    const Buffer qkv = on_device(backend, values);
    backend.attend({shape, layer, spans, qkv.floats(), rotary.floats(), output.floats()});
    append(result, read(backend, output));
  }
  for (const Buffer& m : memory) append(result, read(backend, m));
  return result;
}

}  // namespace

// More KV blocks than one warp has lanes, and than a launch has blocks for; several rows that reach
// different ones; a call with fewer after a call with more.
TEST(attention_far_into_a_context) {
  same_on_both(
      "f32, 8",
      [](Backend& b) {
        Bytes bytes =
            attend_far(b, {{2, 4, 2, 8, CacheType::f32}, {{2109, 5}, {70, 1}, {700, 9}}}, 3);
        append(bytes, attend_far(b, {{1, 1, 1, 8, CacheType::f32}, {{200, 1}}}, 4));
        append(bytes, attend_far(b, {{1, 1, 1, 8, CacheType::f32}, {{4157, 70}}}, 5));
        return bytes;
      },
      true);
  same_on_both("bf16, 40", [](Backend& b) {
    return attend_far(b, {{1, 2, 1, 40, CacheType::bf16}, {{2047, 2}, {640, 64}, {5, 1}}}, 6);
  });
}

TEST(attention_keeps_to_its_scratch_memory) {
  cuda::AttendJob job{.shape = {48, 12, 12, 128, CacheType::bf16}};
  size_t least = SIZE_MAX, most = 0;
  for (const uint32_t spans : {1, 4, 64}) {
    for (const uint32_t rows : {1, 16, 128}) {
      for (const uint32_t blocks : {1, 64, 2048}) {
        job.span_count = spans, job.most_rows = rows, job.most_blocks = blocks;
        const size_t bytes = cuda::attend_scratch(job);
        least = std::min(least, bytes), most = std::max(most, bytes);
      }
    }
  }
  CHECK_EQ(least, 0u);
  CHECK(most > 0 && most <= cuda::kMostAttendScratch);
}

TEST(attention_with_wide_heads) {
  compare("f32, 160", {{1, 2, 2, 160, CacheType::f32}, {{5, 2}, {64, 2}}});
  compare("bf16, 264", {{1, 2, 1, 264, CacheType::bf16}, {{5, 2}, {65, 1}}});
}

namespace {

Bytes route(Backend& backend, MatrixType type, MatrixType head_type, uint32_t rows,
            uint32_t block_count, uint32_t seed) {
  Random random(seed);
  const uint32_t hidden = 70, inner = 40, outer = 150;
  std::vector<Stored> kept;
  std::vector<Buffer> vectors;
  const auto vector = [&](uint32_t n) {
    vectors.push_back(on_device(backend, random.values(n)));
    return vectors.back().floats();
  };
  const auto matrix = [&](MatrixType t, uint32_t r, uint32_t c) {
    kept.push_back(random_matrix(backend, random, t, r, c));
    return kept.back().matrix;
  };
  Router router;
  router.input_norm = vector(hidden);
  for (uint32_t b = 0; b < block_count; b++) {
    router.blocks.push_back({matrix(type, inner, b == 0 ? hidden : outer), vector(inner),
                             matrix(type, outer, inner), vector(outer)});
  }
  router.norm = vector(outer);
  router.head = matrix(head_type, 2, outer);
  router.bias = vector(2);
  const Buffer input = on_device(backend, random.values(rows * hidden));
  Buffer in(backend, rows * inner * 4), out(backend, rows * outer * 4);
  std::vector<float> logits(2 * rows);
  Bytes result;
  // Again with other rows: tickets are zero again, and results are not the last ones.
  for (int again = 0; again < 2; again++) {
    const std::vector<float> values = random.values(rows * hidden);
    backend.write(input.data(), values.data(), input.bytes());
    backend.route({&router, input.floats(), rows, 1e-5f, in.floats(), out.floats(), logits.data()});
    append(result, logits.data(), logits.size() * 4);
  }
  return result;
}

}  // namespace

TEST(routers) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (const uint32_t rows : {1u, 3u, 16u, 20u}) {
      same_on_both(
          std::string("router ") + name_of(type) + " " + std::to_string(rows),
          [&](Backend& b) { return route(b, type, type, rows, 1, rows); }, rows == 3);
    }
  }
  same_on_both("router of two blocks",
               [](Backend& b) { return route(b, MatrixType::bf16, MatrixType::bf16, 2, 2, 9); });
  same_on_both("router with another head",
               [](Backend& b) { return route(b, MatrixType::bf16, MatrixType::f32, 2, 1, 9); });
}

namespace {

Bytes draw(Backend& backend, MatrixType type, uint32_t rows, uint32_t vocab, uint32_t seed,
           bool ties = false, bool spoil = false) {
  Random random(seed);
  const uint32_t cols = 24;
  Stored head = random_matrix(backend, random, type, vocab, cols);
  if (ties) backend.zero(head.tiles.data(), head.tiles.bytes());
  std::vector<float> values = random.values(rows * cols);
  if (spoil) values[(rows - 1) * cols] = 3e38f, values[(rows - 1) * cols + 1] = 3e38f;
  const Buffer input = on_device(backend, values);
  const Buffer norm = on_device(backend, random.values(cols));
  Buffer logits(backend, size_t(rows) * vocab * 4);
  Bytes result;
  for (int again = 0; again < 3; again++) {
    std::vector<Draw> draws;
    for (uint32_t r = 0; r < rows; r++) {
      const float temperature = again == 2 || ties ? 0.0f : 0.25f * float(random.between(1, 4));
      const uint32_t k = again == 1 && random.coin() ? random.between(1, vocab + 2) : 0;
      draws.push_back({temperature, k, random.bits() * 77ull, random.below(3), random.below(500)});
    }
    std::vector<uint32_t> tokens(rows);
    backend.draw({.matrix = &head.matrix,
                  .input = input.floats(),
                  .rows = rows,
                  .norm = spoil ? nullptr : norm.floats(),
                  .epsilon = 1e-6f,
                  .output = logits.floats(),
                  .width = vocab},
                 draws, tokens.data());
    append(result, tokens.data(), tokens.size() * 4);
  }
  return result;
}

}  // namespace

TEST(draws) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    for (const uint32_t rows : {1u, 2u, 5u, 18u}) {
      same_on_both(
          std::string("draw ") + name_of(type) + " " + std::to_string(rows),
          [&](Backend& b) { return draw(b, type, rows, 300 + rows, rows); }, rows == 2);
    }
  }
}

// Logits so large that the noise is lost in them, one float apart: which of two quotients are equal
// decides, and a product with 1 / T has others.
TEST(logits_are_divided_by_the_temperature) {
  same_on_both("quotients", [](Backend& b) {
    const uint32_t vocab = 64, rows = 16;
    Matrix m{nullptr, vocab, 2, MatrixType::f32};
    Bytes tiles(m.bytes());
    for (uint32_t v = 0; v < vocab; v++) {
      std::byte* tile = tiles.data() + v / kTileRows * m.tile_bytes();
      float* at = reinterpret_cast<float*>(tile);
      at[tile_index(MatrixType::f32, v % kTileRows, 0)] =
          0x1.8p+30f + 128.0f * float(v * 27 % vocab);
      at[tile_index(MatrixType::f32, v % kTileRows, 1)] = 128.0f;
    }
    const Buffer on = on_device(b, tiles);
    m.tiles = on.data();
    Buffer logits(b, rows * vocab * 4);
    Bytes result;
    for (uint32_t begin = 0; begin < 10; begin++) {
      std::vector<float> input;
      std::vector<Draw> draws;
      for (uint32_t r = 0; r < rows; r++) {
        input.push_back(1);
        input.push_back(float(begin * rows + r));
        const float temperatures[] = {0.75f, 0.7f, 0.6f, 1.1f};
        draws.push_back({.temperature = temperatures[r % 4]});
      }
      const Buffer x = on_device(b, input);
      std::vector<uint32_t> tokens(rows);
      b.draw({.matrix = &m,
              .input = x.floats(),
              .rows = rows,
              .output = logits.floats(),
              .width = vocab},
             draws, tokens.data());
      append(result, tokens.data(), tokens.size() * 4);
    }
    return result;
  });
}

TEST(draws_among_equals_and_from_what_is_not_finite) {
  same_on_both(
      "ties", [](Backend& b) { return draw(b, MatrixType::bf16, 3, 130, 1, true); }, true);
  same_on_both(
      "spoilt", [](Backend& b) { return draw(b, MatrixType::f32, 3, 130, 1, false, true); }, true);
}

// Finite logits whose quotients are all minus infinity: nothing to draw from, but for top-k, which
// gives the first of those it keeps.
TEST(draws_where_every_score_is_minus_infinity) {
  same_on_both("overflow", [](Backend& b) {
    const uint32_t vocab = 130;
    Matrix m{nullptr, vocab, 1, MatrixType::f32};
    Bytes tiles(m.bytes());
    for (uint32_t v = 0; v < vocab; v++) {
      std::byte* tile = tiles.data() + v / kTileRows * m.tile_bytes();
      reinterpret_cast<float*>(tile)[tile_index(MatrixType::f32, v % kTileRows, 0)] =
          v % 50 == 7 ? -2e38f : -3e38f;
    }
    const Buffer on = on_device(b, tiles), input = on_device(b, std::vector<float>(2, 1.0f));
    m.tiles = on.data();
    Buffer logits(b, 2 * vocab * 4);
    const std::vector<Draw> draws{{.temperature = 0.25f, .top_k = 5}, {.temperature = 0.25f}};
    std::vector<uint32_t> tokens(2);
    b.draw({.matrix = &m,
            .input = input.floats(),
            .rows = 2,
            .output = logits.floats(),
            .width = vocab},
           draws, tokens.data());
    CHECK_EQ(tokens[1], kNoToken);
    Bytes result;
    append(result, tokens.data(), tokens.size() * 4);
    return result;
  });
}

TEST(embedding_finiteness_and_mixture) {
  for (const MatrixType type : {MatrixType::bf16, MatrixType::f16, MatrixType::f32}) {
    same_on_both(std::string("embed ") + name_of(type), [&](Backend& b) {
      Random random(4);
      const Stored table = random_matrix(b, random, type, 70, 45);
      const std::vector<uint32_t> tokens{0, 69, 31, 32, 33, 69};
      Buffer output(b, tokens.size() * 45 * 4);
      b.embed(table.matrix, tokens, output.floats());
      return read(b, output);
    });
  }
  same_on_both("finite", [](Backend& b) {
    // More than all threads take at once.
    const size_t count = 300000;
    std::vector<float> values = Random(5).values(count);
    Bytes result;
    for (const float last : {1.0f, __builtin_inff(), __builtin_nanf("")}) {
      values.back() = last;
      const Buffer buffer = on_device(b, values);
      result.push_back(std::byte(b.finite(buffer.floats(), count)));
      result.push_back(std::byte(b.finite(buffer.floats(), count - 1)));
    }
    return result;
  });
  same_on_both(
      "mix",
      [](Backend& b) {
        Random random(6);
        const uint32_t exits = 3, rows = 2, vocab = 600;
        std::vector<float> logits = random.values(exits * rows * vocab), shift(exits * rows);
        for (float& v : logits) v *= 20;
        for (float& v : shift) v = -1 - random.value();
        const Buffer on = on_device(b, logits);
        Buffer output(b, rows * vocab * 4);
        b.mix({exits, rows, vocab, on.floats(), shift.data(), output.floats()});
        return read(b, output);
      },
      true);
}

TEST(memory_is_copied_and_zeroed) {
  same_on_both("memory", [](Backend& b) {
    const Buffer from = on_device(b, Random(8).values(100));
    Buffer to(b, 400);
    b.zero(to.data(), 400);
    b.copy(to.data() + 40, from.data() + 8, 100);
    return read(b, to);
  });
}
