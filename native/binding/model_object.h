// The NativeModel of lib/native.ts.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "../engine.h"
#include "job_thread.h"

namespace nvium::binding {

class ModelObject final : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value load(const Napi::CallbackInfo& info);

  explicit ModelObject(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value run_sync(const Napi::CallbackInfo& info);
  Napi::Value evaluate(const Napi::CallbackInfo& info);
  Napi::Value trim(const Napi::CallbackInfo& info);
  Napi::Value read_block(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value block_bytes(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  // A member of Computer.
  template <auto member>
  Napi::Value told(const Napi::CallbackInfo& info);

  // Computes off the JavaScript thread, with the engine and the object the call was read from.
  Napi::Value submit(const Napi::CallbackInfo& info, std::shared_ptr<Call> call,
                     std::function<Outcome(Engine&)> compute);

  std::shared_ptr<Engine> engine();  // throws when disposed
  void account(Napi::Env env);

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<JobThread> thread_;
  int64_t accounted_ = 0;  // bytes the garbage collector was told of
};

}  // namespace nvium::binding
