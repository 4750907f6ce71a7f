#include "values.h"

#include <cmath>

namespace nvium::binding {
namespace {

[[noreturn]] void wrong(const char* name, const char* expected) {
  throw Failure{"ERR_NVIUM_INTERNAL",
                std::string("The native side expected ") + expected + " as " + name + ".",
                {{"argument", name}}};
}

double real(const Napi::Object& object, const char* name) {
  const Napi::Value value = get(object, name);
  if (!value.IsNumber()) wrong(name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

uint64_t whole(const Napi::Object& object, const char* name, double limit) {
  const double value = real(object, name);
  if (!(value >= 0 && value <= limit && value == std::floor(value))) wrong(name, "an index");
  return uint64_t(value);
}

template <class T>
constexpr napi_typedarray_type kArrayType = napi_float32_array;
template <>
constexpr napi_typedarray_type kArrayType<double> = napi_float64_array;
template <>
constexpr napi_typedarray_type kArrayType<int32_t> = napi_int32_array;
template <>
constexpr napi_typedarray_type kArrayType<uint32_t> = napi_uint32_array;
template <>
constexpr napi_typedarray_type kArrayType<uint8_t> = napi_uint8_array;

template <class Read>
auto list(const Napi::Object& parent, const char* name, const Read& read) {
  const Napi::Value value = get(parent, name);
  if (!value.IsArray()) wrong(name, "an array");
  const Napi::Array array = value.As<Napi::Array>();
  std::vector<decltype(read(Napi::Value()))> result;
  result.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) {
    const Napi::HandleScope scope(array.Env());
    result.push_back(read(array[i]));
  }
  return result;
}

Matrices matrices(const Napi::Object& plan) {
  if (get(plan, "matrices").IsUndefined()) return Matrices::as_stored;
  const std::string type = string(plan, "matrices");
  if (type == "int8") return Matrices::int8;
  if (type == "int4") return Matrices::int4;
  wrong("matrices", "int8 or int4");
}

CacheType cache_type(const Napi::Object& plan) {
  const std::string type = string(plan, "cacheType");
  if (type == "bf16") return CacheType::bf16;
  if (type == "f32") return CacheType::f32;
  if (type == "int8") return CacheType::int8;
  wrong("cacheType", "bf16, f32 or int8");
}

numerics::RotaryScaling scaling(const Napi::Object& rotary) {
  const Napi::Object object = binding::object(get(rotary, "scaling"), "scaling");
  const std::string type = string(object, "type");
  numerics::RotaryScaling scaling;
  if (type == "default") return scaling;
  scaling.factor = real(object, "factor");
  scaling.kind = numerics::RotaryKind::linear;
  if (type == "linear") return scaling;
  if (type != "llama3") wrong("rotary.scaling.type", "default, linear or llama3");
  scaling.kind = numerics::RotaryKind::llama3;
  scaling.low_freq_factor = real(object, "lowFrequencyFactor");
  scaling.high_freq_factor = real(object, "highFrequencyFactor");
  scaling.original_max_position = real(object, "originalContext");
  return scaling;
}

template <class T>
std::vector<T> copy(const Napi::Object& parent, const char* name) {
  const std::span<T> from = elements<T>(get(parent, name), name);
  return {from.begin(), from.end()};
}

BlockTable block_table(const Napi::Value& value) {
  const Napi::Object table = object(value, "a block table");
  BlockTable result{copy<int32_t>(table, "block"), copy<int32_t>(table, "spare")};
  if (result.block.size() != result.spare.size()) wrong("spare", "as many entries as in block");
  return result;
}

}  // namespace

Napi::Value get(const Napi::Object& object, const char* name) { return object.Get(name); }

Napi::Object object(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) wrong(name, "an object");
  return value.As<Napi::Object>();
}

uint32_t number(const Napi::Object& object, const char* name) {
  return uint32_t(whole(object, name, double(UINT32_MAX)));
}

std::string string(const Napi::Object& object, const char* name) {
  const Napi::Value value = get(object, name);
  if (!value.IsString()) wrong(name, "a string");
  return value.As<Napi::String>();
}

template <class T>
std::span<T> elements(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray()) wrong(name, "a typed array");
  const Napi::TypedArray array = value.As<Napi::TypedArray>();
  if (array.TypedArrayType() != kArrayType<T>) {
    wrong(name, "a typed array of another element type");
  }
  const auto typed = value.As<Napi::TypedArrayOf<T>>();
  return {const_cast<T*>(typed.Data()), typed.ElementLength()};
}

template std::span<float> elements<float>(const Napi::Value&, const char*);
template std::span<double> elements<double>(const Napi::Value&, const char*);
template std::span<int32_t> elements<int32_t>(const Napi::Value&, const char*);
template std::span<uint32_t> elements<uint32_t>(const Napi::Value&, const char*);
template std::span<uint8_t> elements<uint8_t>(const Napi::Value&, const char*);

StoredType read_stored_type(const std::string& type, const char* name) {
  if (type == "bf16") return StoredType::bf16;
  if (type == "f16") return StoredType::f16;
  if (type == "f32") return StoredType::f32;
  if (type == "int8") return StoredType::int8;
  if (type == "int4") return StoredType::int4;
  wrong(name, "an element type");
}

Plan read_plan(const Napi::Object& o) {
  Plan plan;
  plan.layers = number(o, "layers");
  plan.hidden_size = number(o, "hiddenSize");
  plan.intermediate_size = number(o, "intermediateSize");
  plan.heads = number(o, "heads");
  plan.kv_heads = number(o, "kvHeads");
  plan.head_dim = number(o, "headDim");
  plan.vocab_size = number(o, "vocabSize");
  plan.norm_epsilon = float(real(o, "normEpsilon"));
  plan.router_temperature = float(real(o, "routerTemperature"));
  const Napi::Object rotary = object(get(o, "rotary"), "rotary");
  plan.rotary_theta = real(rotary, "theta");
  plan.rotary_scaling = scaling(rotary);

  plan.files = list(o, "files", [](const Napi::Value& v) { return v.ToString().Utf8Value(); });
  plan.tensors = list(o, "tensors", [&](const Napi::Value& v) {
    const Napi::Object t = object(v, "tensors");
    TensorPlan tensor{
        string(t, "name"), number(t, "file"), whole(t, "offset", 9007199254740991.0),
        number(t, "rows"), number(t, "cols"), read_stored_type(string(t, "type"), "type")};
    if (tensor.file >= plan.files.size()) wrong("tensors.file", "an index of a file");
    if (!get(t, "scales").IsUndefined()) tensor.scales = number(t, "scales");
    return tensor;
  });
  for (const TensorPlan& tensor : plan.tensors) {
    if (tensor.scales.has_value() != holds_integers(tensor.type) ||
        tensor.scales.value_or(0) >= plan.tensors.size()) {
      wrong("scales", "an index of a tensor where there are integers");
    }
  }
  const auto tensor = [&](const Napi::Object& parent, const char* name) -> TensorIndex {
    const uint32_t index = number(parent, name);
    if (index >= plan.tensors.size()) wrong(name, "an index of a tensor");
    return index;
  };
  const auto outlet = [&](const Napi::Object& parent) {
    OutletPlan result{tensor(parent, "norm"), {}, tensor(parent, "head")};
    const Napi::Value value = get(parent, "adapter");
    if (value.IsObject()) {
      const Napi::Object adapter = value.As<Napi::Object>();
      result.adapter = {tensor(adapter, "up"), tensor(adapter, "down")};
    }
    return result;
  };

  plan.matrices = matrices(o);
  plan.cache = cache_type(o);
  plan.embedding = tensor(o, "embedding");
  plan.layer_plans = list(o, "layerPlans", [&](const Napi::Value& v) {
    const Napi::Object l = object(v, "layerPlans");
    return LayerPlan{tensor(l, "inputNorm"), tensor(l, "query"),  tensor(l, "key"),
                     tensor(l, "value"),     tensor(l, "output"), tensor(l, "postNorm"),
                     tensor(l, "gate"),      tensor(l, "up"),     tensor(l, "down")};
  });
  plan.exits = list(o, "exits", [&](const Napi::Value& v) {
    const Napi::Object e = object(v, "exits");
    const Napi::Object r = object(get(e, "router"), "router");
    RouterPlan router;
    router.blocks = list(r, "blocks", [&](const Napi::Value& b) {
      const Napi::Object block = object(b, "blocks");
      return RouterBlockPlan{tensor(block, "fc1Weight"), tensor(block, "fc1Bias"),
                             tensor(block, "fc2Weight"), tensor(block, "fc2Bias")};
    });
    router.norm = tensor(r, "norm");
    router.head_weight = tensor(r, "headWeight");
    router.head_bias = tensor(r, "headBias");
    return ExitPlan{number(e, "afterLayer"), outlet(e), router};
  });
  plan.final = outlet(object(get(o, "final"), "final"));
  plan.must_equal = list(o, "mustEqual", [&](const Napi::Value& v) {
    const Napi::Object pair = object(v, "mustEqual");
    return std::pair<TensorIndex, TensorIndex>{tensor(pair, "0"), tensor(pair, "1")};
  });
  if (plan.layer_plans.size() != plan.layers) wrong("layerPlans", "one entry a layer");
  for (uint32_t m = 0; m < plan.segments(); m++) {
    if (plan.segment_begin(m) >= plan.segment_end(m))
      wrong("afterLayer", "ascending and below layers");
  }
  return plan;
}

Control read_control(const Napi::Object& o, const Closing& closing) {
  const Napi::Value progress = get(o, "progress");
  return Control(elements<int32_t>(get(o, "abort"), "abort").data(),
                 progress.IsUndefined() ? nullptr : elements<double>(progress, "progress").data(),
                 closing);
}

namespace {

Request read_request(const Napi::Object& o, const Closing& closing) {
  Request r;
  Sequence& s = r.sequence;
  s.length = number(o, "length");
  s.tokens = copy<uint32_t>(o, "tokens");
  s.generated = copy<uint8_t>(o, "generated");
  s.frontiers = copy<uint32_t>(o, "frontiers");
  s.cache = block_table(get(o, "cache"));
  s.boundary = list(o, "boundary", block_table);
  r.fresh = copy<uint32_t>(o, "fresh");
  const Napi::Value seed = get(o, "seed");
  bool lossless = false;
  if (!seed.IsBigInt()) wrong("seed", "a bigint");
  s.seed = seed.As<Napi::BigInt>().Uint64Value(&lossless);
  s.stream = number(o, "stream");
  const Napi::Object law = object(get(o, "law"), "law");
  r.law = {.temperature = float(real(law, "temperature")),
           .top_k = number(law, "topK"),
           .router_temperature = float(real(law, "routerTemperature"))};
  r.max_pending = number(o, "maxPending");
  if (real(o, "force") >= 0) r.force = number(o, "force");
  r.count = number(o, "count");
  r.capacity = number(o, "capacity");
  r.stop_tokens = copy<uint32_t>(o, "stopTokens");
  r.control = read_control(o, closing);
  r.remaining = float(real(o, "remaining"));
  return r;
}

}  // namespace

Call read_call(const Napi::Object& o, const Closing& closing) {
  Call call;
  call.requests = list(o, "requests", [&](const Napi::Value& v) {
    return read_request(object(v, "requests"), closing);
  });
  call.cache_blocks = number(o, "cacheBlocks");
  call.boundary_blocks = number(o, "boundaryBlocks");
  call.prompt_rows = number(o, "promptRows");
  call.budget = std::chrono::milliseconds(number(o, "budget"));
  return call;
}

}  // namespace nvium::binding
