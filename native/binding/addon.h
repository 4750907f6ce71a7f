// What the addon keeps for one JavaScript environment (a thread of Node); nothing is shared between
// two.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>

#include "job.h"
#include "job_thread.h"

namespace nvium::binding {

struct Addon {
  explicit Addon(Napi::Env env);

  static Addon& of(Napi::Env env) { return *env.GetInstanceData<Addon>(); }

  // Ends every job at its next look and waits for that; none is run later.
  void stop() noexcept;

  // Set by `stop`.
  std::shared_ptr<std::atomic<bool>> closing = std::make_shared<std::atomic<bool>>(false);
  Jobs jobs;
  Napi::FunctionReference model_class;
};

// Calls `body` and throws what it fails with into JavaScript as the failure object of
// lib/native.ts.
template <class Body>
Napi::Value guarded(const Napi::CallbackInfo& info, const Body& body) {
  Napi::Value result = info.Env().Undefined();
  const Outcome outcome = outcome_of([&] { result = body(); });
  if (outcome.kind != Outcome::done) {
    napi_throw(info.Env(), to_object(info.Env(), outcome));
  }
  return result;
}

}  // namespace nvium::binding
