// Work off the JavaScript thread.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <vector>

#include "../outcome.h"
#include "job_thread.h"

namespace nvium::binding {

// { aborted, code, message, details } as lib/native.ts names it; null when done.
Napi::Value to_object(Napi::Env env, const Outcome& outcome);

// Runs `work` on the thread. The promise resolves with finish(env), or rejects with the failure.
// The objects in `keep` live as long.
Napi::Promise run_job(Napi::Env env, std::shared_ptr<JobThread> thread, std::function<void()> work,
                      std::function<Napi::Value(Napi::Env)> finish,
                      const std::vector<Napi::Object>& keep);

}  // namespace nvium::binding
