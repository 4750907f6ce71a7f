// A backend that remembers the kernels it was asked for, by kind, so that each kind can be run
// again by itself: what a step takes beyond their sum are gaps. Also how long the host was held by
// operations that wait for the device.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "device.h"

namespace nvium::bench {

class Recorder final : public Backend {
 public:
  explicit Recorder(Backend& backend) : backend_(backend) {}

  // Runs again all recorded operations of a kind, in their order and over their own operands;
  // nothing waits. What waits for the host is recorded as the products it consists of.
  using Kinds = std::map<std::string, std::vector<std::function<void()>>>;

  template <class Work>
  Kinds record(const Work& work) {
    kinds_.clear();
    recording_ = true;
    work();
    recording_ = false;
    return std::move(kinds_);
  }

  double waited = 0;  // seconds in calls that wait
  uint64_t waits = 0;

  void enter(const std::function<void()>& job) override { backend_.enter(job); }
  void* allocate(size_t bytes) override { return backend_.allocate(bytes); }
  void release(void* memory, size_t bytes) noexcept override { backend_.release(memory, bytes); }
  void write(void* device, const void* host, size_t bytes) override {
    backend_.write(device, host, bytes);
  }
  void read(void* host, const void* device, size_t bytes) override {
    backend_.read(host, device, bytes);
  }
  void zero(void* device, size_t bytes) override { backend_.zero(device, bytes); }
  void erase(const CacheShape& shape, const Span& span, uint32_t first, uint32_t last) override {
    backend_.erase(shape, span, first, last);
  }
  void mix(const Mixture& mixture) override { backend_.mix(mixture); }

  void copy(void* to, const void* from, size_t bytes) override {
    keep("copies of rows", [=, this] { backend_.copy(to, from, bytes); });
    backend_.copy(to, from, bytes);
  }
  void embed(const Matrix& table, std::span<const uint32_t> tokens, float* output) override {
    keep("embedding", [&table, list = std::vector(tokens.begin(), tokens.end()), output, this] {
      backend_.embed(table, list, output);
    });
    backend_.embed(table, tokens, output);
  }
  void project(const Projection& p) override {
    keep(p);
    backend_.project(p);
  }
  void attend(const Attention& a) override {
    if (recording_) {
      std::vector<std::vector<std::byte*>> blocks;
      std::vector<Span> spans(a.spans.begin(), a.spans.end());
      for (Span& span : spans) {
        blocks.emplace_back(span.blocks, span.blocks + ceil_div(span.end, kBlockPositions));
      }
      keep("attention", [again = a, spans, blocks, this]() mutable {
        for (size_t i = 0; i < spans.size(); i++) spans[i].blocks = blocks[i].data();
        again.spans = spans;
        backend_.attend(again);
      });
    }
    backend_.attend(a);
  }
  void normalise(std::span<const NormRow> rows, uint32_t width, float epsilon,
                 float* output) override {
    keep("norms", [list = std::vector(rows.begin(), rows.end()), width, epsilon, output, this] {
      backend_.normalise(list, width, epsilon, output);
    });
    backend_.normalise(rows, width, epsilon, output);
  }
  void route(const Routing& r) override {
    for (const RouterBlock& block : r.router->blocks) {
      const bool first = &block == &r.router->blocks.front();
      keep({.matrix = &block.fc1,
            .input = first ? r.input : r.outer,
            .rows = r.rows,
            .norm = first ? r.router->input_norm : nullptr,
            .epsilon = r.epsilon,
            .bias = block.bias1,
            .activation = Activation::gelu,
            .output = r.inner,
            .width = block.fc1.rows});
      keep({.matrix = &block.fc2,
            .input = r.inner,
            .rows = r.rows,
            .bias = block.bias2,
            .output = r.outer,
            .width = block.fc2.rows});
    }
    waiting([&] { backend_.route(r); });
  }
  void draw(const Projection& head, std::span<const Draw> draws, uint32_t* tokens) override {
    keep(head);
    waiting([&] { backend_.draw(head, draws, tokens); });
  }
  bool finite(const float* values, size_t count) override {
    bool result = false;
    waiting([&] { result = backend_.finite(values, count); });
    return result;
  }

 private:
  template <class Again>
  void keep(const std::string& kind, Again again) {
    if (recording_) kinds_[kind].emplace_back(std::move(again));
  }
  void keep(const Projection& p) {
    if (!recording_) return;
    keep("product " + std::to_string(p.matrix->cols) + " to " + std::to_string(p.matrix->rows),
         [p, this] { backend_.project(p); });
  }
  template <class Call>
  void waiting(const Call& call) {
    const double begin = now();
    call();
    waited += now() - begin;
    waits++;
  }

  Backend& backend_;
  bool recording_ = false;
  Kinds kinds_;
};

}  // namespace nvium::bench
