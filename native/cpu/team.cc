#include "team.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <system_error>
#include <thread>

#include "../error.h"
#include "../numerics/environment.h"
#include "processors.h"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#endif

namespace nvium::cpu {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// Covers the serial parts of a step; then a thread sleeps.
constexpr microseconds kPatience{60};
// How long a thread whose work is waited for may seem to stand still.
constexpr microseconds kStill{30};
constexpr int kNowhere = -1;

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until `done`, for as long as `patience`; whether it is.
template <class Done>
bool spin(microseconds patience, const Done& done) {
  const Clock::time_point begin = Clock::now();
  do {
    for (int i = 0; i < 16; i++) {
      if (done()) return true;
      pause();
    }
  } while (Clock::now() - begin < patience);
  return false;
}

// A refusal of any of these costs speed, never results. `thread` is the system's number, 0 the
// calling one's.
#ifdef __linux__
using ThreadNumber = pid_t;
ThreadNumber thread_number() { return pid_t(syscall(SYS_gettid)); }

void keep_to(std::span<const int> processors, ThreadNumber thread = 0) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int processor : processors) CPU_SET(processor, &set);
  (void)sched_setaffinity(thread, sizeof set, &set);
}

using Mask = std::array<uint64_t, 16>;
static_assert(sizeof(Mask) == sizeof(cpu_set_t));

Mask mask_of_this_thread() {
  Mask mask{};
  (void)sched_getaffinity(0, sizeof mask, reinterpret_cast<cpu_set_t*>(mask.data()));
  return mask;
}
void keep_to(const Mask& mask) {
  (void)sched_setaffinity(0, sizeof mask, reinterpret_cast<const cpu_set_t*>(mask.data()));
}

using TimeOf = clockid_t;
TimeOf time_of_this_thread() {
  clockid_t clock;
  return pthread_getcpuclockid(pthread_self(), &clock) == 0 ? clock : CLOCK_MONOTONIC;
}

// Processor time of a thread so far, in nanoseconds: it stands while the thread does not run.
int64_t read(TimeOf clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return int64_t(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}
#else
using ThreadNumber = int;
using TimeOf = int;
ThreadNumber thread_number() { return 0; }
void keep_to(std::span<const int>, ThreadNumber = 0) {}
using Mask = std::array<uint64_t, 16>;
Mask mask_of_this_thread() { return {}; }
void keep_to(const Mask&) {}
TimeOf time_of_this_thread() { return 0; }
int64_t read(TimeOf) { return Clock::now().time_since_epoch().count(); }
#endif

// Units [begin, end) of an operation that nobody has begun, in one word.
struct Share {
  static constexpr uint32_t kBits = 18;
  static constexpr uint32_t kMostUnits = (1u << kBits) - 1;

  uint32_t operation, begin, end;

  static Share of(uint64_t word) {
    return {uint32_t(word >> (2 * kBits)), uint32_t(word >> kBits) & kMostUnits,
            uint32_t(word) & kMostUnits};
  }
  uint64_t word() const {
    return uint64_t(operation) << (2 * kBits) | uint64_t(begin) << kBits | end;
  }
  // An operation's number as a share has it.
  static uint32_t tag(uint32_t operation) { return operation & ((1u << (64 - 2 * kBits)) - 1); }
};

// Units done of an operation, in one word.
uint64_t tally(uint32_t operation, uint32_t units) { return uint64_t(operation) << 32 | units; }

// Takes a part of what is left of a share of this operation: its owner from the front, in long
// runs at first, others from the back.
bool take(std::atomic<uint64_t>& share, uint32_t operation, bool owner, uint32_t& begin,
          uint32_t& end) {
  uint64_t word = share.load(std::memory_order_relaxed);
  for (;;) {
    Share s = Share::of(word);
    // A thread that comes late finds the share of another operation.
    if (s.operation != Share::tag(operation) || s.begin == s.end) return false;
    const uint32_t left = s.end - s.begin;
    if (owner) {
      begin = s.begin;
      end = s.begin += (left + 1) / 2;
    } else {
      end = s.end;
      begin = s.end -= (left + 3) / 4;
    }
    if (share.compare_exchange_weak(word, s.word(), std::memory_order_relaxed)) return true;
  }
}

}  // namespace

struct Team::Member {
  std::atomic<uint64_t> share{0};
  alignas(64) std::atomic<uint64_t> done{0};  // a tally, when nothing is left to take
  std::atomic<uint32_t> begun{0};             // the last operation it took a part of
  std::atomic<int> home{kNowhere};            // the processor it keeps to
  std::atomic<bool> away{false};              // somebody lent it another
  ThreadNumber number = 0;
  TimeOf time{};
};

Team::Team(const TeamOptions& options)
    : options_(options), members_(std::make_unique<Member[]>(options.threads)) {
  workers_.reserve(options.threads - 1);
  try {
    for (uint32_t id = 1; id < options.threads; id++) {
      workers_.emplace_back([this, id] { serve(id); });
    }
    take_places();
  } catch (const std::system_error& error) {
    join();
    throw Failure{
        "ERR_NVIUM_OUT_OF_MEMORY",
        "Could not start " + std::to_string(options.threads) + " threads: " + error.what() + ".",
        {{"threads", double(options.threads)}}};
  } catch (...) {
    join();
    throw;
  }
}

Team::~Team() { join(); }

void Team::join() {
  stop_ = true;
  active_.store(options_.threads, std::memory_order_release);
  active_.notify_all();
  operation_.fetch_add(1, std::memory_order_release);
  operation_.notify_all();
  workers_.clear();
}

// Who works, and where.
void Team::take_places() {
  std::vector<int> allowed = allowed_processors();
  const uint32_t room = options_.crowd ? size() : uint32_t(allowed.size());
  const uint32_t active = std::min(size(), room);
  const bool place = options_.place && size() > 1 && active <= allowed.size();
  if (allowed != processors_ || active != this->active()) {
    for (uint32_t id = 0; id < size(); id++) {
      members_[id].home.store(place && id < active ? allowed[id] : kNowhere,
                              std::memory_order_relaxed);
    }
    processors_ = std::move(allowed);
    active_.store(active, std::memory_order_release);
    active_.notify_all();
  }
}

void Team::dispatch(uint32_t units, Entry entry, const void* work) {
  const uint32_t active = this->active();
  if (active == 1 || units < 2) return entry(work, 0, units, 0);
  if (units > Share::kMostUnits) {
    dispatch(Share::kMostUnits, entry, work);
    struct Rest {
      Entry entry;
      const void* work;
    } rest{entry, work};
    return dispatch(
        units - Share::kMostUnits,
        [](const void* r, uint32_t begin, uint32_t end, uint32_t id) {
          const Rest& rest = *static_cast<const Rest*>(r);
          rest.entry(rest.work, begin + Share::kMostUnits, end + Share::kMostUnits, id);
        },
        &rest);
  }
  const uint32_t operation = operation_.load(std::memory_order_relaxed) + 1;
  entry_.store(entry, std::memory_order_relaxed);
  work_.store(work, std::memory_order_relaxed);
  for (uint32_t id = 0; id < active; id++) {
    const auto from = [&](uint32_t i) { return uint32_t(units * uint64_t(i) / active); };
    const Share share{Share::tag(operation), from(id), from(id + 1)};
    members_[id].share.store(share.word(), std::memory_order_relaxed);
  }
  operation_.store(operation, std::memory_order_release);
  operation_.notify_all();
  const uint32_t done = labour(operation, 0);
  if (done < units) wait_for(operation, units - done);
}

// Everything of an operation that can be had; how many units that was.
uint32_t Team::labour(uint32_t operation, uint32_t id) {
  // Of this operation if a part of it is had: it is not over before that part is done.
  const Entry entry = entry_.load(std::memory_order_relaxed);
  const void* work = work_.load(std::memory_order_relaxed);
  const uint32_t active = this->active();
  uint32_t done = 0;
  for (uint32_t k = 0; k < active; k++) {
    Member& owner = members_[(id + k) % active];
    uint32_t begin, end;
    while (take(owner.share, operation, k == 0, begin, end)) {
      if (done == 0) members_[id].begun.store(operation, std::memory_order_release);
      entry(work, begin, end, id);
      done += end - begin;
    }
  }
  return done;
}

bool Team::all_done(uint32_t operation, uint32_t units) const {
  for (uint32_t id = 1; id < active(); id++) {
    const uint64_t done = members_[id].done.load(std::memory_order_acquire);
    if (uint32_t(done >> 32) == operation) units -= uint32_t(done);
  }
  return units == 0;
}

// Until the others have done `units` of the operation, of which nothing is left to take.
void Team::wait_for(uint32_t operation, uint32_t units) {
  const auto finished = [&] { return all_done(operation, units); };
  while (!spin(kPatience, finished)) {
    for (uint32_t id = 1; id < active(); id++) {
      Member& member = members_[id];
      if (member.begun.load(std::memory_order_acquire) != operation) continue;
      const int64_t before = read(member.time);
      if (spin(kStill, finished)) return;
      if (read(member.time) == before) lend_processor(member, operation);
    }
  }
}

// Waits asleep for a member that has begun and does not run, on this thread's processor.
void Team::lend_processor(Member& to, uint32_t operation) {
  const int here = members_[0].home.load(std::memory_order_relaxed);
  if (here != kNowhere) {
    to.away.store(true, std::memory_order_relaxed);
    keep_to({&here, 1}, to.number);
  }
  for (uint64_t done;
       uint32_t((done = to.done.load(std::memory_order_acquire)) >> 32) != operation;) {
    to.done.wait(done, std::memory_order_acquire);
  }
}

void Team::serve(uint32_t id) {
  // Nothing may be allocated here: an exception in a thread of its own ends the process.
  Member& self = members_[id];
  self.number = thread_number();
  self.time = time_of_this_thread();
  int place = kNowhere;
  numerics::with_flushing([&] {
    for (uint32_t seen = 0;;) {
      // Who is not to work is not woken by every operation.
      for (uint32_t active; id >= (active = active_.load(std::memory_order_acquire));) {
        active_.wait(active, std::memory_order_acquire);
      }
      const auto begun = [&] { return operation_.load(std::memory_order_acquire) != seen; };
      if (!spin(kPatience, begun)) operation_.wait(seen, std::memory_order_acquire);
      if (!begun()) continue;
      seen = operation_.load(std::memory_order_acquire);
      if (stop_) return;
      const int home = self.home.load(std::memory_order_relaxed);
      if (home != place && home != kNowhere) keep_to({&home, 1});
      place = home;
      const uint32_t done = labour(seen, id);
      if (done > 0) {
        self.done.store(tally(seen, done), std::memory_order_release);
        self.done.notify_one();
      }
      if (self.away.exchange(false, std::memory_order_relaxed)) keep_to({&home, 1});
    }
  });
}

Team::Place::Place(Team& team) {
  team.take_places();
  processor_ = team.members_[0].home.load(std::memory_order_relaxed);
  if (processor_ == kNowhere) return;
  before_ = mask_of_this_thread();
  keep_to({&processor_, 1});
}

Team::Place::~Place() {
  if (processor_ == kNowhere) return;
  // Not where somebody else has placed the thread meanwhile.
  Mask ours{};
  ours[size_t(processor_) / 64] = uint64_t(1) << processor_ % 64;
  if (mask_of_this_thread() == ours) keep_to(before_);
}

}  // namespace nvium::cpu
