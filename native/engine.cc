#include "engine.h"

namespace nvium {

Engine::Engine(Computer computer, Plan plan, const Control& control)
    : computer_(std::move(computer)) {
  const std::unique_ptr<TensorSource> source = open_files(plan);
  computer_.backend->enter([&] {
    model_ = std::make_unique<Model>(*computer_.backend, std::move(plan), *source, control);
    cascade_ = std::make_unique<Cascade>(*model_);
  });
  note_memory();
}

template <class Compute>
Outcome Engine::compute(const Call& call, const Compute& compute) {
  return outcome_of([&] {
    const std::lock_guard lock(one_call_);
    check(call, model_->plan());
    try {
      // A failure leaves enter(), which then waits for what the device still does.
      computer_.backend->enter(compute);
    } catch (...) {
      note_memory();
      throw;
    }
    note_memory();
  });
}

Outcome Engine::run(Call& call) {
  return compute(call, [&] { nvium::run(*model_, *cascade_, call); });
}

Outcome Engine::evaluate(Call& call, const Evaluation& out) {
  return compute(call, [&] {
    Request& request = call.requests.front();
    reserve(*model_, request);
    if (request.stop == Stop::none) {
      nvium::evaluate(*model_, request.sequence, request.control, out);
    }
  });
}

Outcome Engine::trim(uint64_t calls, std::span<const uint8_t> cache,
                     std::span<const uint8_t> boundary, uint32_t positions) {
  return outcome_of([&] {
    const std::lock_guard lock(one_call_);
    // A call that was asked for since may have taken what was free.
    if (calls_ != calls) return;
    computer_.backend->enter([&] { model_->trim(cache, boundary, positions); });
    note_memory();
  });
}

std::vector<std::byte> Engine::read_block(bool cache, uint32_t block) {
  const std::lock_guard lock(one_call_);
  std::vector<std::byte> bytes;
  computer_.backend->enter([&] { bytes = model_->read_block(cache, block); });
  return bytes;
}

Memory Engine::memory() const {
  const std::lock_guard lock(noting_);
  return noted_;
}

void Engine::note_memory() {
  const std::lock_guard lock(noting_);
  noted_ = model_->memory();
}

}  // namespace nvium
