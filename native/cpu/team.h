// A team of threads that stay: fork and join in well under a microsecond while there is work,
// asleep when there is none.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace nvium::cpu {

// The processors this process may run on, in order.
std::vector<int> allowed_processors();

class Team {
 public:
  // `threads` >= 1, the caller of `run` included. With `place`, each thread keeps to a processor of
  // its own as long as there are enough: a woken thread otherwise starts on its waker's processor,
  // and two threads are slower than one.
  Team(uint32_t threads, bool place);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  uint32_t size() const { return uint32_t(workers_.size()) + 1; }

  // Calls work(0) here and work(1) … work(size - 1) on the others, and returns when all have
  // returned. `work` must not throw.
  template <class Work>
  void run(const Work& work) {
    dispatch([](const void* w, uint32_t id) { (*static_cast<const Work*>(w))(id); }, &work);
  }

  // Keeps the calling thread on the team's first processor while it lives.
  class Place {
   public:
    explicit Place(const Team& team);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    std::vector<int> before_;
  };

 private:
  using Entry = void (*)(const void*, uint32_t);

  void dispatch(Entry entry, const void* work);
  void serve(uint32_t id);
  void join();

  std::vector<int> processors_;  // one a thread, empty when not placed
  std::vector<std::jthread> workers_;
  Entry entry_ = nullptr;
  const void* work_ = nullptr;
  bool stop_ = false;
  alignas(128) std::atomic<uint32_t> generation_{0};
  struct alignas(128) Done {
    std::atomic<uint32_t> generation{0};
  };
  std::unique_ptr<Done[]> done_;
};

}  // namespace nvium::cpu
