// The emulator's half of "dialect.cuh": the same functions as the PTX half, over simt/runtime.h.
#pragma once

#include <cstring>

#include "simt/device.h"

#define NV_DYN_SMEM(name) unsigned char* const name = ::simt::dynamic_shared()
// The lambda gives each use, and each instantiation of the template it is in, a type of its own.
#define NV_SHARED(T, name) auto& name = ::simt::shared_variable<T, decltype([] {})>()
#define NV_UNROLL

namespace simt {

template <class T, class Key>
T& shared_variable() {
  static const char key = 0;
  constexpr size_t kLeastAlignment = 16;
  return *static_cast<T*>(static_shared(&key, sizeof(T), std::max(alignof(T), kLeastAlignment)));
}

struct LdmatrixDeposit {
  const unsigned char* row;
  uint32_t* result;
};

// Lane 8j+r gives the address of row r of matrix j; lane l receives from each matrix row l/4,
// columns 2*(l%4) and the next.
SIMT_UNHOOKED void ldmatrix_op(void** deposits, unsigned) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    for (unsigned j = 0; j < 4; ++j) {
      const auto& from = *static_cast<LdmatrixDeposit*>(deposits[8 * j + lane / 4]);
      std::memcpy(static_cast<LdmatrixDeposit*>(deposits[lane])->result + j,
                  from.row + 4 * (lane % 4), 4);
    }
}

struct MmaDeposit {
  const uint32_t *a, *b;
  float* d;
};

inline float bf16_low(uint32_t pair) { return __uint_as_float(pair << 16); }
inline float bf16_high(uint32_t pair) { return __uint_as_float(pair & 0xffff0000u); }

// With g = lane/4, t = lane%4. A holds rows g and g+8, columns 2t and 2t+8 and their neighbours; B
// rows 2t and 2t+8 and their neighbours, column g; D rows g and g+8, columns 2t and 2t+1.
SIMT_UNHOOKED void mma_op(void** deposits, unsigned) {
  float a[16][16], b[16][8];
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const auto& mine = *static_cast<MmaDeposit*>(deposits[lane]);
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = g + (i & 1) * 8, column = 2 * t + (i >> 1) * 8;
      a[row][column] = bf16_low(mine.a[i]);
      a[row][column + 1] = bf16_high(mine.a[i]);
    }
    for (unsigned i = 0; i < 2; ++i) {
      b[2 * t + 8 * i][g] = bf16_low(mine.b[i]);
      b[2 * t + 8 * i + 1][g] = bf16_high(mine.b[i]);
    }
  }
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    float* d = static_cast<MmaDeposit*>(deposits[lane])->d;
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned i = 0; i < 4; ++i) {
      const unsigned row = g + (i >> 1) * 8, column = 2 * t + (i & 1);
      for (unsigned k = 0; k < 16; ++k) d[i] += a[row][k] * b[k][column];
    }
  }
}

}  // namespace simt

namespace nv {

template <unsigned kBytes = 16>
void cp_async(void* shared, const void* global, bool valid = true, SIMT_PLACE) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  simt::cp_async(shared, global, kBytes, valid ? kBytes : 0, place);
}
inline void cp_async_commit() { simt::cp_async_commit(); }
template <unsigned kPending>
void cp_async_wait() {
  simt::cp_async_wait(kPending);
}

// Of what is asked for nothing is seen, but it has to be there.
template <unsigned kBytes>
void prefetch_l2(const void* address, SIMT_PLACE) {
  simt::note(address, 1, simt::Access::read, place);
  simt::note(static_cast<const char*>(address) + kBytes - 1, 1, simt::Access::read, place);
}

inline void ldmatrix_x4(uint32_t (&result)[4], const void* row, SIMT_PLACE) {
  simt::LdmatrixDeposit mine{static_cast<const unsigned char*>(row), result};
  simt::note(row, 16, simt::Access::read, place);
  simt::collective(simt::kFullMask, &mine, simt::ldmatrix_op, simt::Collective::aligned, place);
}

inline void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                           SIMT_PLACE) {
  simt::MmaDeposit mine{a, b, d};
  simt::collective(simt::kFullMask, &mine, simt::mma_op, simt::Collective::aligned, place);
}

inline void grid_sync(SIMT_PLACE) { simt::grid_barrier(place); }
inline void grid_dependency_wait() { simt::wait_for_prior_grids(); }
inline void grid_dependency_trigger() {}

template <class T>
T load_acquire(const T* address, SIMT_PLACE) {
  const T value = simt::load_as(address, simt::Access::relaxed_read, place);
  simt::fence(simt::Scope::device);
  return value;
}
template <class T>
void store_release(T* address, std::type_identity_t<T> value, SIMT_PLACE) {
  simt::fence(simt::Scope::device);
  simt::store_as(address, value, simt::Access::relaxed_write, place);
}

}  // namespace nv
