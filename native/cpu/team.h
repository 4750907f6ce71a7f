// A team of threads that stay: fork and join in about a microsecond while there is work, asleep
// when there is none, and never held up by one that does not run.
//
// An operation is a number of units, which the threads share evenly. Who is done with its share
// takes units that nobody has begun from the others': one that sleeps, or whose processor another
// process has, costs no more than what it would have done. A unit that was begun is its thread's:
// residuals are added in place. Where such a thread has lost its processor the one that waits for
// it lends it its own. Who computes a unit changes no bit of it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace nvium::cpu {

struct TeamOptions {
  uint32_t threads = 1;  // the caller of `run` included, at least 1
  // Each thread keeps to a processor of its own: a woken thread otherwise starts on its waker's
  // processor, and two threads are slower than one.
  bool place = true;
  // More threads than processors work, for tests: they are slower than as many as there are.
  bool crowd = false;
};

class Team {
 public:
  explicit Team(const TeamOptions& options);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Threads there are.
  uint32_t size() const { return uint32_t(workers_.size()) + 1; }
  // Threads that work, as of the last Place.
  uint32_t active() const { return active_.load(std::memory_order_relaxed); }

  // Calls work(begin, end, id) for parts of [0, units), here with id 0 and on the others with ids
  // below size(), and returns when all have returned. At most one call at a time has an id. `work`
  // must not throw.
  template <class Work>
  void run(uint32_t units, const Work& work) {
    dispatch(
        units,
        [](const void* w, uint32_t begin, uint32_t end, uint32_t id) {
          (*static_cast<const Work*>(w))(begin, end, id);
        },
        &work);
  }

  // While it lives the team works for the calling thread: on the processors the process may use as
  // it is made, of which the calling thread keeps to the first.
  class Place {
   public:
    explicit Place(Team& team);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    int processor_ = -1;
    std::array<uint64_t, 16> before_{};  // a mask of processors, as the system has it
  };

 private:
  using Entry = void (*)(const void*, uint32_t begin, uint32_t end, uint32_t id);
  struct alignas(128) Member;

  void dispatch(uint32_t units, Entry entry, const void* work);
  void serve(uint32_t id);
  uint32_t labour(uint32_t operation, uint32_t id);
  bool all_done(uint32_t operation, uint32_t units) const;
  void wait_for(uint32_t operation, uint32_t units);
  void lend_processor(Member& to, uint32_t operation);
  void take_places();
  void join();

  TeamOptions options_;
  std::vector<int> processors_;  // allowed, as of the last Place
  std::unique_ptr<Member[]> members_;
  std::vector<std::jthread> workers_;
  std::atomic<Entry> entry_{nullptr};
  std::atomic<const void*> work_{nullptr};
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> active_{1};
  // Its number begins an operation.
  alignas(128) std::atomic<uint32_t> operation_{0};
};

}  // namespace nvium::cpu
