// Wrong kernels are found in every schedule: faults of order and memory by a report, faults of
// arithmetic by their values.
#include "mutants.h"

#include <cstdio>

#include "schedules.h"

int main() {
  constexpr double kTolerance = 1e-4;
  Tally tally;
  for (const mutants::Mutant& mutant : mutants::all()) {
    int reported = 0, wrong = 0;
    for (const Schedule& schedule : kSchedules) {
      use(schedule);
      const bool right = mutant.run() <= kTolerance;
      const auto reports = simt::take_reports();
      reported += !reports.empty();
      wrong += !right;
      const std::string what = std::string(mutant.name) + ", " + schedule.name;
      switch (mutant.expect) {
        case mutants::Expect::silence:
          tally.check(right, what + ": wrong values");
          tally.check(reports.empty(),
                      what + ": " + (reports.empty() ? "" : simt::to_string(reports[0])));
          break;
        case mutants::Expect::report:
          tally.check(!reports.empty(), what + ": no report");
          break;
        case mutants::Expect::values:
          tally.check(!right, what + ": right values");
          tally.check(reports.empty(),
                      what + ": " + (reports.empty() ? "" : simt::to_string(reports[0])));
      }
    }
    std::printf("%-40s reported in %d schedules, wrong values in %d\n",
                std::string(mutant.name).c_str(), reported, wrong);
  }
  simt::reset();
  return tally.finish();
}
