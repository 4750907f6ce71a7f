// The one exception of the native code. The binding turns it into the NviumError of lib/errors.ts.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace nvium {

struct Failure {
  using Detail = std::pair<std::string, std::variant<std::string, double>>;

  std::string code;  // "ERR_NVIUM_…", see lib/errors.ts
  std::string message;
  std::vector<Detail> details;
};

// Thrown between chunks when the caller's signal fired; the session rejects with the signal's own
// reason.
struct Aborted {};

// What a computation ends with that the end of its thread of JavaScript stops, or that comes later.
inline Failure exiting() {
  return {
      "ERR_NVIUM_DISPOSED",
      "The process or worker is exiting: nothing is computed any more, also in an 'exit' handler.",
      {}};
}

}  // namespace nvium
