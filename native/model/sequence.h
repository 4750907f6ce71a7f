// One sequence of a call, as the caller's bookkeeping (lib/cache) describes it. The native side
// keeps nothing of it between calls.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace nvium {

constexpr int32_t kNoBlock = -1;

// Which blocks hold a sequence's positions: entry b is for positions [64 b, 64 b + 64). Where
// `spare` names a block, the one in `block` is shared and is copied there before a segment first
// writes to it.
struct BlockTable {
  std::vector<int32_t> block;
  std::vector<int32_t> spare;
};

struct Sequence {
  uint32_t length = 0;           // tokens there are, n
  std::vector<uint32_t> tokens;  // of positions [length - tokens.size(), length), all from f_1 on
  std::vector<uint8_t>
      generated;  // of positions [length - generated.size(), length), all from f_N on
  std::vector<uint32_t> frontiers;  // f_1 … f_N: positions each segment has processed
  BlockTable cache;
  std::vector<BlockTable> boundary;  // hidden rows waiting before segment m + 1, for m = 1 … N - 1
  uint64_t seed = 0;
  uint32_t stream = 0;

  // Positions before the last token, whose row is the next step's.
  uint32_t rows_given() const { return std::max(length, 1u) - 1; }
  uint32_t token(uint32_t position) const { return tokens[tokens.size() - (length - position)]; }
  // How many of positions [begin, end) were generated.
  uint32_t generated_in(uint32_t begin, uint32_t end) const {
    uint32_t count = 0;
    const size_t first = length - generated.size();
    for (uint32_t i = begin; i < end; i++) count += generated[i - first];
    return count;
  }
};

}  // namespace nvium
