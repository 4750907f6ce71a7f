// The check at load: a table of kernels that differs from the portable one in any way is found out,
// and then not listed.
#include "cpu/self_check.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "cpu/instruction_sets.h"
#include "error.h"
#include "testing.h"

using namespace nvium;
using cpu::Best;
using cpu::Kernels;

namespace {

constexpr const Kernels& right = cpu::kPortableKernels;

float off(float value) { return std::nextafter(value, 2 * value); }

// The portable kernels, each with one small fault. A fault shows in one place only: the last row,
// the last column, the last position of all.
struct Wrong {
  static void pack(const cpu::Pack& pack, uint32_t first, uint32_t last) {
    right.pack(pack, first, last);
    if (pack.norm == nullptr || last != pack.rows) return;
    constexpr size_t row_bytes = numerics::kDotChunk * sizeof(float) + cpu::kOperandPadding;
    const uint32_t k = pack.cols - 1;
    const size_t row = (k / numerics::kDotChunk + 1) * pack.rows - 1;
    float* operand = reinterpret_cast<float*>(pack.operand + row * row_bytes);
    operand[k % numerics::kDotChunk] *= -1;
  }
  static void pack_without_normed(const cpu::Pack& pack, uint32_t first, uint32_t last) {
    cpu::Pack less = pack;
    less.normed = nullptr;
    right.pack(less, first, last);
  }
  template <MatrixType type, uint32_t rows>
  static void project(const Projection& p, const std::byte* operand, uint32_t first,
                      uint32_t last) {
    right.project(p, operand, first, last);
    float& value = p.output[p.rows * p.width - 1];
    if (p.matrix->type == type && p.rows == rows) value = off(value);
  }
  template <Activation activation>
  static void activate(const Projection& p, const std::byte* operand, uint32_t first,
                       uint32_t last) {
    Projection plain = p;
    if (p.activation == activation) plain.activation = Activation::none;
    right.project(plain, operand, first, last);
  }
  static void append(const Attention& a, const Span& span, uint32_t kv_head) {
    right.append(a, span, kv_head);
    const uint32_t position = span.end - 1;
    std::byte* keys = span.blocks[position / kBlockPositions] + a.layer * a.shape.layer_bytes();
    const uint32_t k = a.shape.head_dim - 1;
    keys[tile_index(a.shape.type, position % kTileRows, k) * bytes_of(a.shape.type)] ^=
        std::byte{1};
  }
  static void append_without_rotating_queries(const Attention& a, const Span& span,
                                              uint32_t kv_head) {
    const std::vector<float> before(a.qkv, a.qkv + span.rows() * a.shape.qkv_width());
    right.append(a, span, kv_head);
    for (uint32_t row = 0; row < span.rows(); row++) {
      for (uint32_t i = 0; i < a.shape.query_width(); i++) {
        a.qkv[row * a.shape.qkv_width() + i] = before[row * a.shape.qkv_width() + i];
      }
    }
  }
  template <CacheType type>
  static void attend(const cpu::AttentionUnit& unit) {
    right.attend(unit);
    const Attention& a = *unit.attention;
    const size_t row = unit.span->first_row + unit.span->rows() - 1;
    float& value = a.output[(row + 1) * a.shape.query_width() - 1];
    if (a.shape.type == type) value = off(value);
  }
  static Best draw(const float* logits, const Draw& draw, uint32_t first, uint32_t last) {
    Best best = right.draw(logits, draw, first, last);
    if (draw.position == 3) best.score = off(best.score);
    return best;
  }
  static Best draw_greedily(const float* logits, const Draw& draw, uint32_t first, uint32_t last) {
    Best best = right.draw(logits, draw, first, last);
    if (draw.temperature == 0) best.token++;
    return best;
  }
  static Best draw_kept(const float* logits, const Draw& draw, const uint32_t* kept,
                        uint32_t count) {
    return right.draw_kept(logits, draw, kept, count - 1);
  }
  static float maximum(const float* values, size_t count) {
    return off(right.maximum(values, count));
  }
  static uint64_t fixed_sum(const float* values, size_t count, float maximum) {
    return right.fixed_sum(values, count, maximum) + 1;
  }
  static void mix(const float* const* logits, const float* log_exit, const float* log_norm,
                  uint32_t exits, uint32_t first, uint32_t last, float* output) {
    right.mix(logits, log_exit, log_norm, exits, first, last, output);
    output[last - 1] = off(output[last - 1]);
  }
  static bool finite(const float*, size_t) { return true; }
  static bool finite_never(const float*, size_t) { return false; }
};

struct Fault {
  const char* name;
  void (*apply)(Kernels& kernels);
};

#define FAULT(member, function)                         \
  {                                                     \
#function, [](Kernels & k) { k.member = function; } \
  }

// One product is wrong for one number of rows, of those that are code of their own.
template <uint32_t... rows>
std::vector<Fault> products_of(std::integer_sequence<uint32_t, rows...>) {
  std::vector<Fault> all;
  for (const auto& some :
       {std::vector<Fault>{FAULT(project, (Wrong::project<MatrixType::f32, rows + 1>))...},
        std::vector<Fault>{FAULT(project, (Wrong::project<MatrixType::f16, rows + 1>))...},
        std::vector<Fault>{FAULT(project, (Wrong::project<MatrixType::bf16, rows + 1>))...},
        std::vector<Fault>{FAULT(project, (Wrong::project<MatrixType::int8, rows + 1>))...},
        std::vector<Fault>{FAULT(project, (Wrong::project<MatrixType::int4, rows + 1>))...}}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::vector<Fault> faults() {
  std::vector<Fault> all = products_of(std::make_integer_sequence<uint32_t, 15>());
  all.insert(
      all.end(),
      {FAULT(pack, Wrong::pack), FAULT(pack, Wrong::pack_without_normed),
       FAULT(project, Wrong::activate<Activation::silu>),
       FAULT(project, Wrong::activate<Activation::gelu>), FAULT(append, Wrong::append),
       FAULT(append, Wrong::append_without_rotating_queries),
       FAULT(attend, Wrong::attend<CacheType::f32>), FAULT(attend, Wrong::attend<CacheType::bf16>),
       FAULT(attend, Wrong::attend<CacheType::int8>), FAULT(draw, Wrong::draw),
       FAULT(draw, Wrong::draw_greedily), FAULT(draw_kept, Wrong::draw_kept),
       FAULT(maximum, Wrong::maximum), FAULT(fixed_sum, Wrong::fixed_sum), FAULT(mix, Wrong::mix),
       FAULT(finite, Wrong::finite), FAULT(finite, Wrong::finite_never)});
  return all;
}

std::string refusal(std::string_view name, std::span<const Kernels* const> among) {
  try {
    cpu::choose_kernels(name, among);
  } catch (const Failure& failure) {
    return failure.code + ": " + failure.message;
  }
  return "no failure";
}

}  // namespace

TEST(a_table_that_gives_the_same_bits_agrees) {
  const Kernels copy = right;
  CHECK(cpu::agrees(copy));
}

TEST(a_table_with_any_one_fault_does_not_agree) {
  for (const Fault& fault : faults()) {
    Kernels wrong = right;
    fault.apply(wrong);
    if (cpu::agrees(wrong)) testing::fail(__FILE__, __LINE__, fault.name);
  }
}

TEST(a_table_that_disagrees_is_not_listed_and_the_next_takes_its_place) {
  Kernels wide = right, narrow = right;
  wide.name = "wide";
  narrow.name = "narrow";
  const Kernels* const both[] = {&wide, &narrow};
  CHECK_EQ(cpu::trusted(both).size(), 3u);
  CHECK_EQ(&cpu::choose_kernels("", cpu::trusted(both)), &wide);

  wide.fixed_sum = Wrong::fixed_sum;
  const std::vector<const Kernels*> left = cpu::trusted(both);
  CHECK_EQ(left.size(), 2u);
  CHECK_EQ(left.front(), &narrow);
  CHECK_EQ(left.back(), &right);
  CHECK_EQ(&cpu::choose_kernels("", left), &narrow);
  CHECK_EQ(refusal("wide", left),
           "ERR_NVIUM_INVALID_ARG: Instruction set \"wide\" is not available here; there is "
           "narrow, portable.");

  narrow.project = Wrong::project<MatrixType::bf16, 4>;
  CHECK_EQ(&cpu::choose_kernels("", cpu::trusted(both)), &right);
}

TEST(the_portable_kernels_are_there_on_every_machine) {
  CHECK_EQ(cpu::available_kernels().back(), &right);
  for (const Kernels* kernels : cpu::available_kernels()) {
    CHECK_EQ(&cpu::choose_kernels(kernels->name), kernels);
  }
  CHECK_EQ(refusal("mmx", cpu::available_kernels()).find("Instruction set \"mmx\""), 23u);
}
