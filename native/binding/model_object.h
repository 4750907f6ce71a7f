// The NativeModel of lib/native.ts.
#pragma once

#include <napi.h>

#include <atomic>
#include <memory>
#include <mutex>

#include "../devices.h"
#include "../model/step.h"
#include "job_thread.h"

namespace nvium::binding {

// A model on its device. Jobs share its ownership, so disposing while one runs frees it when that
// job ends.
struct Engine {
  explicit Engine(Computer made) : computer(std::move(made)) {}

  Computer computer;
  std::unique_ptr<Model> model;
  std::unique_ptr<Cascade> cascade;
  std::mutex one_job;
  // Calls that JavaScript has asked for: their blocks are in use, whatever a trim was told before.
  std::atomic<uint64_t> calls{0};

  // The device memory held when the last job ended: one that runs may be changing it.
  Memory memory() const;
  // Takes note of it; called by the job.
  void note_memory();

 private:
  mutable std::mutex noting_;
  Memory noted_{};
};

class ModelObject final : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Value load(const Napi::CallbackInfo& info);

  explicit ModelObject(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;

 private:
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value step_sync(const Napi::CallbackInfo& info);
  Napi::Value flush(const Napi::CallbackInfo& info);
  Napi::Value evaluate(const Napi::CallbackInfo& info);
  Napi::Value trim(const Napi::CallbackInfo& info);
  Napi::Value read_block(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  // A member of Computer.
  template <auto member>
  Napi::Value told(const Napi::CallbackInfo& info);

  std::shared_ptr<Engine> engine();  // throws when disposed
  std::shared_ptr<Engine> engine_for_call();
  void account(Napi::Env env);

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<JobThread> thread_;
  int64_t accounted_ = 0;  // bytes the garbage collector was told of
};

}  // namespace nvium::binding
