// The counters of kernels whose traffic can be worked out on paper.
#include <cstdio>
#include <vector>

#include "corpus.h"
#include "gemv.cuh"
#include "schedules.h"

namespace {

constexpr int kRows = 64, kColumns = 1536, kSide = 128;

const simt::LineCounters* find(const std::vector<simt::LineCounters>& rows, bool shared,
                               const char* access, unsigned width) {
  for (const auto& r : rows)
    if (r.shared == shared && r.access == access && r.width == width) return &r;
  return nullptr;
}

template <int kPadding>
double conflicts() {
  const corpus::Device<float> in(kSide * kSide, 1), out(kSide * kSide);
  simt::reset_counters();
  nv::launch(corpus::transpose<kPadding>, dim3(kSide / 32, kSide / 32), dim3(32, 8), nullptr, {},
             in.data(), out.data(), kSide);
  cudaDeviceSynchronize();
  const auto rows = simt::line_counters();
  const auto* read = find(rows, true, "read", 4);
  return read ? double(read->moved) / double(read->ideal) : 0;
}

}  // namespace

// With any argument, prints the tables too.
int main(int argc, char**) {
  Tally tally;
  simt::config().count = true;
  for (const Schedule& schedule : kSchedules) {
    use(schedule);
    const std::string in = std::string(", ") + schedule.name;
    const corpus::Device<__nv_bfloat16> w(size_t(kRows) * kColumns, __float2bfloat16(1)),
        x(kColumns, __float2bfloat16(1));
    const corpus::Device<float> y(kRows);
    simt::reset_counters();
    corpus::run(corpus::gemv<>, kRows / 4, 128, w.data(), x.data(), y.data(), kRows, kColumns);
    const auto rows = simt::line_counters();
    uint64_t sectors = 0, first = 0;
    bool ideal = true;
    for (const auto& r : rows)
      if (r.width == 16) {
        sectors += r.moved;
        first += r.first;
        ideal &= r.moved == r.ideal;
      }
    constexpr uint64_t kWeightSectors = uint64_t(kRows) * kColumns * 2 / 32;
    tally.check(ideal, "gemv reads whole sectors" + in);
    // As many for x as for the weights, but those of x are the same for every row.
    tally.check(sectors == 2 * kWeightSectors, "gemv reads its weights once" + in);
    tally.check(first == kWeightSectors + kColumns * 2 / 32, "gemv reads nothing else" + in);
    const auto launches = simt::launch_counters();
    tally.check(launches.size() == 1 && launches[0].kernel == "corpus::gemv<true>" &&
                    launches[0].threads == kRows / 4 * 128 && launches[0].most_instructions > 100,
                "gemv is counted as one launch" + in);
    if (argc > 1 && schedule.order == simt::Order::forward) simt::print_counters(stdout);
    tally.check(conflicts<0>() == 32, "a transpose without padding conflicts" + in);
    if (argc > 1 && schedule.order == simt::Order::forward) simt::print_counters(stdout);
    tally.check(conflicts<1>() == 1, "a transpose with padding does not" + in);
  }
  simt::reset();
  return tally.finish();
}
