#include "model_object.h"

#include <chrono>
#include <tuple>

#include "../cpu/instruction_sets.h"
#include "../model/evaluate.h"
#include "addon.h"
#include "job.h"
#include "values.h"

namespace nvium::binding {
namespace {

// A call as read from JavaScript, and what became of it.
struct Call {
  std::vector<Sequence> sequences;
  std::vector<StepOptions> options;
  std::vector<uint32_t> fresh, stop_tokens;
  uint32_t cache_blocks, boundary_blocks, positions;
  uint32_t count = 0;
  std::chrono::milliseconds budget{0};
  Control control;

  std::vector<std::vector<uint32_t>> steps;  // STEP_FIELDS numbers a step
  Work work;
  Outcome outcome;
};

constexpr uint32_t kStepFields = 5;

using Loaded = std::pair<std::shared_ptr<Engine>, std::shared_ptr<JobThread>>;

Control read_control(const Napi::Object& call, Addon& addon) {
  const Napi::Object control = object(get(call, "control"), "control");
  const Napi::Value progress = get(control, "progress");
  return Control(elements<int32_t>(get(control, "abort"), "abort").data(),
                 progress.IsUndefined() ? nullptr : elements<double>(progress, "progress").data(),
                 addon.closing);
}

void require(bool condition, const char* what) {
  if (!condition) throw Failure{"ERR_NVIUM_INTERNAL", std::string("Bad native call: ") + what, {}};
}

// What a call may touch: every index it names is checked against what it reserves.
void check(const Call& call, const Plan& plan) {
  const auto table = [&](const BlockTable& t, uint32_t first, uint32_t positions, uint32_t limit) {
    require(t.block.size() * kBlockPositions >= positions, "a block table is too short");
    for (size_t b = 0; b < t.block.size(); b++) {
      require(t.block[b] >= kNoBlock && t.block[b] < int64_t(limit), "a block out of range");
      require(t.spare[b] >= kNoBlock && t.spare[b] < int64_t(limit), "a spare out of range");
      if (b >= first / kBlockPositions && b * kBlockPositions < positions) {
        require(t.block[b] != kNoBlock, "a block is missing");
      }
    }
  };
  const uint32_t more = std::max(call.count, 1u) - 1;
  for (const uint32_t block : call.fresh) {
    require(block < call.cache_blocks, "a fresh block out of range");
  }
  for (const Sequence& s : call.sequences) {
    const auto& f = s.frontiers;
    require(f.size() == plan.segments(), "frontiers");
    require(s.length < UINT32_MAX - call.count && (s.length > 0 || call.count == 0), "length");
    const uint32_t end = s.length + more;
    for (size_t m = 0; m < f.size(); m++) {
      require(f[m] <= (m == 0 ? (s.length == 0 ? 0 : s.length - 1) : f[m - 1]), "frontiers");
    }
    require(s.tokens.size() <= s.length && s.tokens.size() >= s.length - f.front(), "tokens");
    require(s.generated.size() <= s.length && s.generated.size() >= s.length - f.back(),
            "generated");
    for (const uint32_t token : s.tokens) require(token < plan.vocab_size, "a token");
    table(s.cache, 0, end, call.cache_blocks);
    require(s.boundary.size() + 1 == f.size(), "boundary tables");
    for (size_t m = 0; m < s.boundary.size(); m++) {
      table(s.boundary[m], f[m + 1], end, call.boundary_blocks);
    }
    require(end <= call.positions, "positions");
  }
  for (const StepOptions& o : call.options) {
    require(!o.force || *o.force < plan.vocab_size, "force");
  }
}

std::shared_ptr<Call> read_call(const Napi::Object& o, Addon& addon) {
  auto call = std::make_shared<Call>();
  const Napi::Value sequences = get(o, "sequences");
  require(sequences.IsArray(), "sequences");
  for (uint32_t i = 0; i < sequences.As<Napi::Array>().Length(); i++) {
    const Napi::Value sequence = sequences.As<Napi::Array>()[i];
    call->sequences.push_back(read_sequence(object(sequence, "sequences")));
  }
  const std::span<uint32_t> fresh = elements<uint32_t>(get(o, "fresh"), "fresh");
  call->fresh.assign(fresh.begin(), fresh.end());
  call->cache_blocks = number(o, "cacheBlocks");
  call->boundary_blocks = number(o, "boundaryBlocks");
  call->positions = number(o, "positions");
  call->control = read_control(o, addon);
  call->steps.resize(call->sequences.size());
  return call;
}

std::shared_ptr<Call> read_step_call(const Napi::Object& o, Addon& addon) {
  auto call = read_call(o, addon);
  const Napi::Value options = get(o, "options");
  require(options.IsArray() && options.As<Napi::Array>().Length() == call->sequences.size(),
          "options");
  for (uint32_t i = 0; i < call->sequences.size(); i++) {
    const Napi::Value option = options.As<Napi::Array>()[i];
    call->options.push_back(read_options(object(option, "options")));
  }
  const std::span<uint32_t> stops = elements<uint32_t>(get(o, "stopTokens"), "stopTokens");
  call->stop_tokens.assign(stops.begin(), stops.end());
  call->count = number(o, "count");
  call->budget = std::chrono::milliseconds(number(o, "budget"));
  return call;
}

// Several steps of all sequences, those that met a stop token excepted.
void run_steps(Cascade& cascade, Call& call) {
  const auto begin = std::chrono::steady_clock::now();
  std::vector<size_t> going(call.sequences.size());
  for (size_t i = 0; i < going.size(); i++) going[i] = i;
  // Room for everything a step leaves, made before it: from the step on nothing may fail until it
  // is recorded.
  std::vector<StepResult> results;
  std::vector<Sequence> sequences;
  std::vector<StepOptions> options;
  std::vector<size_t> next;
  results.reserve(going.size());
  sequences.reserve(going.size());
  options.reserve(going.size());
  next.reserve(going.size());
  for (uint32_t i = 0; i < call.count && !going.empty(); i++) {
    if (i > 0 && std::chrono::steady_clock::now() - begin >= call.budget) break;
    call.control.check();
    results.assign(going.size(), {});
    sequences.clear();
    options.clear();
    next.clear();
    for (const size_t s : going) {
      std::vector<uint32_t>& steps = call.steps[s];
      if (steps.capacity() - steps.size() < kStepFields) {
        steps.reserve(std::max(2 * steps.size(), size_t(8 * kStepFields)));
      }
    }
    for (const size_t s : going) {
      sequences.push_back(std::move(call.sequences[s]));
      options.push_back(call.options[s]);
    }
    const auto give_back = [&] {
      for (size_t k = 0; k < going.size(); k++) {
        call.sequences[going[k]] = std::move(sequences[k]);
      }
    };
    try {
      cascade.step(sequences, options, call.control, results);
    } catch (...) {
      give_back();  // frontiers that moved stand
      throw;
    }
    give_back();
    for (size_t k = 0; k < going.size(); k++) {
      const StepResult& r = results[k];
      const auto& f = call.sequences[going[k]].frontiers;
      call.steps[going[k]].insert(call.steps[going[k]].end(),
                                  {r.token, r.drawn, r.exit, r.layers_run, f.front() - f.back()});
      if (std::find(call.stop_tokens.begin(), call.stop_tokens.end(), r.token) ==
          call.stop_tokens.end()) {
        next.push_back(going[k]);
      }
    }
    std::swap(going, next);
  }
}

// A computation on the engine's device. It never throws: the call says how it ended.
template <class Compute>
void run_call(Engine& engine, Call& call, const Compute& compute) {
  Outcome outcome = outcome_of([&] {
    const std::lock_guard lock(engine.one_job);
    Model& model = *engine.model;
    check(call, model.plan());
    const Work before = model.work();
    call.outcome = outcome_of([&] {
      // A failure leaves enter(), which then waits for what the device still does.
      engine.computer.backend->enter([&] {
        model.reserve(call.sequences, call.fresh, call.positions, call.control);
        compute(model);
      });
    });
    engine.note_memory();
    call.work = {model.work().layer_passes - before.layer_passes,
                 model.work().layer_rows - before.layer_rows,
                 model.work().weight_bytes - before.weight_bytes};
  });
  if (outcome.kind != Outcome::done) call.outcome = std::move(outcome);
}

Napi::Value uint32_array(Napi::Env env, const std::vector<uint32_t>& values) {
  Napi::Uint32Array array = Napi::Uint32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Value to_result(Napi::Env env, const Call& call) {
  Napi::Array frontiers = Napi::Array::New(env, call.sequences.size());
  Napi::Array steps = Napi::Array::New(env, call.sequences.size());
  for (uint32_t i = 0; i < call.sequences.size(); i++) {
    frontiers[i] = uint32_array(env, call.sequences[i].frontiers);
    steps[i] = uint32_array(env, call.steps[i]);
  }
  Napi::Object work = Napi::Object::New(env);
  work.Set("layerPasses", double(call.work.layer_passes));
  work.Set("layerRows", double(call.work.layer_rows));
  work.Set("weightBytes", double(call.work.weight_bytes));
  Napi::Object result = Napi::Object::New(env);
  result.Set("frontiers", frontiers);
  result.Set("steps", steps);
  result.Set("work", work);
  result.Set("error", call.outcome.to_object(env));
  return result;
}

float* optional_floats(const Napi::Object& o, const char* name, size_t count) {
  const Napi::Value value = get(o, name);
  if (value.IsNull()) return nullptr;
  const std::span<float> array = elements<float>(value, name);
  require(array.size() == count, name);
  return array.data();
}

}  // namespace

Memory Engine::memory() const {
  const std::lock_guard lock(noting_);
  return noted_;
}

void Engine::note_memory() {
  const std::lock_guard lock(noting_);
  noted_ = model->memory();
}

template <auto member>
Napi::Value ModelObject::told(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    return Napi::Value::From(info.Env(), engine()->computer.*member);
  });
}

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(
      env, "NativeModel",
      {InstanceMethod<&ModelObject::step>("step"),
       InstanceMethod<&ModelObject::step_sync>("stepSync"),
       InstanceMethod<&ModelObject::flush>("flush"),
       InstanceMethod<&ModelObject::evaluate>("evaluate"),
       InstanceMethod<&ModelObject::trim>("trim"),
       InstanceMethod<&ModelObject::read_block>("readBlock"),
       InstanceMethod<&ModelObject::memory>("memory"),
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

std::shared_ptr<Engine> ModelObject::engine_for_call() {
  const auto engine = this->engine();
  engine->calls++;
  return engine;
}

namespace {

std::string only_cpu(const Plan& plan) {
  return has_integers(plan) ? "Matrices of integers run on the CPU only." : "";
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
    const Napi::Object holder = Napi::Object::New(info.Env());
    holder.Set("control", info[2]);
    const Control control = read_control(holder, addon);
    auto loaded = std::make_shared<Loaded>(nullptr, addon.jobs.make_thread());
    return run_job(
        info.Env(), loaded->second,
        [=] {
          auto made = std::make_shared<Engine>(
              make_computer(device, {threads, place, set}, only_cpu(*plan)));
          const std::unique_ptr<TensorSource> source = open_files(*plan);
          Backend& backend = *made->computer.backend;
          backend.enter([&] {
            made->model = std::make_unique<Model>(backend, std::move(*plan), *source, control);
            made->cascade = std::make_unique<Cascade>(*made->model);
          });
          made->note_memory();
          loaded->first = std::move(made);
        },
        [loaded, &addon](Napi::Env env) -> Napi::Value {
          return addon.model_class.New({Napi::External<Loaded>::New(env, loaded.get())});
        },
        {object(info[2], "control")});
  });
}

Napi::Value ModelObject::step(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Object o = object(info[0], "call");
    const auto engine = engine_for_call();
    auto call = read_step_call(o, Addon::of(info.Env()));
    return run_job(
        info.Env(), thread_,
        [=] { run_call(*engine, *call, [&](Model&) { run_steps(*engine->cascade, *call); }); },
        [this, call](Napi::Env env) {
          account(env);
          return to_result(env, *call);
        },
        {o, info.This().As<Napi::Object>()});
  });
}

Napi::Value ModelObject::step_sync(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto engine = engine_for_call();
    auto call = read_step_call(object(info[0], "call"), Addon::of(info.Env()));
    run_call(*engine, *call, [&](Model&) { run_steps(*engine->cascade, *call); });
    account(info.Env());
    return to_result(info.Env(), *call);
  });
}

Napi::Value ModelObject::flush(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Object o = object(info[0], "call");
    const auto engine = engine_for_call();
    auto call = read_call(o, Addon::of(info.Env()));
    return run_job(
        info.Env(), thread_,
        [=] {
          run_call(*engine, *call,
                   [&](Model&) { engine->cascade->flush(call->sequences, call->control); });
        },
        [this, call](Napi::Env env) {
          account(env);
          return to_result(env, *call);
        },
        {o, info.This().As<Napi::Object>()});
  });
}

Napi::Value ModelObject::evaluate(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const Napi::Object o = object(info[0], "call");
    const auto engine = engine_for_call();
    auto call = read_call(o, Addon::of(info.Env()));
    require(call->sequences.size() == 1, "sequences");
    const Plan& plan = engine->model->plan();
    const size_t tokens = call->sequences[0].length, exits = plan.segments();
    require(call->sequences[0].tokens.size() == tokens, "tokens");
    Evaluation out;
    out.exit_probs = optional_floats(o, "exitProbs", tokens * exits);
    out.exit_logits = optional_floats(o, "exitLogits", tokens * exits * plan.vocab_size);
    out.mixture_log_probs = optional_floats(o, "mixtureLogProbs", tokens * plan.vocab_size);
    return run_job(
        info.Env(), thread_,
        [=] {
          run_call(*engine, *call, [&](Model& model) {
            nvium::evaluate(model, call->sequences[0], call->control, out);
          });
        },
        [this, call](Napi::Env env) {
          account(env);
          return to_result(env, *call);
        },
        {o, info.This().As<Napi::Object>()});
  });
}

Napi::Value ModelObject::trim(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto engine = this->engine();
    const auto used = [&](size_t i, const char* name) {
      const std::span<uint8_t> flags = elements<uint8_t>(info[i], name);
      return std::vector<uint8_t>(flags.begin(), flags.end());
    };
    const uint32_t positions = info[2].ToNumber().Uint32Value();
    return run_job(
        info.Env(), thread_,
        [engine, positions, calls = engine->calls.load(), cache = used(0, "cache"),
         boundary = used(1, "boundary")] {
          const std::lock_guard lock(engine->one_job);
          // A call that was asked for since may have taken what was free.
          if (engine->calls != calls) return;
          engine->computer.backend->enter([&] { engine->model->trim(cache, boundary, positions); });
          engine->note_memory();
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
    auto engine = this->engine();
    const std::string pool = info[0].ToString();
    const uint32_t block = info[1].ToNumber().Uint32Value();
    const std::lock_guard lock(engine->one_job);
    std::vector<std::byte> bytes;
    engine->computer.backend->enter(
        [&] { bytes = engine->model->read_block(pool == "cache", block); });
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

Napi::Value ModelObject::dispose(const Napi::CallbackInfo& info) {
  engine_.reset();
  thread_.reset();
  account(info.Env());
  return info.Env().Undefined();
}

}  // namespace nvium::binding
