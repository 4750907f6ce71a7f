// Larger kernels, each right as written and wrong in one place when mutated.
#pragma once

#include <string_view>
#include <vector>

namespace mutants {

enum class Expect {
  silence,  // right values, no report
  report,   // a report in every schedule, whatever the values
  values,   // no fault of memory or order: only the values are wrong
};

struct Mutant {
  std::string_view name;
  Expect expect;
  // Returns the largest distance from the reference; NaN counts as infinitely far.
  double (*run)();
};

std::vector<Mutant> all();

}  // namespace mutants
