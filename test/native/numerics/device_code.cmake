# Compiles device_code.cu to PTX and looks at the instructions.
execute_process(
  COMMAND ${NVCC} -ptx -std=c++20 -arch=sm_90 -fmad=false -ftz=true -prec-div=true -prec-sqrt=true
    -Werror all-warnings -I${INCLUDE} -o ${PTX} ${SOURCE}
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "nvcc failed:\n${output}")
endif()

file(STRINGS ${PTX} approximate REGEX "\\.approx|ex2\\.|lg2\\.|rsqrt|mad\\.(rn\\.|ftz\\.)*f32|\\.full")
if(approximate)
  message(FATAL_ERROR "approximate or contracted instructions:\n${approximate}")
endif()

# Arithmetic on f32 without .ftz, and operations whose rounding is not to nearest.
file(STRINGS ${PTX} arithmetic REGEX "^[ \t]*(add|sub|mul|fma|div|sqrt|min|max|setp)\\.[a-z.]*f32[ \t]")
list(LENGTH arithmetic count)
if(count LESS 100)
  message(FATAL_ERROR "only ${count} f32 instructions found: the pattern does not fit this PTX")
endif()
foreach(line IN LISTS arithmetic)
  if(NOT line MATCHES "\\.ftz\\.")
    message(FATAL_ERROR "not flushed: ${line}")
  endif()
  if(line MATCHES "\\.(rz|rm|rp)\\.")
    message(FATAL_ERROR "not rounded to nearest: ${line}")
  endif()
endforeach()
message(STATUS "${count} f32 instructions, all flushed and exact")
