// A sequence to measure with: block b of it is block b of the pool.
#pragma once

#include "native/model/plan.h"
#include "native/model/sequence.h"

namespace nvium::bench {

inline Sequence make_sequence(const Plan& plan, uint32_t blocks) {
  Sequence s;
  s.frontiers.assign(plan.segments(), 0);
  for (uint32_t b = 0; b < blocks; b++) s.cache.block.push_back(int32_t(b));
  s.cache.spare.assign(blocks, kNoBlock);
  for (uint32_t m = 0; m + 1 < plan.segments(); m++) {
    BlockTable table = s.cache;
    for (int32_t& block : table.block) block += int32_t(m * blocks);
    s.boundary.push_back(table);
  }
  return s;
}

}  // namespace nvium::bench
