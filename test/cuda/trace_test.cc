// How what a device tells of its kernels is added up (bench/gpu/trace.h).
#include "bench/gpu/trace.h"

#include "testing.h"

using namespace nvium::bench;

TEST(time_in_which_kernels_overlap_counts_once) {
  CHECK_EQ(busy({}), 0u);
  CHECK_EQ(busy({{"a", 10, 20}, {"b", 30, 35}}), 15u);
  CHECK_EQ(busy({{"b", 15, 40}, {"a", 10, 20}, {"c", 16, 18}, {"d", 40, 41}}), 31u);
}

TEST(kernels_have_short_names) {
  CHECK_EQ(short_name("copy"), "copy");
  CHECK_EQ(short_name("nvium::cuda::erase_kernel(nvium::CacheShape, float*)"), "erase_kernel");
  CHECK_EQ(
      short_name("void nvium::cuda::(anonymous namespace)::project_kernel<(nvium::MatrixType)0, "
                 "1u>(nvium::cuda::Product, std::vector<int>)"),
      "project_kernel<(nvium::MatrixType)0, 1u>");
}
