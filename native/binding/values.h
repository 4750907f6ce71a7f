// Reading JavaScript values. The TypeScript side has checked them for its users; these checks keep
// a wrong caller from doing harm.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "../error.h"
#include "../model/call.h"
#include "../model/plan.h"

namespace nvium::binding {

// Set when the environment ends.
using Closing = std::shared_ptr<const std::atomic<bool>>;

Napi::Value get(const Napi::Object& object, const char* name);
Napi::Object object(const Napi::Value& value, const char* name);
uint32_t number(const Napi::Object& object, const char* name);
std::string string(const Napi::Object& object, const char* name);

// The elements of a typed array of exactly this element type, which stay valid while the array is
// referenced.
template <class T>
std::span<T> elements(const Napi::Value& value, const char* name);

StoredType read_stored_type(const std::string& type, const char* name);
Plan read_plan(const Napi::Object& plan);
// `closing` stops whatever is read, as its own abort word does.
Control read_control(const Napi::Object& control, const Closing& closing);
Call read_call(const Napi::Object& call, const Closing& closing);

}  // namespace nvium::binding
