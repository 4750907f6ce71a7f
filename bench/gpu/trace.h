// When the device was busy while something ran, as the device itself counted: by CUPTI
// (trace_cupti.cc), or not at all (trace_none.cc); trace_emulated.cc serves the tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace nvium::bench {

// A kernel, or a copy or fill of memory.
struct Interval {
  std::string name;
  uint64_t begin, end;  // nanoseconds
};

struct Trace {
  std::string missing;  // why there is none, else empty
  std::vector<Interval> intervals;
};

// `work` ends when the device is done with it.
Trace trace(const std::function<void()>& work);

// Nanoseconds in which at least one of them ran.
inline uint64_t busy(std::vector<Interval> intervals) {
  std::sort(intervals.begin(), intervals.end(),
            [](const Interval& a, const Interval& b) { return a.begin < b.begin; });
  uint64_t sum = 0, until = 0;
  for (const Interval& interval : intervals) {
    const uint64_t begin = std::max(interval.begin, until);
    if (interval.end <= begin) continue;
    sum += interval.end - begin;
    until = interval.end;
  }
  return sum;
}

// "project_kernel<1u>" of "void a::(anonymous namespace)::project_kernel<1u>(float*)".
inline std::string short_name(std::string_view name) {
  constexpr std::string_view kAnonymous = "(anonymous namespace)::";
  if (const size_t at = name.rfind(kAnonymous); at != name.npos) {
    name.remove_prefix(at + kAnonymous.size());
  }
  int depth = 0;
  size_t begin = 0, end = 0;
  for (; end < name.size() && (depth > 0 || name[end] != '('); end++) {
    depth += (name[end] == '<') - (name[end] == '>');
    if (depth == 0 && (name[end] == ':' || name[end] == ' ')) begin = end + 1;
  }
  return std::string(name.substr(begin, end - begin));
}

}  // namespace nvium::bench
