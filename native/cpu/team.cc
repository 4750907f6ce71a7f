#include "team.h"

#include <algorithm>
#include <span>
#include <system_error>
#include <thread>

#include "../error.h"
#include "../numerics/environment.h"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

namespace nvium::cpu {
namespace {

// About 0.2 ms of spinning covers the serial parts of a step; then the processor is offered to
// others, and then the thread sleeps.
constexpr uint32_t kSpins = 4096;
constexpr uint32_t kYields = 256;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#ifdef __linux__
void keep_to(std::span<const int> processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int processor : processors) CPU_SET(processor, &set);
  // A refusal costs speed, never results.
  (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}
#else
void keep_to(std::span<const int>) {}
#endif

}  // namespace

std::vector<int> allowed_processors() {
  std::vector<int> processors;
#ifdef __linux__
  cpu_set_t set;
  CPU_ZERO(&set);
  if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) == 0) {
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

Team::Team(uint32_t threads, bool place) : done_(std::make_unique<Done[]>(threads)) {
  std::vector<int> allowed = allowed_processors();
  if (place && threads > 1 && threads <= allowed.size()) {
    allowed.resize(threads);
    processors_ = std::move(allowed);
  }
  workers_.reserve(threads - 1);
  try {
    for (uint32_t id = 1; id < threads; id++) workers_.emplace_back([this, id] { serve(id); });
  } catch (const std::system_error& error) {
    join();
    throw Failure{"ERR_NVIUM_OUT_OF_MEMORY",
                  "Could not start " + std::to_string(threads) + " threads: " + error.what() + ".",
                  {{"threads", double(threads)}}};
  } catch (...) {
    join();
    throw;
  }
}

Team::~Team() { join(); }

void Team::join() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  workers_.clear();
}

void Team::dispatch(Entry entry, const void* work) {
  if (workers_.empty()) return entry(work, 0);
  entry_ = entry;
  work_ = work;
  const uint32_t generation = generation_.fetch_add(1, std::memory_order_release) + 1;
  generation_.notify_all();
  entry(work, 0);
  for (uint32_t id = 1; id <= workers_.size(); id++) {
    for (uint32_t spins = 0; done_[id].generation.load(std::memory_order_acquire) != generation;) {
      if (++spins < kSpins) {
        pause();
      } else {
        std::this_thread::yield();
      }
    }
  }
}

void Team::serve(uint32_t id) {
  // Nothing may be allocated here: an exception in a thread of its own ends the process.
  if (!processors_.empty()) keep_to({&processors_[id], 1});
  numerics::with_flushing([&] {
    for (uint32_t seen = 0;;) {
      uint32_t generation;
      for (uint32_t spins = 0;
           (generation = generation_.load(std::memory_order_acquire)) == seen;) {
        if (++spins < kSpins) {
          pause();
        } else if (spins < kSpins + kYields) {
          std::this_thread::yield();
        } else {
          generation_.wait(seen, std::memory_order_acquire);
        }
      }
      seen = generation;
      if (stop_) return;
      entry_(work_, id);
      done_[id].generation.store(generation, std::memory_order_release);
    }
  });
}

Team::Place::Place(const Team& team) {
  if (team.processors_.empty()) return;
  before_ = allowed_processors();
  keep_to({&team.processors_[0], 1});
}

Team::Place::~Place() {
  if (!before_.empty()) keep_to(before_);
}

}  // namespace nvium::cpu
