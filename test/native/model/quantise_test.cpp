// Weights become integers: what every group gets, whatever is in it, and that a matrix of integers
// is the one the definition gives.
#include "model/quantise.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "numerics/environment.h"
#include "numerics/types.h"
#include "testing.h"

using namespace nvium;

namespace {

struct Row {
  std::vector<int8_t> integers;
  std::vector<float> scales;
};

Row quantised(MatrixType type, const std::vector<float>& weights) {
  const uint32_t cols = uint32_t(weights.size());
  std::vector<uint16_t> scales(ceil_div(cols, group_columns(type)));
  Row row;
  row.integers.resize(cols);
  numerics::with_flushing(
      [&] { quantise_row(type, weights.data(), cols, row.integers.data(), scales.data()); });
  for (const uint16_t scale : scales) row.scales.push_back(numerics::bf16_to_float(scale));
  return row;
}

constexpr MatrixType kTypes[] = {MatrixType::int8, MatrixType::int4};

int least(MatrixType type) { return type == MatrixType::int8 ? -127 : -8; }
int most(MatrixType type) { return type == MatrixType::int8 ? 127 : 7; }

// The largest error of a group in units of its largest weight.
double error(MatrixType type, const std::vector<float>& weights) {
  const Row row = quantised(type, weights);
  double largest = 0, worst = 0;
  for (size_t k = 0; k < weights.size(); k++) {
    const double made = double(row.integers[k]) * row.scales[k / group_columns(type)];
    largest = std::max(largest, std::fabs(double(weights[k])));
    worst = std::max(worst, std::fabs(made - weights[k]));
  }
  return worst / largest;
}

std::vector<float> random_row(uint32_t cols, float size) {
  std::mt19937 bits(cols);
  std::vector<float> row(cols);
  for (float& w : row) w = float(int32_t(bits())) * 0x1p-31f * size;
  return row;
}

}  // namespace

TEST(every_integer_is_one_of_its_type_and_every_scale_is_finite_and_normal) {
  for (const MatrixType type : kTypes) {
    for (const float size : {0x1p-126f, 0x1p-119f, 1e-20f, 1.0f, 1e20f, 0x1.fep127f}) {
      for (const uint32_t cols : {1u, 31u, 32u, 129u, 300u}) {
        const Row row = quantised(type, random_row(cols, size));
        for (const int8_t q : row.integers) CHECK(q >= least(type) && q <= most(type));
        for (const float s : row.scales) CHECK(s == 0 || std::isnormal(s));
      }
    }
  }
}

TEST(no_weight_is_further_off_than_its_type_allows) {
  for (const MatrixType type : kTypes) {
    // Half a step, and for int8 the rounding of the scale; int4 gives up some of the largest for
    // the others.
    const double bound = type == MatrixType::int8 ? 0.51 / 127 * (1 + 0x1p-7) : 1.0 / 7;
    for (uint32_t cols = 1; cols <= group_columns(type); cols++) {
      CHECK(error(type, random_row(cols, 0.3f)) <= bound);
    }
  }
}

TEST(groups_that_are_odd_come_out_right) {
  for (const MatrixType type : kTypes) {
    const uint32_t cols = group_columns(type);
    const auto row = [&](auto&& value) {
      std::vector<float> weights(cols);
      for (uint32_t k = 0; k < cols; k++) weights[k] = value(k);
      return weights;
    };
    // All equal, of either sign: exact as far as a bf16 is.
    for (const float w : {0.7f, -0.7f, 3e38f, -3e38f}) {
      CHECK(error(type, row([=](uint32_t) { return w; })) <= 0x1p-7);
    }
    // One outlier: it is there, and the others are zeros.
    const Row one = quantised(type, row([](uint32_t k) { return k == 5 ? -100.0f : 0.01f; }));
    for (uint32_t k = 0; k < cols; k++) CHECK_EQ(one.integers[k] != 0, k == 5);
    // Zeros of both signs, subnormals, and what is so small that its scale would be one.
    for (const float w :
         {0.0f, -0.0f, std::numeric_limits<float>::denorm_min(), 1e-40f, 0x1p-121f}) {
      const Row none = quantised(type, row([=](uint32_t k) { return k & 1 ? w : -w; }));
      CHECK_EQ(none.scales[0], 0.0f);
      for (const int8_t q : none.integers) CHECK_EQ(int(q), 0);
    }
    // The largest there are, of both signs.
    const float largest = std::numeric_limits<float>::max();
    CHECK(error(type, row([=](uint32_t k) { return k & 1 ? largest : -largest; })) <= 0.08);
  }
}

TEST(a_group_does_not_depend_on_the_rest_of_its_row) {
  for (const MatrixType type : kTypes) {
    const uint32_t group = group_columns(type);
    const std::vector<float> row = random_row(3 * group, 1.0f);
    const Row all = quantised(type, row);
    const Row middle = quantised(type, {row.begin() + group, row.begin() + 2 * group});
    CHECK_EQ(all.scales[1], middle.scales[0]);
    for (uint32_t k = 0; k < group; k++) CHECK_EQ(all.integers[group + k], middle.integers[k]);
  }
}
