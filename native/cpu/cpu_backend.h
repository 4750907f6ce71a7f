// The CPU backend: the operations of backend.h, shared out to a team of threads.
#pragma once

#include <string_view>
#include <vector>

#include "../backend.h"
#include "kernels.h"
#include "team.h"

namespace nvium::cpu {

struct Options {
  uint32_t threads = 0;              // 0: as many as there are processors for this process
  bool place = true;                 // keep each thread to a processor of its own
  std::string_view instruction_set;  // empty: the fastest available
  bool crowd = false;                // as in TeamOptions; and small operations are shared too
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const Options& options);

  const Kernels& kernels() const { return kernels_; }
  Team& team() { return team_; }

  // Places the caller and flushes subnormals.
  void enter(const std::function<void()>& job) override;

  void* allocate(size_t bytes) override;
  void release(void* memory, size_t bytes) noexcept override;
  void write(void* device, const void* host, size_t bytes) override;
  void read(void* host, const void* device, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void zero(void* device, size_t bytes) override;

  void embed(const Matrix& table, std::span<const uint32_t> tokens, float* output) override;
  void project(const Projection& projection) override;
  void attend(const Attention& attention) override;
  void normalise(std::span<const NormRow> rows, uint32_t width, float epsilon,
                 float* output) override;
  void route(const Routing& routing) override;
  void draw(const Projection& head, std::span<const Draw> draws, uint32_t* tokens) override;
  void mix(const Mixture& mixture) override;
  bool finite(const float* values, size_t count) override;
  void erase(const CacheShape& shape, const Span& span, uint32_t first, uint32_t last) override;

 private:
  // Calls work(begin, end, id) for parts of [0, count) on the team; work of little cost stays on
  // the caller.
  template <class Work>
  void share(uint32_t count, double cost, const Work& work);
  std::byte* scratch(size_t bytes);
  // The rows of a projection as an operand in scratch, `more` bytes of which follow it.
  std::byte* pack(const Projection& projection, size_t more);
  void draw_from_tiles(const Projection& head, std::span<const Draw> draws, uint32_t* tokens);

  const Kernels& kernels_;
  Team team_;
  bool share_all_;
  Buffer scratch_;
};

}  // namespace nvium::cpu
