// The dot on one tile: which of its forms this translation unit uses, and the choice by the
// matrix's type.
#pragma once

#include "../kernels.h"

// A translation unit names its vectors before it includes anything of this folder: the macros of
// the instruction set itself are no guide, since g++ 12 reads a whole file before a target pragma
// defines them.
#if defined(NVIUM_VECTOR)
#include "dot_integers.h"
#include "dot_vector.h"
#else
#include "dot_portable.h"
#endif

namespace nvium::cpu {
namespace {

inline void dot_tile(MatrixType type, const TileDot& t) {
  switch (type) {
    case MatrixType::bf16:
      return dot_tile<MatrixType::bf16>(t);
    case MatrixType::f16:
      return dot_tile<MatrixType::f16>(t);
    case MatrixType::f32:
      return dot_tile<MatrixType::f32>(t);
    case MatrixType::bytes:
      return dot_tile<MatrixType::bytes>(t);
    case MatrixType::int8:
      return dot_integers<MatrixType::int8>(t);
    case MatrixType::int4:
      return dot_integers<MatrixType::int4>(t);
  }
}

}  // namespace
}  // namespace nvium::cpu
