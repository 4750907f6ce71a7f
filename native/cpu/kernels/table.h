// The table of one instruction set, from the functions the headers before gave this translation
// unit.
#pragma once

#include "attention.h"
#include "draw.h"
#include "pack.h"
#include "project.h"

namespace nvium::cpu {
namespace {

constexpr Kernels make_kernels(const char* name) {
  return {.name = name,
          .pack = pack_rows,
          .project = project_tiles,
          .append = append_head,
          .attend = attend_unit,
          .draw = draw_range,
          .draw_kept = draw_kept,
          .maximum = largest,
          .fixed_sum = fixed_sum,
          .mix = mix_range,
          .finite = all_finite};
}

}  // namespace
}  // namespace nvium::cpu
