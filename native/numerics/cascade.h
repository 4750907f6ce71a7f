// The cascade's rule: at which exit a token leaves.
//
// One 32-bit draw x per position serves all exits. With R the probability of having stayed at every
// exit so far, this one included, the token leaves at the first exit where x >= trunc(R * 2^32).
#ifndef NVIUM_NUMERICS_CASCADE_H_
#define NVIUM_NUMERICS_CASCADE_H_

#include "config.h"
#include "functions.h"
#include "philox.h"

namespace nvium::numerics {

// The position's draw: block 0, word 0 of the cascade's numbers.
NVIUM_FN uint32_t uniform(uint64_t seed, uint32_t stream, uint32_t position) {
  return random_words(seed, stream, position, Purpose::cascade, 0).w0;
}

// d = (s_exit - s_continue) / temperature, the log-odds of leaving; the temperature is
// router_temp * routerTemperature as one float.
NVIUM_FN float difference(float s_continue, float s_exit, float temperature) {
  return (s_exit - s_continue) / temperature;
}

// R after one more exit: R * sigmoid(-d). Never R * (1 - q), which is 0 from d = 17 on.
NVIUM_FN float stays(float reached, float d) { return reached * sigmoid(-d); }

// For R in [0, 1]. R * 2^32 is exact.
NVIUM_FN bool leaves(uint32_t x, float remaining) {
  return static_cast<uint64_t>(x) >= static_cast<uint64_t>(remaining * 0x1p32f);
}

// The greedy router: leave where leaving is the more probable, stay on a tie.
NVIUM_FN bool leaves_greedily(float s_continue, float s_exit) { return s_exit > s_continue; }

}  // namespace nvium::numerics

#endif  // NVIUM_NUMERICS_CASCADE_H_
