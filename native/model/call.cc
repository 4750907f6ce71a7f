#include "call.h"

#include <algorithm>
#include <string>

namespace nvium {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw Failure{"ERR_NVIUM_INTERNAL", std::string("Bad native call: ") + what, {}};
}

// Blocks for positions [first, end) are named, and all named ones exist.
void check(const BlockTable& t, uint32_t first, uint32_t end, uint32_t blocks) {
  require(t.block.size() == t.spare.size(), "a block table without spares");
  require(t.block.size() * kBlockPositions >= end, "a block table is too short");
  for (size_t b = 0; b < t.block.size(); b++) {
    require(t.block[b] >= kNoBlock && t.block[b] < int64_t(blocks), "a block out of range");
    require(t.spare[b] >= kNoBlock && t.spare[b] < int64_t(blocks), "a spare out of range");
    if (b >= first / kBlockPositions && b * kBlockPositions < end) {
      require(t.block[b] != kNoBlock, "a block is missing");
    }
  }
}

void check(const Request& r, const Call& call, const Plan& plan) {
  const Sequence& s = r.sequence;
  const auto& f = s.frontiers;
  require(f.size() == plan.segments(), "frontiers");
  require(s.length < UINT32_MAX - r.count && (s.length > 0 || r.count == 0), "length");
  require(r.count == 0 || s.length <= r.capacity, "capacity");
  const uint32_t end = r.end_of_rows();
  for (size_t m = 0; m < f.size(); m++) {
    require(f[m] <= (m == 0 ? s.length : f[m - 1]), "frontiers");
  }
  require(s.tokens.size() <= s.length && s.tokens.size() >= s.length - f.front(), "tokens");
  require(s.generated.size() <= s.length && s.generated.size() >= s.length - f.back(), "generated");
  for (const uint32_t token : s.tokens) require(token < plan.vocab_size, "a token");
  check(s.cache, 0, end, call.cache_blocks);
  require(s.boundary.size() + 1 == f.size(), "boundary tables");
  for (size_t m = 0; m < s.boundary.size(); m++) {
    check(s.boundary[m], f[m + 1], end, call.boundary_blocks);
  }
  for (const uint32_t block : r.fresh) {
    const auto& own = s.cache.block;
    require(std::find(own.begin(), own.end(), int64_t(block)) != own.end(), "a fresh block");
  }
  require(!r.force || *r.force < plan.vocab_size, "force");
}

}  // namespace

void check(const Call& call, const Plan& plan) {
  for (const Request& r : call.requests) check(r, call, plan);
}

void reserve(Model& model, Request& request) {
  try {
    model.reserve(request.sequence, request.fresh, request.end_of_rows(), request.control);
  } catch (Failure& failure) {
    request.fail(std::move(failure));
  } catch (const Aborted&) {
    request.end(Stop::aborted);
  }
}

void run(Model& model, Cascade& cascade, Call& call) {
  const auto begin = std::chrono::steady_clock::now();
  for (Request& r : call.requests) reserve(model, r);
  cascade.run(call.requests, {call.prompt_rows, begin + call.budget});
}

}  // namespace nvium
