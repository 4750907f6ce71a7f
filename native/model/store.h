// Memory of fixed-size blocks, handed out by number. Who owns which block is the caller's
// bookkeeping (lib/cache); here a number is just a place, and places come into being when they are
// first needed, in chunks of several blocks.
#pragma once

#include <algorithm>
#include <span>
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

  bool has(uint32_t block) const {
    const size_t chunk = block / per_chunk_;
    return chunk < chunks_.size() && chunks_[chunk].data() != nullptr;
  }

  // Makes a block that is not there. Throws Failure (ERR_NVIUM_OUT_OF_MEMORY).
  void make(uint32_t block) {
    const uint32_t chunk = block / per_chunk_;
    if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
    made_.push_back(chunk);
    chunks_[chunk] = Buffer(backend_, per_chunk_ * block_bytes_);
  }

  // What was made since the last `keep` stays, or goes back.
  void keep() { made_.clear(); }
  void undo() noexcept {
    for (const uint32_t chunk : made_) chunks_[chunk] = {};
    made_.clear();
  }

  // Gives back chunks that hold no used block: used[b] != 0, and none from used.size() on.
  void trim(std::span<const uint8_t> used) {
    for (size_t c = 0; c < chunks_.size(); c++) {
      const size_t begin = std::min(c * per_chunk_, used.size());
      const size_t end = std::min(begin + per_chunk_, used.size());
      if (std::all_of(used.begin() + begin, used.begin() + end, [](uint8_t u) { return u == 0; }))
        chunks_[c] = {};
    }
    while (!chunks_.empty() && chunks_.back().data() == nullptr) chunks_.pop_back();
  }

  std::byte* at(uint32_t block) const {
    return chunks_[block / per_chunk_].data() + block % per_chunk_ * block_bytes_;
  }

  size_t block_bytes() const { return block_bytes_; }
  size_t bytes() const {
    size_t bytes = 0;
    for (const Buffer& chunk : chunks_) bytes += chunk.bytes();
    return bytes;
  }

 private:
  static constexpr size_t kChunkBytes = size_t(8) << 20;

  Backend& backend_;
  size_t block_bytes_;
  uint32_t per_chunk_;
  std::vector<Buffer> chunks_;  // empty where no block is needed
  std::vector<uint32_t> made_;  // chunks
};

}  // namespace nvium
