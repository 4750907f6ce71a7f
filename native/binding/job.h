// Work off the JavaScript thread.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <vector>

#include "../error.h"
#include "job_thread.h"

namespace nvium::binding {

// How a computation ended, in a form that crosses threads and needs no memory to make.
struct Outcome {
  enum Kind { done, failed, aborted, out_of_memory };

  Kind kind = done;
  Failure failure;  // of `failed`

  // { aborted, code, message, details } as lib/native.ts names it; null when done.
  Napi::Value to_object(Napi::Env env) const;
};

// Calls `call(work)` and turns whatever it throws into an outcome.
Outcome outcome_of(void (*call)(const void* work), const void* work) noexcept;

// The same for work() itself. Not by std::function, which may throw as it is made.
template <class Work>
Outcome outcome_of(const Work& work) noexcept {
  return outcome_of([](const void* w) { (*static_cast<const Work*>(w))(); }, &work);
}

// Runs `work` on the thread. The promise resolves with finish(env), or rejects with the failure.
// The objects in `keep` live as long.
Napi::Promise run_job(Napi::Env env, std::shared_ptr<JobThread> thread, std::function<void()> work,
                      std::function<Napi::Value(Napi::Env)> finish,
                      const std::vector<Napi::Object>& keep);

}  // namespace nvium::binding
