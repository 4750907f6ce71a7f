// Threads that compute for JavaScript: one a model, for the time it lives, so that models at work
// leave libuv's pool to files and names, and a call of one need not wait for another's.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace nvium::binding {

class JobThread;

// Something to compute, and what becomes of it on the thread of JavaScript.
class ThreadJob {
 public:
  virtual ~ThreadJob() = default;
  virtual void execute() noexcept = 0;
  // In a scope for handles. May throw Napi::Error.
  virtual void complete() = 0;

 private:
  friend class JobThread;
  friend class Jobs;

  std::shared_ptr<JobThread> thread_;
  ThreadJob* behind_ = nullptr;                     // in the thread's queue
  ThreadJob *before_ = nullptr, *after_ = nullptr;  // among those that are not complete
};

// One thread and its jobs, in the order they came.
class JobThread {
 public:
  // Calls done(job) on the thread when a job has been executed. Throws Failure
  // (ERR_NVIUM_OUT_OF_MEMORY) where no thread can be had.
  explicit JobThread(napi_threadsafe_function done);
  ~JobThread() { finish(); }
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;

  void post(ThreadJob& job);
  // Waits for the job under way; those that wait are not executed any more.
  void finish() noexcept;

 private:
  void serve() noexcept;

  napi_threadsafe_function done_;
  std::mutex mutex_;
  std::condition_variable wake_;
  ThreadJob *first_ = nullptr, *last_ = nullptr;
  bool finished_ = false;
  std::thread thread_;
};

// The jobs of an environment. All but what `execute` does happens on its thread of JavaScript.
class Jobs {
 public:
  explicit Jobs(Napi::Env env);
  Jobs(const Jobs&) = delete;
  Jobs& operator=(const Jobs&) = delete;

  std::shared_ptr<JobThread> make_thread() { return std::make_shared<JobThread>(done_); }
  // Keeps the environment alive until the job is complete.
  void run(std::unique_ptr<ThreadJob> job, std::shared_ptr<JobThread> thread);
  // Waits for the jobs under way. None is executed from here on; run() may not be called.
  void stop() noexcept;
  // Behind stop(), when JavaScript has run for the last time: forgets the jobs.
  void abandon() noexcept;

 private:
  void complete(ThreadJob& job);
  void forget(ThreadJob& job) noexcept;

  Napi::Env env_;
  napi_threadsafe_function done_ = nullptr;
  ThreadJob* open_ = nullptr;
};

}  // namespace nvium::binding
