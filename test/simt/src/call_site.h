// Where the host program called the CUDA runtime: return addresses, resolved only for a report.
#pragma once

#include <array>
#include <span>

namespace simt {

class CallSite {
 public:
  static CallSite here();

  std::span<const void* const> frames() const { return {frames_.data(), size_}; }

 private:
  std::array<const void*, 10> frames_{};
  size_t size_ = 0;
};

}  // namespace simt
