#include <cupti.h>
#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <mutex>

#include "trace.h"

namespace nvium::bench {
namespace {

constexpr size_t kBufferBytes = size_t(8) << 20;
constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                         CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};

// CUPTI's callbacks have no argument of the caller's, and may come from a thread of its own.
std::mutex mutex;
std::vector<Interval> collected;

void CUPTIAPI provide(uint8_t** buffer, size_t* size, size_t* most_records) {
  *size = kBufferBytes;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(ACTIVITY_RECORD_ALIGNMENT, kBufferBytes));
  *most_records = 0;
}

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return short_name(status == 0 ? text.get() : name);
}

void CUPTIAPI collect(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto& kernel = *reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      collected.push_back({demangled(kernel.name), kernel.start, kernel.end});
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto& copy = *reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      collected.push_back({"copy", copy.start, copy.end});
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto& fill = *reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      collected.push_back({"fill", fill.start, fill.end});
    }
  }
  std::free(buffer);
}

}  // namespace

Trace trace(const std::function<void()>& work) {
  Trace result;
  const auto check = [&](CUptiResult code, const char* what) {
    if (code == CUPTI_SUCCESS || !result.missing.empty()) return;
    const char* text = "";
    cuptiGetResultString(code, &text);
    result.missing = std::string("CUPTI: ") + what + ": " + text;
  };
  collected.clear();
  check(cuptiActivityRegisterCallbacks(provide, collect), "registering");
  for (const CUpti_ActivityKind kind : kKinds) check(cuptiActivityEnable(kind), "enabling");
  if (result.missing.empty()) work();
  check(cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "flushing");
  for (const CUpti_ActivityKind kind : kKinds) cuptiActivityDisable(kind);
  const std::lock_guard lock(mutex);
  if (result.missing.empty() && collected.empty()) result.missing = "CUPTI told of nothing";
  result.intervals = std::move(collected);
  return result;
}

}  // namespace nvium::bench
