// The team: every unit once, whoever is late, and the processors there are.
#include "native/cpu/team.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "native/cpu/processors.h"
#include "testing.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace {

using namespace nvium;

// How often each of `units` is computed, and by how many at a time under one id.
void check_operation(cpu::Team& team, uint32_t units) {
  std::vector<std::atomic<uint32_t>> ran(units);
  std::vector<std::atomic<uint32_t>> inside(team.size());
  std::atomic<uint32_t> wrong = 0;
  team.run(units, [&](uint32_t begin, uint32_t end, uint32_t id) {
    if (id >= team.size() || begin >= end || end > units || inside[id]++ != 0) {
      wrong++;
      return;
    }
    for (uint32_t i = begin; i < end; i++) ran[i]++;
    inside[id]--;
  });
  for (const auto& count : ran) wrong += count != 1;
  CHECK_EQ(wrong.load(), 0u);
}

}  // namespace

TEST(a_team_computes_every_unit_once) {
  for (const uint32_t threads : {1u, 2u, 3u, 5u}) {
    cpu::Team team({.threads = threads, .crowd = true});
    const cpu::Team::Place place(team);
    CHECK_EQ(team.active(), threads);
    for (uint32_t round = 0; round < 1500; round++) check_operation(team, 1 + round * 7 % 97);
    check_operation(team, (1u << 19) + 5);
  }
}

// Operations with pauses between them, in which the others fall asleep, and none.
TEST(a_team_sleeps_and_wakes) {
  cpu::Team team({.threads = 3, .crowd = true});
  const cpu::Team::Place place(team);
  for (uint32_t round = 0; round < 60; round++) {
    if (round % 3 != 0) std::this_thread::sleep_for(std::chrono::microseconds(100 * (round % 7)));
    check_operation(team, 40);
  }
}

// The member that has the first unit waits for the unit behind it in its own share: somebody else
// must take that, or this never ends.
TEST(units_nobody_has_begun_are_taken_by_whoever_is_free) {
  cpu::Team team({.threads = 2, .crowd = true});
  const cpu::Team::Place place(team);
  for (uint32_t round = 0; round < 50; round++) {
    std::atomic<uint32_t> done = 0;
    team.run(64, [&](uint32_t begin, uint32_t end, uint32_t) {
      // Half of the first share goes to its owner at once; the rest of it is the other's to take.
      if (begin == 0) {
        while (done.load() < 64 - end) std::this_thread::yield();
      }
      done += end - begin;
    });
    CHECK_EQ(done.load(), 64u);
  }
}

TEST(more_threads_than_processors_do_not_work) {
  const uint32_t processors = uint32_t(cpu::allowed_processors().size());
  cpu::Team team({.threads = processors + 3});
  const cpu::Team::Place place(team);
  CHECK_EQ(team.size(), processors + 3);
  CHECK_EQ(team.active(), processors);
  std::vector<std::atomic<uint32_t>> units(team.size());
  for (int round = 0; round < 200; round++) {
    team.run(50, [&](uint32_t begin, uint32_t end, uint32_t id) { units[id] += end - begin; });
  }
  for (uint32_t id = processors; id < team.size(); id++) CHECK_EQ(units[id].load(), 0u);
}

#ifdef __linux__
TEST(a_team_works_on_the_processors_allowed_now) {
  const std::vector<int> allowed = cpu::allowed_processors();
  if (allowed.size() < 2) return;
  cpu::Team team({.threads = 2});
  const auto keep = [](const std::vector<int>& processors) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int processor : processors) CPU_SET(processor, &set);
    CHECK_EQ(sched_setaffinity(0, sizeof set, &set), 0);
  };
  const auto where = [&] {
    const cpu::Team::Place place(team);
    std::vector<int> seen;
    std::atomic<int> other = -1;
    for (int round = 0; round < 100; round++) {
      team.run(32, [&](uint32_t, uint32_t, uint32_t id) {
        if (id == 0) {
          if (seen.empty() || seen.back() != sched_getcpu()) seen.push_back(sched_getcpu());
        } else {
          other = sched_getcpu();
        }
      });
    }
    if (other != -1) seen.push_back(other);
    return seen;
  };
  for (const int processor : {allowed[1], allowed[0]}) {
    keep({processor});
    for (const int seen : where()) CHECK_EQ(seen, processor);
    CHECK_EQ(team.active(), 1u);
  }
  keep(allowed);
  where();
  CHECK_EQ(team.active(), 2u);
  CHECK(cpu::allowed_processors() == allowed);
}
#endif

TEST(the_quota_of_control_groups) {
  namespace fs = std::filesystem;
  const fs::path root = fs::temp_directory_path() / "nvium_team_test";
  const auto write = [&](const std::string& file, const std::string& text) {
    fs::create_directories((root / file).parent_path());
    std::ofstream(root / file) << text;
  };
  const auto quota = [&](const std::string& groups) {
    write("groups", groups);
    return cpu::processor_quota((root / "groups").string(), root.string());
  };
  const double unlimited = std::numeric_limits<double>::infinity();
  fs::remove_all(root);
  CHECK_EQ(quota("0::/a/b\n"), unlimited);
  write("a/b/cpu.max", "max 100000\n");
  CHECK_EQ(quota("0::/a/b\n"), unlimited);
  write("a/cpu.max", "150000 100000\n");
  CHECK_EQ(quota("0::/a/b\n"), 1.5);
  write("a/b/cpu.max", "50000 100000\n");
  CHECK_EQ(quota("0::/a/b\n"), 0.5);
  CHECK_EQ(quota("0::/\n"), unlimited);
  write("cpu.max", "700000 100000\n");
  CHECK_EQ(quota("0::/not/there\n"), 7.0);
  // The first version, where a quota of -1 is none.
  write("cpu/c/cpu.cfs_quota_us", "200000\n");
  write("cpu/c/cpu.cfs_period_us", "100000\n");
  CHECK_EQ(quota("3:cpuset:/\n2:cpu,cpuacct:/c\n"), 2.0);
  write("cpu/c/cpu.cfs_quota_us", "-1\n");
  CHECK_EQ(quota("2:cpuacct,cpu:/c\n"), unlimited);
  CHECK_EQ(quota("nonsense"), unlimited);
  CHECK_EQ(cpu::processor_quota("/not/there", root.string()), unlimited);
  fs::remove_all(root);
  CHECK(cpu::default_threads() >= 1);
  CHECK(cpu::default_threads() <= cpu::allowed_processors().size());
}
