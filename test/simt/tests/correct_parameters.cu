// Kernel parameters arrive as they were at the launch, whatever their size and alignment.
#include <cstring>

#include "corpus.h"

namespace corpus {
namespace {

struct Draw {
  float temperature;
  uint32_t top_k;
  uint64_t seed;
  uint32_t stream, position;
};

template <unsigned kCount>
struct Draws {
  Draw draw[kCount];
};

template <unsigned kCount>
Draws<kCount> some_draws() {
  Draws<kCount> draws;
  for (uint32_t i = 0; i < kCount; ++i)
    draws.draw[i] = {0.5f + float(i), i + 1, 0x9e3779b97f4a7c15u * (i + 1), 3 * i, ~i};
  return draws;
}

// A hole behind an array of structures, as parameters of different alignment have.
template <unsigned kCount>
__global__ void draws_and_holes(char first, Draws<kCount> draws, uint32_t n, Draw* out, short last,
                                uint32_t* rest) {
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) out[i] = draws.draw[i];
  if (threadIdx.x == 0) rest[0] = uint32_t(first), rest[1] = uint32_t(last);
}

// The draws are changed before the launch runs.
template <unsigned kCount>
bool arrive() {
  Device<Draw> out(kCount);
  Device<uint32_t> rest(2);
  Draws<kCount> draws = some_draws<kCount>();
  const Draws<kCount> before = draws;
  nv::launch(draws_and_holes<kCount>, dim3(1), dim3(40), nullptr, {}, 'x', draws, kCount,
             out.data(), -7, rest.data());
  std::memset(&draws, 0, sizeof draws);
  cudaDeviceSynchronize();
  const std::vector<uint32_t> others = rest.read();
  return std::memcmp(out.read().data(), &before, sizeof before) == 0 && others[0] == 'x' &&
         others[1] == uint32_t(-7);
}

// Holes before, in and behind the elements.
struct Holes {
  uint64_t wide;
  uint16_t narrow;
};
struct Nested {
  char tag;
  Holes holes[9];
  char other;
  Holes more[5];
  uint16_t end;
};
struct alignas(64) Line {
  Nested nested[3];
  double value;
};

__global__ void aligned_lines(char, Line line, float4 four, Nested nested, uint64_t* out) {
  if (threadIdx.x != 0) return;
  uint64_t at = 0;
  const auto note = [&](uint64_t value) { out[at++] = value; };
  const auto note_nested = [&](const Nested& n) {
    note(uint64_t(n.tag)), note(uint64_t(n.other)), note(n.end);
    for (const Holes& h : n.holes) note(h.wide), note(h.narrow);
    for (const Holes& h : n.more) note(h.wide), note(h.narrow);
  };
  for (const Nested& n : line.nested) note_nested(n);
  note(uint64_t(line.value)), note(uint64_t(four.x + four.w));
  note_nested(nested);
}

bool lines_arrive() {
  uint64_t next = 1;
  std::vector<uint64_t> expected;
  const auto value = [&] { return expected.emplace_back(next++); };
  const auto fill = [&](Nested& n) {
    n.tag = char(value()), n.other = char(value()), n.end = uint16_t(value());
    for (Holes& h : n.holes) h.wide = value(), h.narrow = uint16_t(value());
    for (Holes& h : n.more) h.wide = value(), h.narrow = uint16_t(value());
  };
  Line line;
  Nested nested;
  // Characters hold the first values only.
  for (Nested& n : line.nested) next = 1, fill(n);
  line.value = double(value());
  const float4 four{1, 2, 3, float(value() - 1)};
  next = 1, fill(nested);
  Device<uint64_t> out(expected.size());
  run(aligned_lines, 1, 32, 'c', line, four, nested, out.data());
  return out.read() == expected;
}

constexpr Correct kCases[] = {
    {"parameters_of_72_bytes", arrive<3>},           {"parameters_of_384_bytes", arrive<16>},
    {"parameters_of_4_kilobytes", arrive<168>},      {"parameters_of_32_kilobytes", arrive<1363>},
    {"parameters_of_every_alignment", lines_arrive},
};

}  // namespace

std::span<const Correct> correct_parameters() { return kCases; }

}  // namespace corpus
