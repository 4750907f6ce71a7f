// Every faulty case is reported with its kind and line, and nothing else is; every correct case is
// silent and right. In all schedules.
#include "corpus.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "schedules.h"

namespace {

// What the comments of the sources expect of the lines below them.
struct Expectation {
  std::string kind;  // one report at least is of this kind
  // Where which kinds may be reported.
  std::set<std::pair<std::pair<std::string, unsigned>, std::string>> allowed;
};

std::map<std::string, Expectation> read_expectations(const std::vector<std::string>& files) {
  std::map<std::string, Expectation> result;
  for (const std::string& path : files) {
    std::ifstream in(path);
    const std::string file = path.substr(path.rfind('/') + 1);
    std::string line;
    for (unsigned number = 1; std::getline(in, line); ++number) {
      constexpr std::string_view kMark = "// fault ";
      const size_t mark = line.find(kMark);
      if (mark == std::string::npos) continue;
      const size_t colon = line.find(": ", mark);
      if (colon == std::string::npos) continue;
      const size_t name_at = mark + kMark.size();
      Expectation& e = result[line.substr(name_at, colon - name_at)];
      std::string kinds = line.substr(colon + 2);
      for (size_t at = 0; at <= kinds.size();) {
        const size_t end = std::min(kinds.find('|', at), kinds.size());
        const std::string kind = kinds.substr(at, end - at);
        if (e.kind.empty()) e.kind = kind;
        e.allowed.insert({{file, number + 1}, kind});
        at = end + 1;
      }
    }
  }
  return result;
}

std::string text_of(const std::vector<simt::Report>& reports) {
  std::string text;
  for (const auto& r : reports) text += "\n    " + simt::to_string(r);
  return text.empty() ? " (no report)" : text;
}

bool as_expected(const std::vector<simt::Report>& reports, const Expectation& e) {
  bool found = false;
  for (const auto& r : reports) {
    const std::string kind(simt::name(r.kind));
    if (!e.allowed.contains({{r.at.file, r.at.line}, kind})) return false;
    found |= kind == e.kind;
  }
  return found;
}

template <class F>
void in_all_schedules(F body) {
  for (const Schedule& schedule : kSchedules) {
    use(schedule);
    body(schedule);
  }
}

}  // namespace

// Arguments: the sources that hold the faulty cases; "--only name" runs one case and prints what it
// reports.
int main(int argc, char** argv) {
  std::vector<std::string> files(argv + 1, argv + argc);
  std::string only;
  if (files.size() >= 2 && files[0] == "--only") {
    only = files[1];
    files.erase(files.begin(), files.begin() + 2);
  }
  const auto expectations = read_expectations(files);
  Tally tally;

  for (const auto& group :
       {corpus::memory_faults(), corpus::race_faults(), corpus::sync_faults(),
        corpus::hand_over_faults(), corpus::host_faults(), corpus::graph_faults()})
    for (const corpus::Fault& fault : group) {
      if (!only.empty() && only != fault.name) continue;
      const auto e = expectations.find(std::string(fault.name));
      in_all_schedules([&](const Schedule& schedule) {
        const std::string what = std::string(fault.name) + ", " + schedule.name;
        if (e == expectations.end()) return tally.check(false, what + ": no line is marked");
        fault.run();
        simt::report_leaks();
        const auto reports = simt::take_reports();
        if (!only.empty()) std::printf("%s:%s\n", what.c_str(), text_of(reports).c_str());
        tally.check(as_expected(reports, e->second), what + ":" + text_of(reports));
      });
    }

  for (const auto& group :
       {corpus::correct_memory(), corpus::correct_parameters(), corpus::correct_sync(),
        corpus::correct_hand_over(), corpus::correct_host()})
    for (const corpus::Correct& correct : group) {
      if (!only.empty() && only != correct.name) continue;
      in_all_schedules([&](const Schedule& schedule) {
        const std::string what = std::string(correct.name) + ", " + schedule.name;
        const bool right = correct.run();
        simt::report_leaks();
        const auto reports = simt::take_reports();
        tally.check(right, what + ": wrong values");
        tally.check(reports.empty(), what + ":" + text_of(reports));
      });
    }
  simt::reset();
  return tally.finish();
}
