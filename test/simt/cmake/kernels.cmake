# Compiling kernel files, and host code to be checked, against the emulator.
#
#   simt_add_kernels(<target> CHECKED|PLAIN <file.cu>...)
#
# makes an object library of .cu files compiled by g++. Link it with simt_checked or simt_plain:
#
#   simt_add_kernels(my_kernels CHECKED gemv.cu attention.cu)
#   add_executable(my_test my_test.cc)
#   target_link_libraries(my_test PRIVATE my_kernels simt_checked simt_checked_flags)
#
# simt_checked_flags and simt_plain_flags hold the options alone. Host code of a test that links
# simt_checked_flags is checked as well: accesses of device memory, and of pinned memory too early.

include(CheckCXXSourceRuns)
check_cxx_source_runs("int main() { return !__builtin_cpu_supports(\"fma\"); }" SIMT_HOST_HAS_FMA)

set(simt_root ${CMAKE_CURRENT_LIST_DIR}/..)

foreach(kind checked plain)
  add_library(simt_${kind}_flags INTERFACE)
  target_compile_definitions(simt_${kind}_flags INTERFACE NVIUM_SIMT)
  # The dialect header is a file of the product.
  target_include_directories(simt_${kind}_flags INTERFACE
    ${simt_root}/include ${simt_root}/../../cuda)
  target_include_directories(simt_${kind}_flags SYSTEM INTERFACE ${SIMT_CUDA_INCLUDE})
  target_compile_options(simt_${kind}_flags INTERFACE
    -gdwarf-4  # addr2line of binutils 2.40 misnames the files of version 5
    -ffp-contract=off
    -fno-strict-aliasing  # kernels read bf16 as uint4
    $<$<BOOL:${SIMT_HOST_HAS_FMA}>:-mfma>)
  target_compile_features(simt_${kind}_flags INTERFACE cxx_std_20)
endforeach()

target_compile_options(simt_plain_flags INTERFACE -O2)

# -Og without scalar replacement keeps loads as wide as they are written. The options come last on
# the command line, after those of the build type.
target_compile_options(simt_checked_flags INTERFACE
  -Og
  -fno-tree-sra
  -fsanitize=thread
  --param=tsan-instrument-func-entry-exit=0
  --param=tsan-distinguish-volatile=1
  -fsanitize-coverage=trace-pc,trace-cmp
  -ftrivial-auto-var-init=pattern)

# A source file is compiled by way of a file that includes it: the same .cu may belong to a target of
# the CUDA language in the same folder.
function(simt_add_kernels target kind)
  string(TOLOWER ${kind} kind)
  set(wrappers "")
  foreach(source ${ARGN})
    cmake_path(ABSOLUTE_PATH source NORMALIZE)
    cmake_path(GET source FILENAME name)
    set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/${target}/${name}.cc)
    file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"@source@\"\n" @ONLY)
    set_property(SOURCE ${wrapper} PROPERTY OBJECT_DEPENDS ${source})
    list(APPEND wrappers ${wrapper})
  endforeach()
  add_library(${target} OBJECT ${wrappers})
  target_link_libraries(${target} PUBLIC simt_${kind}_flags)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()
