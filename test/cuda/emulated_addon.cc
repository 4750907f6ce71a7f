// What the emulated addon exports besides the product's: failures and faults of the device, ordered
// by tests.
#include <node_api.h>

#include <iterator>

#include "simt/emulator.h"

// addon.cc, compiled for this addon, calls its own entry so.
extern "C" napi_value nvium_register(napi_env env, napi_value exports);

namespace {

// failAfter(what, after): 0 an allocation, 1 a launch, 2 an execution.
napi_value fail_after(napi_env env, napi_callback_info info) {
  napi_value arguments[2];
  size_t count = std::size(arguments);
  uint32_t what = 0, after = 0;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  napi_get_value_uint32(env, arguments[0], &what);
  napi_get_value_uint32(env, arguments[1], &after);
  simt::fail_after(simt::Failing(what), after);
  return nullptr;
}

// failed(): whether it has; nothing fails any more.
napi_value failed(napi_env env, napi_callback_info) {
  napi_value result;
  napi_get_boolean(env, simt::failed(), &result);
  return result;
}

// resetDevice(): as if the process had begun anew. No model may be left on the device.
napi_value reset_device(napi_env, napi_callback_info) {
  simt::reset();
  return nullptr;
}

// setFlushing(flushing): whether kernels take subnormals for zeros.
napi_value set_flushing(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_value_bool(env, argument, &simt::config().flush_subnormals);
  return nullptr;
}

// setDevices(count): as many devices, all alike.
napi_value set_devices(napi_env env, napi_callback_info info) {
  napi_value argument;
  size_t count = 1;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  napi_get_value_int32(env, argument, &simt::config().devices);
  return nullptr;
}

}  // namespace

// By hand: the macro would define the API version a second time.
extern "C" NAPI_MODULE_EXPORT napi_value napi_register_module_v1(napi_env env, napi_value exports) {
  const napi_property_descriptor functions[] = {
      {"failAfter", nullptr, fail_after, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"failed", nullptr, failed, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"resetDevice", nullptr, reset_device, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"setDevices", nullptr, set_devices, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"setFlushing", nullptr, set_flushing, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_define_properties(env, exports, std::size(functions), functions);
  return nvium_register(env, exports);
}
