#include "addon.h"

#include "../cpu/instruction_sets.h"
#include "../devices.h"
#include "../model/quantise.h"
#include "../numerics/environment.h"
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

// Rows of a tensor of floats as its file holds them, to { integers, scales } as a quantised file
// holds them; null where a value is not finite.
Napi::Value quantise(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Object o = object(info[0], "rows");
    const StoredType from = read_stored_type(string(o, "from"), "from"),
                     to = read_stored_type(string(o, "to"), "to");
    const std::span<uint8_t> stored = elements<uint8_t>(get(o, "stored"), "stored");
    const uint32_t rows = number(o, "rows"), cols = number(o, "cols");
    const TensorPlan in{.rows = rows, .cols = cols, .type = from},
        out{.rows = rows, .cols = cols, .type = to};
    if (holds_integers(from) || !holds_integers(to) || stored.size() != in.bytes()) {
      throw Failure{"ERR_NVIUM_INTERNAL", "Bad native call: rows to quantise", {}};
    }
    const uint32_t group = to == StoredType::int4 ? 32 : 128;
    Napi::Uint8Array integers = Napi::Uint8Array::New(info.Env(), out.bytes());
    Napi::Uint16Array scales =
        Napi::Uint16Array::New(info.Env(), size_t(rows) * ceil_div(cols, group));
    bool finite = false;
    numerics::with_flushing([&] {
      finite = quantise_rows(from, to, rows, cols, reinterpret_cast<std::byte*>(stored.data()),
                             reinterpret_cast<std::byte*>(integers.Data()), scales.Data());
    });
    if (!finite) return info.Env().Null();
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("integers", integers);
    result.Set("scales", scales);
    return result;
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
      object.Set("device", "cuda:" + std::to_string(device.ordinal));
      object.Set("usable", device.usable);
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
  exports.Set("quantise", Napi::Function::New<quantise>(env, "quantise"));
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
