// Philox4x32-10, the counter-based generator behind every random choice.
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011. The
// tests hold its published known answers.
#ifndef NVIUM_NUMERICS_PHILOX_H_
#define NVIUM_NUMERICS_PHILOX_H_

#include "config.h"

namespace nvium::numerics {

// What a random number is for; part of the counter, so that purposes never share numbers.
enum class Purpose : uint32_t { cascade = 0, token = 1 };

struct Words {
  uint32_t w0, w1, w2, w3;
};

NVIUM_FN uint32_t multiply_high(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
}

// One round on the counter, with the n-th of the keys that grow by a constant from round to round.
NVIUM_FN Words philox_round(const Words& c, uint32_t k0, uint32_t k1, uint32_t n) {
  return Words{multiply_high(0xcd9e8d57u, c.w2) ^ c.w1 ^ (k0 + n * 0x9e3779b9u), 0xcd9e8d57u * c.w2,
               multiply_high(0xd2511f53u, c.w0) ^ c.w3 ^ (k1 + n * 0xbb67ae85u),
               0xd2511f53u * c.w0};
}

// Ten rounds over a counter of four words (c0 first) under a key of two (k0 first). Written out,
// for a loop inside keeps g++ from vectorising the loop around it.
NVIUM_FN Words philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0,
                      uint32_t k1) {
  Words c{c0, c1, c2, c3};
  c = philox_round(c, k0, k1, 0);
  c = philox_round(c, k0, k1, 1);
  c = philox_round(c, k0, k1, 2);
  c = philox_round(c, k0, k1, 3);
  c = philox_round(c, k0, k1, 4);
  c = philox_round(c, k0, k1, 5);
  c = philox_round(c, k0, k1, 6);
  c = philox_round(c, k0, k1, 7);
  c = philox_round(c, k0, k1, 8);
  return philox_round(c, k0, k1, 9);
}

// The runtime's use of it: the key is the seed, low word first; the counter is
// (block, purpose, position, stream).
NVIUM_FN Words random_words(uint64_t seed, uint32_t stream, uint32_t position, Purpose purpose,
                            uint32_t block) {
  return philox(block, static_cast<uint32_t>(purpose), position, stream,
                static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

// Word 0 … 3, by selects: an index into an array would cost a GPU a trip through memory.
NVIUM_FN uint32_t word(const Words& words, uint32_t index) {
  const uint32_t low = index == 0 ? words.w0 : words.w1;
  const uint32_t high = index == 2 ? words.w2 : words.w3;
  return index < 2 ? low : high;
}

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_PHILOX_H_
