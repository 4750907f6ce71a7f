#include "processors.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#ifdef __linux__
#include <sched.h>
#include <unistd.h>
#endif

namespace nvium::cpu {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// The words of a small file, none where it cannot be read.
std::vector<std::string> words(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> words;
  for (std::string word; words.size() < 2 && file >> word;) words.push_back(std::move(word));
  return words;
}

double positive(const std::string& word) {
  double value = 0;
  std::istringstream(word) >> value;
  return value;
}

// time / period, where both are numbers above 0.
double share(const std::string& time, const std::string& period) {
  const double a = positive(time), b = positive(period);
  return a > 0 && b > 0 ? a / b : kUnlimited;
}

}  // namespace

std::vector<int> allowed_processors() {
  std::vector<int> processors;
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(getpid(), sizeof set, &set) == 0) {
    for (int i = 0; i < CPU_SETSIZE; i++) {
      if (CPU_ISSET(i, &set)) processors.push_back(i);
    }
  }
#endif
  if (processors.empty()) {
    const unsigned count = std::max(1u, std::thread::hardware_concurrency());
    for (unsigned i = 0; i < count; i++) processors.push_back(int(i));
  }
  return processors;
}

double processor_quota(const std::string& groups, const std::string& root) {
  double quota = kUnlimited;
  std::ifstream file(groups);
  // A line a hierarchy: "number:controllers:path", of which the second version has no controllers.
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = line.substr(first, second - first + 1);
    std::replace(controllers.begin(), controllers.end(), ':', ',');
    const bool unified = controllers == ",,";
    if (!unified && controllers.find(",cpu,") == std::string::npos) continue;
    std::string path = line.substr(second + 1);
    // Each group on the way up has its own limit; the names of those above a container's own are
    // not to be found in it.
    for (;;) {
      while (!path.empty() && path.back() == '/') path.pop_back();
      if (unified) {
        const std::vector<std::string> limit = words(root + path + "/cpu.max");
        if (limit.size() == 2) quota = std::min(quota, share(limit[0], limit[1]));
      } else {
        const std::string at = root + "/cpu" + path + "/cpu.cfs_";
        const std::vector<std::string> time = words(at + "quota_us"),
                                       period = words(at + "period_us");
        if (!time.empty() && !period.empty()) quota = std::min(quota, share(time[0], period[0]));
      }
      if (path.empty()) break;
      path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
  }
  return quota;
}

unsigned default_threads() {
  const double allowed = double(allowed_processors().size());
  return unsigned(std::max(1.0, std::round(std::min(allowed, processor_quota()))));
}

}  // namespace nvium::cpu
