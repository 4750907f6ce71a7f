#include "call_site.h"

#include <execinfo.h>

#include <algorithm>

#include "state.h"

namespace simt {

CallSite CallSite::here() {
  CallSite site;
  if (!hot.check) return site;  // a walk up the stack costs about a microsecond
  std::array<void*, 11> frames;
  const int n = backtrace(frames.data(), int(frames.size()));
  site.size_ = size_t(std::max(n - 1, 0));
  std::copy_n(frames.begin() + 1, site.size_, site.frames_.begin());
  return site;
}

}  // namespace simt
