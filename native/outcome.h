// How a computation ended, in a form that crosses threads and needs no memory to make.
#pragma once

#include <exception>
#include <new>
#include <utility>

#include "error.h"

namespace nvium {

struct Outcome {
  enum Kind { done, failed, aborted, out_of_memory };

  Kind kind = done;
  Failure failure;  // of `failed`
};

// Calls work() and turns whatever it throws into an outcome.
template <class Work>
Outcome outcome_of(const Work& work) noexcept {
  try {
    try {
      work();
      return {};
    } catch (Failure& failure) {
      return {Outcome::failed, std::move(failure)};
    } catch (const Aborted&) {
      return {Outcome::aborted, {}};
    } catch (const std::bad_alloc&) {
      return {Outcome::out_of_memory, {}};
    } catch (const std::exception& error) {
      return {Outcome::failed, {"ERR_NVIUM_INTERNAL", error.what(), {}}};
    }
  } catch (...) {
    // No memory to say what went wrong.
    return {Outcome::out_of_memory, {}};
  }
}

}  // namespace nvium
