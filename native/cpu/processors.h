// Which processors there are for a process now, and how much of them it may use.
#pragma once

#include <string>
#include <vector>

namespace nvium::cpu {

// The processors this process may run on now, in order: what its first thread may, which is what
// `taskset -p` changes while it runs.
std::vector<int> allowed_processors();

// Processors' worth of time that the process's control groups allow, or infinity. The arguments
// say where to look, for tests.
double processor_quota(const std::string& groups = "/proc/self/cgroup",
                       const std::string& root = "/sys/fs/cgroup");

// Threads to compute with where nobody says: one for each allowed processor, but no more than the
// quota feeds. At least 1.
unsigned default_threads();

}  // namespace nvium::cpu
