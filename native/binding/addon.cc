#include "addon.h"

#include "../cpu/instruction_sets.h"
#include "../devices.h"
#include "model_object.h"
#include "values.h"

namespace nvium::binding {
namespace {

Napi::Value stored_bytes(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Plan plan = read_plan(object(info[0], "plan"));
    return Napi::Number::New(info.Env(), double(nvium::stored_bytes(plan)));
  });
}

Napi::Value instruction_sets(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Napi::Array names = Napi::Array::New(info.Env());
    uint32_t count = 0;
    for (const cpu::Kernels* kernels : cpu::available_kernels()) {
      names[count++] = Napi::String::New(info.Env(), kernels->name);
    }
    return names;
  });
}

Napi::Value stop(const Napi::CallbackInfo& info) {
  Addon::of(info.Env()).stop();
  return info.Env().Undefined();
}

// Jobs end before their environment does. As JavaScript's thread exits: Node's own process, be
// `lib` evaluated in another realm or not, tells that in time for a job that uses what libraries
// take down as the process ends. A worker that is terminated has a cleanup hook only.
void stop_at_the_end(Napi::Env env, Addon& addon) {
  napi_add_env_cleanup_hook(
      env,
      [](void* addon) {
        static_cast<Addon*>(addon)->stop();
        static_cast<Addon*>(addon)->jobs.abandon();
      },
      &addon);
  const Napi::Value process = env.Global().Get("process");
  if (!process.IsObject()) return;
  const Napi::Value once = process.As<Napi::Object>().Get("once");
  if (!once.IsFunction()) return;
  once.As<Napi::Function>().Call(
      process, {Napi::String::New(env, "exit"), Napi::Function::New<stop>(env, "stopNvium")});
}

// The CUDA half of getDevices().
Napi::Value cuda(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Env env = info.Env();
    const CudaState state = cuda_state();
    Napi::Array devices = Napi::Array::New(env);
    for (const CudaDevice& device : state.devices) {
      Napi::Object object = Napi::Object::New(env);
      object.Set("name", device.name);
      object.Set("memory", device.memory);
      object.Set("computeCapability", device.capability);
      devices[devices.Length()] = object;
    }
    Napi::Object result = Napi::Object::New(env);
    result.Set("compiled", state.compiled);
    result.Set("available", state.chosen() != nullptr);
    result.Set("reason", state.reason);
    result.Set("devices", devices);
    return result;
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  auto addon = std::make_unique<Addon>(env);
  env.SetInstanceData(addon.get());
  stop_at_the_end(env, *addon.release());
  exports.Set("loadModel", Napi::Function::New<ModelObject::load>(env, "loadModel"));
  exports.Set("storedBytes", Napi::Function::New<stored_bytes>(env, "storedBytes"));
  exports.Set("cuda", Napi::Function::New<cuda>(env, "cuda"));
  exports.Set("instructionSets", Napi::Function::New<instruction_sets>(env, "instructionSets"));
  return exports;
}

}  // namespace

Addon::Addon(Napi::Env env) : jobs(env), model_class(Napi::Persistent(ModelObject::define(env))) {}

void Addon::stop() noexcept {
  closing->store(true);
  jobs.stop();
}

}  // namespace nvium::binding

// The macro names its function by the module.
static Napi::Object init_nvium(Napi::Env env, Napi::Object exports) {
  return nvium::binding::initialise(env, exports);
}
NODE_API_MODULE(nvium, init_nvium)
