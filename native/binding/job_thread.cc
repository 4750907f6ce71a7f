#include "job_thread.h"

#include <system_error>

#include "../error.h"

namespace nvium::binding {

JobThread::JobThread(napi_threadsafe_function done) : done_(done) {
  try {
    thread_ = std::thread([this] { serve(); });
  } catch (const std::system_error& error) {
    throw Failure{"ERR_NVIUM_OUT_OF_MEMORY",
                  std::string("Could not start a thread: ") + error.what() + ".",
                  {{"threads", 1.0}}};
  }
}

void JobThread::post(ThreadJob& job) {
  {
    const std::lock_guard lock(mutex_);
    (first_ == nullptr ? first_ : last_->behind_) = &job;
    last_ = &job;
  }
  wake_.notify_one();
}

void JobThread::finish() noexcept {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void JobThread::serve() noexcept {
  for (;;) {
    ThreadJob* job = nullptr;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return finished_ || first_ != nullptr; });
      if (finished_) return;
      job = first_;
      first_ = job->behind_;
    }
    job->execute();
    // It is refused where the environment is closing, which then abandons the job.
    napi_call_threadsafe_function(done_, job, napi_tsfn_nonblocking);
  }
}

Jobs::Jobs(Napi::Env env) : env_(env) {
  const auto completed = [](napi_env env, napi_value, void* jobs, void* job) {
    // Without an environment it is closing, and the job may be gone.
    if (env == nullptr) return;
    const Napi::HandleScope scope(env);
    try {
      static_cast<Jobs*>(jobs)->complete(*static_cast<ThreadJob*>(job));
    } catch (const Napi::Error& error) {
      error.ThrowAsJavaScriptException();
    }
  };
  const napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "nvium"), 0, 1,
                                      nullptr, nullptr, this, completed, &done_);
  if (status != napi_ok) throw Napi::Error::New(env);
  // An environment without a job may end.
  napi_unref_threadsafe_function(env, done_);
}

void Jobs::run(std::unique_ptr<ThreadJob> job, std::shared_ptr<JobThread> thread) {
  if (open_ == nullptr) napi_ref_threadsafe_function(env_, done_);
  ThreadJob& j = *job.release();
  j.thread_ = std::move(thread);
  j.after_ = open_;
  if (open_ != nullptr) open_->before_ = &j;
  open_ = &j;
  j.thread_->post(j);
}

void Jobs::forget(ThreadJob& job) noexcept {
  (job.before_ == nullptr ? open_ : job.before_->after_) = job.after_;
  if (job.after_ != nullptr) job.after_->before_ = job.before_;
}

void Jobs::complete(ThreadJob& job) {
  const std::unique_ptr<ThreadJob> owned(&job);
  forget(job);
  if (open_ == nullptr) napi_unref_threadsafe_function(env_, done_);
  job.complete();
}

void Jobs::stop() noexcept {
  for (ThreadJob* job = open_; job != nullptr; job = job->after_) job->thread_->finish();
}

void Jobs::abandon() noexcept {
  while (open_ != nullptr) {
    const std::unique_ptr<ThreadJob> owned(open_);
    forget(*owned);
  }
  napi_release_threadsafe_function(done_, napi_tsfn_abort);
}

}  // namespace nvium::binding
