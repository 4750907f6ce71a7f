// Failures that a test orders: one at a time, counted over all streams.
#include <mutex>
#include <optional>

#include "simt/emulator.h"
#include "streams.h"

namespace simt {
namespace {

struct Next {
  Failing what;
  uint64_t left;
};
std::optional<Next> next;
bool fired = false;

}  // namespace

void fail_after(Failing what, uint64_t after) {
  std::lock_guard lock(api_mutex());
  next = Next{what, after};
  fired = false;
}

bool failed() {
  std::lock_guard lock(api_mutex());
  next.reset();
  return fired;
}

bool fails(Failing what) {
  if (!next || next->what != what || next->left-- > 0) return false;
  next.reset();
  return fired = true;
}

}  // namespace simt
