// A backend that lets a test see, and break, every operation.
#pragma once

#include <functional>

#include "native/backend.h"
#include "native/error.h"

namespace nvium::small {

// A backend that calls `before` ahead of each operation, and others behind some.
class Spy final : public Backend {
 public:
  explicit Spy(Backend& backend) : to_(backend) {}

  std::function<void()> before;
  std::function<void(const Attention&)> attended;
  // Behind each routing and each draw, which they may change.
  std::function<void(const Routing&)> routed;
  std::function<void(std::span<const Draw>, uint32_t*)> drawn;
  // Device memory in use; what would make it more than `limit` is refused.
  size_t held = 0, limit = SIZE_MAX;

  void enter(const std::function<void()>& job) override { to_.enter(job); }
  void* allocate(size_t bytes) override {
    look();
    if (held + bytes > limit) throw Failure{"ERR_NVIUM_OUT_OF_MEMORY", "Above the limit.", {}};
    void* memory = to_.allocate(bytes);
    held += bytes;
    return memory;
  }
  void release(void* memory, size_t bytes) noexcept override {
    held -= bytes;
    to_.release(memory, bytes);
  }
  void write(void* device, const void* host, size_t bytes) override {
    look();
    to_.write(device, host, bytes);
  }
  void read(void* host, const void* device, size_t bytes) override {
    look();
    to_.read(host, device, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override {
    look();
    to_.copy(to, from, bytes);
  }
  void zero(void* device, size_t bytes) override {
    look();
    to_.zero(device, bytes);
  }
  void embed(const Matrix& table, std::span<const uint32_t> tokens, float* output) override {
    look();
    to_.embed(table, tokens, output);
  }
  void project(const Projection& projection) override {
    look();
    to_.project(projection);
  }
  void attend(const Attention& attention) override {
    look();
    to_.attend(attention);
    if (attended) attended(attention);
  }
  void normalise(std::span<const NormRow> rows, uint32_t width, float epsilon,
                 float* output) override {
    look();
    to_.normalise(rows, width, epsilon, output);
  }
  void route(const Routing& routing) override {
    look();
    to_.route(routing);
    if (routed) routed(routing);
  }
  void draw(const Projection& head, std::span<const Draw> draws, uint32_t* tokens) override {
    look();
    to_.draw(head, draws, tokens);
    if (drawn) drawn(draws, tokens);
  }
  void mix(const Mixture& mixture) override {
    look();
    to_.mix(mixture);
  }
  bool finite(const float* values, size_t count) override {
    look();
    return to_.finite(values, count);
  }
  void erase(const CacheShape& shape, const Span& span, uint32_t first, uint32_t last) override {
    to_.erase(shape, span, first, last);
  }

 private:
  void look() {
    if (before) before();
  }

  Backend& to_;
};

}  // namespace nvium::small
