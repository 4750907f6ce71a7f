// Memory of fixed-size blocks, handed out by number. Who owns which block is the caller's
// bookkeeping (lib/cache); here a number is just a place, and places come into being when they are
// first reserved.
#pragma once

#include <algorithm>
#include <vector>

#include "../backend.h"

namespace nvium {

class BlockStore {
 public:
  BlockStore(Backend& backend, size_t block_bytes)
      : backend_(backend),
        block_bytes_(block_bytes),
        per_chunk_(
            uint32_t(std::clamp<size_t>(kChunkBytes / std::max<size_t>(block_bytes, 1), 1, 64))) {}

  // Makes blocks [0, count) exist. Throws Failure (ERR_NVIUM_OUT_OF_MEMORY) and keeps those there
  // are.
  void reserve(uint32_t count) {
    while (size_t(chunks_.size()) * per_chunk_ < count) {
      chunks_.emplace_back(backend_, per_chunk_ * block_bytes_);
    }
  }

  std::byte* at(uint32_t block) const {
    return chunks_[block / per_chunk_].data() + block % per_chunk_ * block_bytes_;
  }

  size_t block_bytes() const { return block_bytes_; }
  size_t bytes() const { return chunks_.size() * per_chunk_ * block_bytes_; }

 private:
  static constexpr size_t kChunkBytes = size_t(8) << 20;

  Backend& backend_;
  size_t block_bytes_;
  uint32_t per_chunk_;
  std::vector<Buffer> chunks_;
};

}  // namespace nvium
