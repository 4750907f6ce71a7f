#include "job.h"

#include <memory>
#include <new>

#include "addon.h"

namespace nvium::binding {
namespace {

class Job final : public ThreadJob {
 public:
  Job(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> finish,
      const std::vector<Napi::Object>& keep)
      : deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        finish_(std::move(finish)) {
    for (const Napi::Object& object : keep) keep_.push_back(Napi::Persistent(object));
  }

  Napi::Promise promise() const { return deferred_.Promise(); }

  void execute() noexcept override { outcome_ = outcome_of(work_); }

  void complete() override {
    const Napi::Env env = deferred_.Env();
    Napi::Value result;
    if (outcome_.kind == Outcome::done) {
      outcome_ = outcome_of([&] {
        try {
          result = finish_(env);
        } catch (const Napi::Error&) {
          // It makes objects, and those fail for want of memory only.
          throw std::bad_alloc();
        }
      });
    }
    // A promise that is never settled would hold up everything behind it.
    if (outcome_.kind == Outcome::done) {
      deferred_.Resolve(result);
    } else {
      deferred_.Reject(to_object(env, outcome_));
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::function<void()> work_;
  std::function<Napi::Value(Napi::Env)> finish_;
  std::vector<Napi::ObjectReference> keep_;
  Outcome outcome_;
};

}  // namespace

Napi::Value to_object(Napi::Env env, const Outcome& outcome) {
  if (outcome.kind == Outcome::done) return env.Null();
  Napi::Object details = Napi::Object::New(env);
  for (const auto& [key, value] : outcome.failure.details) {
    std::visit([&](const auto& v) { details.Set(key, v); }, value);
  }
  // No strings of our own: there may be no memory for them.
  const bool memory = outcome.kind == Outcome::out_of_memory;
  Napi::Object object = Napi::Object::New(env);
  object.Set("aborted", outcome.kind == Outcome::aborted);
  object.Set("code", memory ? "ERR_NVIUM_OUT_OF_MEMORY" : outcome.failure.code.c_str());
  object.Set("message", memory ? "Memory ran out." : outcome.failure.message.c_str());
  object.Set("details", details);
  return object;
}

Napi::Promise run_job(Napi::Env env, std::shared_ptr<JobThread> thread, std::function<void()> work,
                      std::function<Napi::Value(Napi::Env)> finish,
                      const std::vector<Napi::Object>& keep) {
  Addon& addon = Addon::of(env);
  if (addon.closing->load()) throw exiting();
  auto job = std::make_unique<Job>(env, std::move(work), std::move(finish), keep);
  const Napi::Promise promise = job->promise();
  addon.jobs.run(std::move(job), std::move(thread));
  return promise;
}

}  // namespace nvium::binding
