#include "cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "../numerics/environment.h"
#include "../numerics/functions.h"
#include "../numerics/sums.h"
#include "../numerics/types.h"
#include "instruction_sets.h"
#include "memory.h"
#include "processors.h"

namespace nvium::cpu {
namespace {

// What operations cost one core, in nanoseconds and roughly: small ones cost the team more than
// they are worth. The tuning of a time, which changes no bit.
constexpr double kWorthSharing = 8000;

double cost_of_elements(size_t count) { return double(count) / 4; }
double cost_of_products(size_t bytes, size_t products) {
  return double(bytes) / 40 + double(products) / 60;
}
double cost_of(const Projection& p) {
  return cost_of_products(p.matrix->bytes(), size_t(p.rows) * p.matrix->rows * p.matrix->cols);
}
double cost_of(const Attention& a) {
  size_t bytes = 0, products = 0;
  for (const Span& span : a.spans) {
    const size_t elements = 2 * size_t(span.end) * a.shape.head_dim;
    bytes += a.shape.kv_heads * elements * bytes_of(a.shape.type);
    products += span.rows() * a.shape.heads * elements;
  }
  return cost_of_products(bytes, products);
}

// Elements of a unit where each is computed by itself.
constexpr uint32_t kUnitElements = 4096;

// Row `row` of a matrix as fp32.
template <class Element, class Widen>
void read_row(const Matrix& m, uint32_t row, const Widen& widen, float* output) {
  const auto* tile = reinterpret_cast<const Element*>(m.tiles + row / kTileRows * m.tile_bytes());
  for (uint32_t c = 0; c < m.cols; c++) {
    output[c] = widen(tile[tile_index(m.type, row % kTileRows, c)]);
  }
}

void read_row(const Matrix& m, uint32_t row, float* output) {
  switch (m.type) {
    case MatrixType::bf16:
      return read_row<uint16_t>(m, row, numerics::bf16_to_float, output);
    case MatrixType::f16:
      return read_row<uint16_t>(m, row, numerics::f16_to_float, output);
    case MatrixType::f32:
      return read_row<float>(
          m, row, [](float x) { return x; }, output);
    case MatrixType::bytes:
    case MatrixType::int8:
    case MatrixType::int4:
      break;  // a table of embeddings stays as it is stored
  }
}

// The k largest logits as token ids in ascending order: by logit descending, then id ascending. In
// the memory given, of top_bytes(vocab, k).
constexpr size_t top_bytes(uint32_t vocab, uint32_t k) { return 8 * size_t(vocab) + 4 * size_t(k); }
const uint32_t* top_tokens(const float* logits, uint32_t vocab, uint32_t k, std::byte* memory) {
  uint64_t* const keys = reinterpret_cast<uint64_t*>(memory);
  uint32_t* const tokens = reinterpret_cast<uint32_t*>(keys + vocab);
  for (uint32_t v = 0; v < vocab; v++) {
    keys[v] = uint64_t(~numerics::ordered(logits[v])) << 32 | v;
  }
  std::nth_element(keys, keys + (k - 1), keys + vocab);
  for (uint32_t i = 0; i < k; i++) tokens[i] = uint32_t(keys[i]);
  std::sort(tokens, tokens + k);
  return tokens;
}

}  // namespace

size_t attention_scratch_bytes(const CacheShape& shape) {
  const size_t outputs = size_t(kGroupRows) * shape.value_tiles() * kTileRows * 4;
  return operand_bytes(kGroupRows, shape.head_dim) + operand_bytes(kGroupRows, kBlockPositions) +
         kGroupRows * kBlockPositions * 4 + 2 * outputs + 5 * 64;
}

CpuBackend::CpuBackend(const Options& options)
    : kernels_(choose_kernels(options.instruction_set)),
      team_({options.threads != 0 ? options.threads : default_threads(), options.place,
             options.crowd}),
      share_all_(options.crowd) {}

template <class Work>
void CpuBackend::share(uint32_t count, double cost, const Work& work) {
  if (cost < kWorthSharing && !share_all_) return work(0, count, 0);
  team_.run(count, work);
}

std::byte* CpuBackend::scratch(size_t bytes) {
  if (scratch_.bytes() < bytes) scratch_ = Buffer(*this, std::max(bytes, 2 * scratch_.bytes()));
  return scratch_.data();
}

void CpuBackend::enter(const std::function<void()>& job) {
  const Team::Place place(team_);
  numerics::with_flushing(job);
}

void* CpuBackend::allocate(size_t bytes) { return cpu::allocate(bytes); }
void CpuBackend::release(void* memory, size_t bytes) noexcept { cpu::release(memory, bytes); }
void CpuBackend::write(void* device, const void* host, size_t bytes) {
  std::memcpy(device, host, bytes);
}
void CpuBackend::read(void* host, const void* device, size_t bytes) {
  std::memcpy(host, device, bytes);
}
void CpuBackend::copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
void CpuBackend::zero(void* device, size_t bytes) { std::memset(device, 0, bytes); }

void CpuBackend::embed(const Matrix& table, std::span<const uint32_t> tokens, float* output) {
  share(uint32_t(tokens.size()), cost_of_elements(tokens.size() * table.cols),
        [&](uint32_t begin, uint32_t end, uint32_t) {
          for (uint32_t r = begin; r < end; r++) {
            read_row(table, tokens[r], output + size_t(r) * table.cols);
          }
        });
}

std::byte* CpuBackend::pack(const Projection& p, size_t more) {
  const Matrix& m = *p.matrix;
  const size_t bytes = operand_bytes(p.rows, m.cols);
  std::byte* operand = scratch(bytes + more);
  const Pack pack{operand_of(m.type), p.input, p.norm, p.epsilon,
                  p.normed,           p.rows,  m.cols, operand};
  share(p.rows, cost_of_elements(size_t(p.rows) * m.cols),
        [&](uint32_t begin, uint32_t end, uint32_t) { kernels_.pack(pack, begin, end); });
  return operand;
}

void CpuBackend::project(const Projection& p) {
  const std::byte* operand = pack(p, 0);
  share(ceil_div(p.width, kTileRows), cost_of(p),
        [&](uint32_t begin, uint32_t end, uint32_t) { kernels_.project(p, operand, begin, end); });
}

void CpuBackend::attend(const Attention& a) {
  // Units in the order (span, kv head, pairs), numbered without a list.
  const uint32_t kv_heads = a.shape.kv_heads, share_of_head = a.shape.heads / kv_heads;
  const auto groups_of = [&](const Span& span) {
    return ceil_div(span.rows() * share_of_head, kGroupRows);
  };
  uint32_t units = 0, most_groups = 0;
  for (const Span& span : a.spans) {
    units += kv_heads * groups_of(span);
    most_groups = std::max(most_groups, groups_of(span));
  }
  const size_t bytes = (attention_scratch_bytes(a.shape) + 127) / 128 * 128;
  std::byte* memory = scratch(bytes * team_.size());
  const auto each = [&](const auto& visit) {
    share(units, cost_of(a), [&](uint32_t begin, uint32_t end, uint32_t id) {
      uint32_t before = 0;
      for (const Span& span : a.spans) {
        const uint32_t groups = groups_of(span), here = kv_heads * groups;
        for (uint32_t u = std::max(begin, before); u < std::min(end, before + here); u++) {
          visit(span, (u - before) / groups, (u - before) % groups, id);
        }
        before += here;
      }
    });
  };
  // A head's keys must be there before its first group attends: where a head has but one group, its
  // own thread sees to both.
  const bool together = most_groups <= 1;
  const auto append = [&](const Span& span, uint32_t head, uint32_t group, uint32_t) {
    if (group == 0) kernels_.append(a, span, head);
  };
  if (!together) each(append);
  each([&](const Span& span, uint32_t head, uint32_t group, uint32_t id) {
    if (together) append(span, head, group, id);
    const uint32_t first = group * kGroupRows;
    kernels_.attend({&a, &span, head, first,
                     std::min(kGroupRows, span.rows() * share_of_head - first),
                     memory + id * bytes});
  });
}

void CpuBackend::normalise(std::span<const NormRow> rows, uint32_t width, float epsilon,
                           float* output) {
  share(uint32_t(rows.size()), cost_of_elements(rows.size() * width),
        [&](uint32_t begin, uint32_t end, uint32_t) {
          for (uint32_t r = begin; r < end; r++) {
            const auto [input, weight] = rows[r];
            const float scale = numerics::norm_scale(numerics::sum_of_squares(input, int(width)),
                                                     int(width), epsilon);
            float* to = output + size_t(r) * width;
            for (uint32_t i = 0; i < width; i++) {
              to[i] = numerics::normalised(input[i], scale, weight[i]);
            }
          }
        });
}

void CpuBackend::route(const Routing& r) {
  const float* input = r.input;
  const float* norm = r.router->input_norm;
  for (const RouterBlock& block : r.router->blocks) {
    project({.matrix = &block.fc1,
             .input = input,
             .rows = r.rows,
             .norm = norm,
             .epsilon = r.epsilon,
             .bias = block.bias1,
             .activation = Activation::gelu,
             .output = r.inner,
             .width = block.fc1.rows});
    project({.matrix = &block.fc2,
             .input = r.inner,
             .rows = r.rows,
             .bias = block.bias2,
             .output = r.outer,
             .width = block.fc2.rows});
    input = r.outer;
    norm = nullptr;
  }
  project({.matrix = &r.router->head,
           .input = input,
           .rows = r.rows,
           .norm = r.router->norm,
           .epsilon = r.epsilon,
           .bias = r.router->bias,
           .output = r.logits,
           .width = 2});
}

void CpuBackend::draw(const Projection& head, std::span<const Draw> draws, uint32_t* tokens) {
  const uint32_t vocab = head.width;
  if (std::none_of(draws.begin(), draws.end(),
                   [&](const Draw& d) { return d.keeps_some(vocab); })) {
    return draw_from_tiles(head, draws, tokens);
  }
  project(head);
  for (size_t r = 0; r < draws.size(); r++) {
    const float* logits = head.output + r * vocab;
    const Draw& draw = draws[r];
    if (!finite(logits, vocab)) {
      tokens[r] = kNoToken;
    } else if (draw.keeps_some(vocab)) {
      std::byte* memory = scratch(top_bytes(vocab, draw.top_k));
      const uint32_t* kept = top_tokens(logits, vocab, draw.top_k, memory);
      tokens[r] = kernels_.draw_kept(logits, draw, kept, draw.top_k).token;
    } else {
      tokens[r] = kernels_.draw(logits, draw, 0, vocab).token;
    }
  }
}

// The logits of kDrawTokens tokens at a time are drawn from while they are in the cache, and never
// reach memory.
void CpuBackend::draw_from_tiles(const Projection& head, std::span<const Draw> draws,
                                 uint32_t* tokens) {
  struct Found {
    Best best;
    bool finite;

    void take(const Best& other) {  // a tie goes to the lower token, whoever found it
      if (other.score > best.score || (other.score == best.score && other.token < best.token)) {
        best = other;
      }
    }
  };
  constexpr uint32_t kRun = kDrawTokens / kTileRows;
  const uint32_t rows = head.rows, threads = team_.size();
  const size_t operand_size = operand_bytes(rows, head.matrix->cols);
  const size_t run_size = size_t(rows) * kDrawTokens * sizeof(float);
  std::byte* const operand = pack(head, threads * (run_size + rows * sizeof(Found)));
  std::byte* const runs = operand + operand_size;
  Found* const found = reinterpret_cast<Found*>(runs + threads * run_size);
  std::fill_n(found, size_t(threads) * rows, Found{{-numerics::kInfinity, kNoToken}, true});
  share(head.matrix->tile_count(), cost_of(head), [&](uint32_t begin, uint32_t end, uint32_t id) {
    float* logits = reinterpret_cast<float*>(runs + id * run_size);
    for (uint32_t t = begin; t < end; t += kRun) {
      const uint32_t tiles = std::min(kRun, end - t), first = t * kTileRows;
      Matrix some = *head.matrix;
      some.tiles += t * some.tile_bytes();
      Projection run = head;
      run.matrix = &some;
      if (run.bias != nullptr) run.bias += first;
      run.output = logits;
      run.width = std::min(head.width, first + tiles * kTileRows) - first;
      kernels_.project(run, operand, 0, tiles);
      for (uint32_t r = 0; r < rows; r++) {
        Found& of_row = found[size_t(id) * rows + r];
        const float* row = logits + size_t(r) * run.width;
        of_row.finite = of_row.finite && kernels_.finite(row, run.width);
        if (of_row.finite) of_row.take(kernels_.draw(row, draws[r], first, first + run.width));
      }
    }
  });
  for (uint32_t r = 0; r < rows; r++) {
    Found all = found[r];
    for (uint32_t id = 1; id < threads; id++) {
      const Found& other = found[size_t(id) * rows + r];
      all.finite = all.finite && other.finite;
      all.take(other.best);
    }
    tokens[r] = all.finite ? all.best.token : kNoToken;
  }
}

void CpuBackend::mix(const Mixture& m) {
  std::vector<const float*> logits(m.exits);
  std::vector<float> log_exit(m.exits), log_norm(m.exits);
  for (uint32_t r = 0; r < m.rows; r++) {
    for (uint32_t k = 0; k < m.exits; k++) {
      logits[k] = m.logits + (size_t(k) * m.rows + r) * m.vocab;
      log_exit[k] = m.log_exit[size_t(k) * m.rows + r];
      const float maximum = kernels_.maximum(logits[k], m.vocab);
      log_norm[k] =
          maximum +
          numerics::log(numerics::from_fixed(kernels_.fixed_sum(logits[k], m.vocab, maximum)));
    }
    share(ceil_div(m.vocab, kUnitElements), cost_of_elements(m.vocab * 8 * m.exits),
          [&](uint32_t begin, uint32_t end, uint32_t) {
            kernels_.mix(logits.data(), log_exit.data(), log_norm.data(), m.exits,
                         begin * kUnitElements, std::min(end * kUnitElements, m.vocab),
                         m.output + size_t(r) * m.vocab);
          });
  }
}

bool CpuBackend::finite(const float* values, size_t count) {
  return kernels_.finite(values, count);
}

void CpuBackend::erase(const CacheShape& shape, const Span& span, uint32_t first, uint32_t last) {
  const size_t element_bytes = bytes_of(shape.type);
  const auto clear = [&](std::byte* tile, uint32_t row, uint32_t k) {
    std::memset(tile + tile_index(shape.type, row, k) * element_bytes, 0, element_bytes);
  };
  for (uint32_t position = span.begin; position < span.end; position++) {
    const uint32_t slot = position % kBlockPositions;
    for (uint32_t unit = first * shape.kv_heads; unit < last * shape.kv_heads; unit++) {
      std::byte* keys = span.blocks[position / kBlockPositions] + unit * shape.head_bytes();
      std::byte* values = keys + shape.key_bytes();
      for (uint32_t k = 0; k < shape.head_dim; k++) {
        clear(keys + slot / kTileRows * shape.key_tile_bytes(), slot % kTileRows, k);
        clear(values + k / kTileRows * shape.value_tile_bytes(), k % kTileRows, slot);
      }
      if (shape.type == CacheType::int8) {
        float* steps = reinterpret_cast<float*>(keys + shape.tile_bytes());
        steps[slot] = steps[kBlockPositions + slot] = 0;
      }
    }
  }
}

}  // namespace nvium::cpu
