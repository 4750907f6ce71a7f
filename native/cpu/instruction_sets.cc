#include "instruction_sets.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "../error.h"
#include "../numerics/environment.h"
#include "../numerics/philox.h"
#include "../numerics/types.h"

namespace nvium::cpu {
namespace {

// Deterministic values of mixed sign and size, as many as asked for.
std::vector<float> sample(uint32_t stream, size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; i++) {
    const numerics::Words w = numerics::philox(uint32_t(i), stream, 0, 0, 0, 0);
    values[i] = (float(int32_t(w.w0)) * 0x1p-31f) * (w.w1 & 1 ? 1.0f : 0.125f);
  }
  return values;
}

// One product through a table of kernels: ragged in rows, columns and outputs.
std::vector<float> product(const Kernels& kernels, DType type, Activation activation) {
  const uint32_t rows = 11, cols = 301, width = 45;
  const uint32_t tiles = ceil_div(width, kTileRows) * (activation == Activation::swiglu ? 2 : 1);
  Matrix m{nullptr, tiles * kTileRows, cols, type};
  const std::vector<float> weights = sample(1, m.bytes() / bytes_of(type));
  // Aligned as the backend's memory is.
  std::vector<std::byte> memory(m.bytes() + 64);
  std::byte* tile = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  for (size_t i = 0; i < weights.size(); i++) {
    if (type == DType::f32) {
      std::memcpy(tile + 4 * i, &weights[i], 4);
    } else {
      // As an f16 pattern the upper half of a float is some other finite number, which serves as
      // well.
      const uint16_t half = numerics::bf16_from_float(weights[i]) & 0xbfff;
      std::memcpy(tile + 2 * i, &half, 2);
    }
  }
  m.tiles = tile;
  const std::vector<float> input = sample(2, rows * cols), norm = sample(3, cols),
                           bias = sample(4, width);
  std::vector<float> output(rows * width);
  std::vector<std::byte> operand(rows * operand_row_bytes(type, cols));
  kernels.pack({type, input.data(), norm.data(), 1e-6f, nullptr, rows, cols, operand.data()}, 0,
               rows);
  Projection p;
  p.matrix = &m;
  p.input = input.data();
  p.rows = rows;
  p.bias = bias.data();
  p.activation = activation;
  p.output = output.data();
  p.width = width;
  kernels.project(p, operand.data(), 0, ceil_div(width, kTileRows));
  return output;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Whether a table gives the portable table's bits: dots of every type, every activation, noise and
// sums.
bool agrees(const Kernels& kernels) {
  for (const DType type : {DType::bf16, DType::f16, DType::f32}) {
    for (const Activation activation :
         {Activation::none, Activation::silu, Activation::gelu, Activation::swiglu}) {
      if (!same(product(kernels, type, activation), product(kPortableKernels, type, activation))) {
        return false;
      }
    }
  }
  const std::vector<float> logits = sample(5, 1003);
  const float maximum = kPortableKernels.maximum(logits.data(), logits.size());
  for (uint32_t position = 0; position < 8; position++) {
    Draw draw;
    draw.position = position;
    const Best a = kernels.draw(logits.data(), draw, 0, 1003);
    const Best b = kPortableKernels.draw(logits.data(), draw, 0, 1003);
    if (a.token != b.token || a.score != b.score) return false;
  }
  return kernels.maximum(logits.data(), logits.size()) == maximum &&
         kernels.fixed_sum(logits.data(), logits.size(), maximum) ==
             kPortableKernels.fixed_sum(logits.data(), logits.size(), maximum);
}

struct Candidate {
  const Kernels* kernels;
  bool present;  // in this processor
};

std::vector<Candidate> candidates() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq");
  return {{&kAvx512Bf16Kernels, avx512 && __builtin_cpu_supports("avx512bf16")},
          {&kAvx512Kernels, avx512},
          {&kAvx2Kernels, avx2}};
#elif defined(__aarch64__)
  return {{&kNeonKernels, true}};
#else
  return {};
#endif
}

std::vector<const Kernels*> find() {
  std::vector<const Kernels*> found;
  numerics::with_flushing([&] {
    for (const Candidate& c : candidates()) {
      if (c.present && agrees(*c.kernels)) found.push_back(c.kernels);
    }
  });
  found.push_back(&kPortableKernels);
  return found;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
  static const std::vector<const Kernels*> kernels = find();
  return kernels;
}

const Kernels& choose_kernels(std::string_view name) {
  std::string names;
  for (const Kernels* kernels : available_kernels()) {
    if (name.empty() || name == kernels->name) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->name);
  }
  throw Failure{"ERR_NVIUM_INVALID_ARG",
                "Instruction set \"" + std::string(name) + "\" is not available here; there is " +
                    names + ".",
                {{"argument", "instructionSet"}}};
}

}  // namespace nvium::cpu
