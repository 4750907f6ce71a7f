// How the thread that asked for a computation watches it and stops it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "../error.h"

namespace nvium {

class Control {
 public:
  // `abort` and `progress` may be null; they are written and read from different threads. `closing`
  // stops every job of an environment.
  Control(int32_t* abort, double* progress, std::shared_ptr<const std::atomic<bool>> closing)
      : abort_(abort), progress_(progress), closing_(std::move(closing)) {}
  Control() = default;

  // Called between chunks of work. Throws Aborted, and Failure where the environment is closing.
  void check() const {
    if (closing_ != nullptr && closing_->load(std::memory_order_relaxed)) throw exiting();
    if (abort_ != nullptr && std::atomic_ref<int32_t>(*abort_).load(std::memory_order_relaxed)) {
      throw Aborted{};
    }
  }
  void progress(double value) const {
    if (progress_ != nullptr)
      std::atomic_ref<double>(*progress_).store(value, std::memory_order_relaxed);
  }

 private:
  int32_t* abort_ = nullptr;
  double* progress_ = nullptr;
  std::shared_ptr<const std::atomic<bool>> closing_;
};

}  // namespace nvium
