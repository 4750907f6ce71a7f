#include "model_object.h"

#include <cstring>
#include <tuple>

#include "addon.h"
#include "job.h"
#include "values.h"

namespace nvium::binding {
namespace {

// By the order of Stop; `lib/native.ts` names them alike.
constexpr const char* kStops[] = {"none",     "count",   "token", "capacity",
                                  "deadline", "aborted", "failed"};

constexpr size_t kStepFields = 8;  // lib/native.ts: STEP_FIELDS

using Loaded = std::pair<std::shared_ptr<Engine>, std::shared_ptr<JobThread>>;

Napi::Value steps_of(Napi::Env env, const Request& r) {
  Napi::Float64Array steps = Napi::Float64Array::New(env, r.steps.size() * kStepFields);
  double* to = steps.Data();
  for (const StepResult& s : r.steps) {
    for (const double number :
         {double(s.token), double(s.drawn), double(s.exit), double(s.layers_run), double(s.pending),
          s.work.layer_passes, s.work.layer_rows, s.work.weight_bytes}) {
      *to++ = number;
    }
  }
  return steps;
}

Napi::Value frontiers_of(Napi::Env env, const Sequence& s) {
  Napi::Uint32Array array = Napi::Uint32Array::New(env, s.frontiers.size());
  std::copy(s.frontiers.begin(), s.frontiers.end(), array.Data());
  return array;
}

Napi::Value to_result(Napi::Env env, const Call& call, const Outcome& outcome) {
  Napi::Array requests = Napi::Array::New(env, call.requests.size());
  for (uint32_t i = 0; i < call.requests.size(); i++) {
    const Napi::HandleScope scope(env);
    const Request& r = call.requests[i];
    Napi::Object work = Napi::Object::New(env);
    work.Set("layerPasses", r.work.layer_passes);
    work.Set("layerRows", r.work.layer_rows);
    work.Set("weightBytes", r.work.weight_bytes);
    Napi::Object object = Napi::Object::New(env);
    object.Set("stop", kStops[size_t(r.stop)]);
    object.Set("frontiers", frontiers_of(env, r.sequence));
    object.Set("remaining", double(r.remaining));
    object.Set("steps", steps_of(env, r));
    object.Set("work", work);
    object.Set("error",
               r.failure.code.empty() ? env.Null() : to_object(env, {Outcome::failed, r.failure}));
    requests[i] = object;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("requests", requests);
  result.Set("error", to_object(env, outcome));
  return result;
}

float* optional_floats(const Napi::Object& o, const char* name, size_t count) {
  const Napi::Value value = get(o, name);
  if (value.IsNull()) return nullptr;
  const std::span<float> array = elements<float>(value, name);
  if (array.size() != count) {
    throw Failure{"ERR_NVIUM_INTERNAL", std::string("Bad native call: ") + name, {}};
  }
  return array.data();
}

}  // namespace

template <auto member>
Napi::Value ModelObject::told(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    return Napi::Value::From(info.Env(), engine()->computer().*member);
  });
}

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeModel",
      {InstanceMethod<&ModelObject::run>("run"), InstanceMethod<&ModelObject::run_sync>("runSync"),
       InstanceMethod<&ModelObject::evaluate>("evaluate"),
       InstanceMethod<&ModelObject::trim>("trim"),
       InstanceMethod<&ModelObject::read_block>("readBlock"),
       InstanceMethod<&ModelObject::memory>("memory"),
       InstanceMethod<&ModelObject::block_bytes>("blockBytes"),
       InstanceMethod<&ModelObject::dispose>("dispose"),
       InstanceAccessor<&ModelObject::told<&Computer::device>>("device"),
       InstanceAccessor<&ModelObject::told<&Computer::reason>>("deviceReason"),
       InstanceAccessor<&ModelObject::told<&Computer::instruction_set>>("instructionSet"),
       InstanceAccessor<&ModelObject::told<&Computer::threads>>("threads")});
}

// Made by `load` only, which hands over the engine.
ModelObject::ModelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelObject>(info) {
  if (info.Length() != 1 || !info[0].IsExternal()) {
    throw Napi::TypeError::New(info.Env(), "NativeModel cannot be constructed");
  }
  std::tie(engine_, thread_) = *info[0].As<Napi::External<Loaded>>().Data();
  account(info.Env());
}

void ModelObject::Finalize(Napi::Env env) {
  engine_.reset();
  thread_.reset();
  account(env);
}

void ModelObject::account(Napi::Env env) {
  int64_t bytes = 0;
  if (engine_ != nullptr) {
    const Memory m = engine_->memory();
    bytes = int64_t(m.weights + m.cache + m.boundary + m.workspace);
  }
  if (bytes != accounted_) Napi::MemoryManagement::AdjustExternalMemory(env, bytes - accounted_);
  accounted_ = bytes;
}

std::shared_ptr<Engine> ModelObject::engine() {
  if (engine_ == nullptr) {
    throw Failure{"ERR_NVIUM_DISPOSED", "The model was disposed.", {}};
  }
  return engine_;
}

namespace {

std::string only_cpu(const Plan& plan) {
  if (has_integers(plan)) return "Matrices of integers run on the CPU only.";
  return plan.cache == CacheType::int8 ? "Keys and values of int8 run on the CPU only." : "";
}

}  // namespace

Napi::Value ModelObject::load(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Addon& addon = Addon::of(info.Env());
    auto plan = std::make_shared<Plan>(read_plan(object(info[0], "plan")));
    const Napi::Object options = object(info[1], "options");
    const uint32_t threads = number(options, "threads");
    const bool place = get(options, "place").ToBoolean();
    const std::string set = string(options, "instructionSet");
    const std::string device = string(options, "device");
    const Control control = read_control(object(info[2], "control"), addon.closing);
    auto loaded = std::make_shared<Loaded>(nullptr, addon.jobs.make_thread());
    return run_job(
        info.Env(), loaded->second,
        [=] {
          Computer computer = make_computer(device, {threads, place, set}, only_cpu(*plan));
          loaded->first = std::make_shared<Engine>(std::move(computer), std::move(*plan), control);
        },
        [loaded, &addon](Napi::Env env) -> Napi::Value {
          return addon.model_class.New({Napi::External<Loaded>::New(env, loaded.get())});
        },
        {object(info[2], "control")});
  });
}

Napi::Value ModelObject::submit(const Napi::CallbackInfo& info, std::shared_ptr<Call> call,
                                std::function<Outcome(Engine&)> compute) {
  const std::shared_ptr<Engine> engine = this->engine();
  engine->announce();
  auto outcome = std::make_shared<Outcome>();
  return run_job(
      info.Env(), thread_, [=] { *outcome = compute(*engine); },
      [this, call, outcome](Napi::Env env) {
        account(env);
        return to_result(env, *call, *outcome);
      },
      {info[0].As<Napi::Object>(), info.This().As<Napi::Object>()});
}

Napi::Value ModelObject::run(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto call =
        std::make_shared<Call>(read_call(object(info[0], "call"), Addon::of(info.Env()).closing));
    return submit(info, call, [call](Engine& engine) { return engine.run(*call); });
  });
}

Napi::Value ModelObject::run_sync(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Call call = read_call(object(info[0], "call"), Addon::of(info.Env()).closing);
    const std::shared_ptr<Engine> engine = this->engine();
    engine->announce();
    const Outcome outcome = engine->run(call);
    account(info.Env());
    return to_result(info.Env(), call, outcome);
  });
}

Napi::Value ModelObject::evaluate(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Object o = object(info[0], "call");
    auto call = std::make_shared<Call>(read_call(o, Addon::of(info.Env()).closing));
    const Plan& plan = engine()->plan();
    const Sequence* s = call->requests.size() == 1 ? &call->requests[0].sequence : nullptr;
    if (s == nullptr || s->tokens.size() != s->length) {
      throw Failure{"ERR_NVIUM_INTERNAL", "Bad native call: requests", {}};
    }
    const size_t tokens = s->length, exits = plan.segments();
    Evaluation out;
    out.exit_probs = optional_floats(o, "exitProbs", tokens * exits);
    out.exit_logits = optional_floats(o, "exitLogits", tokens * exits * plan.vocab_size);
    out.mixture_log_probs = optional_floats(o, "mixtureLogProbs", tokens * plan.vocab_size);
    return submit(info, call, [call, out](Engine& engine) { return engine.evaluate(*call, out); });
  });
}

Napi::Value ModelObject::trim(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto used = [&](size_t i, const char* name) {
      const std::span<uint8_t> flags = elements<uint8_t>(info[i], name);
      return std::vector<uint8_t>(flags.begin(), flags.end());
    };
    const std::shared_ptr<Engine> engine = this->engine();
    return run_job(
        info.Env(), thread_,
        [engine, calls = engine->calls(), cache = used(0, "cache"), boundary = used(1, "boundary"),
         positions = info[2].ToNumber().Uint32Value()] {
          engine->trim(calls, cache, boundary, positions);
        },
        [this](Napi::Env env) {
          account(env);
          return env.Undefined();
        },
        {info.This().As<Napi::Object>()});
  });
}

Napi::Value ModelObject::read_block(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::string pool = info[0].ToString();
    const std::vector<std::byte> bytes =
        engine()->read_block(pool == "cache", info[1].ToNumber().Uint32Value());
    Napi::Uint8Array array = Napi::Uint8Array::New(info.Env(), bytes.size());
    std::memcpy(array.Data(), bytes.data(), bytes.size());
    return array;
  });
}

Napi::Value ModelObject::memory(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Memory m = engine()->memory();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("weights", double(m.weights));
    object.Set("embedding", double(m.embedding));
    object.Set("integers", double(m.integers));
    object.Set("cache", double(m.cache));
    object.Set("boundary", double(m.boundary));
    object.Set("workspace", double(m.workspace));
    return object;
  });
}

Napi::Value ModelObject::block_bytes(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("cache", double(engine()->cache_block_bytes()));
    object.Set("boundary", double(engine()->boundary_block_bytes()));
    return object;
  });
}

Napi::Value ModelObject::dispose(const Napi::CallbackInfo& info) {
  engine_.reset();
  thread_.reset();
  account(info.Env());
  return info.Env().Undefined();
}

}  // namespace nvium::binding
