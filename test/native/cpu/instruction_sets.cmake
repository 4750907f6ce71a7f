# Tests of the instruction sets: the check at load, equal bits on every machine, and no symbol of one set that the linker
# could take for another's. Included by test/native/CMakeLists.txt.
nvium_test(self_check_test cpu/self_check_test.cpp)
target_link_libraries(self_check_test PRIVATE nvium_core)
nvium_test(digest_test cpu/digest_test.cpp)
target_link_libraries(digest_test PRIVATE nvium_core)

# Sanitizers add symbols of their own, and the tools and names looked for are those of ELF.
if(NVIUM_SANITIZE OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  return()
endif()

get_target_property(kernel_sources nvium_core SOURCES)
list(FILTER kernel_sources INCLUDE REGEX "/native/cpu/(avx.*|neon.*|portable)\\.cc$")

# nvium_symbol_test(name target option…): the objects of the kernels, each with its table as the only symbol.
function(nvium_symbol_test name target)
  set(objects "$<TARGET_OBJECTS:${target}>")
  add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -DOBJDUMP=${CMAKE_OBJDUMP}
    "-DOBJECTS=$<JOIN:$<FILTER:${objects},INCLUDE,cpu/(avx.*|neon.*|portable|leaking)[.]cc>,|>" ${ARGN}
    -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/symbols.cmake)
endfunction()

# Without optimisation nothing is inlined but what must be.
add_library(kernels_unoptimised OBJECT ${kernel_sources})
add_library(leaking_unoptimised OBJECT cpu/leaking.cc)
foreach(target kernels_unoptimised leaking_unoptimised)
  target_compile_options(${target} PRIVATE -std=c++20 -O0 ${NVIUM_NUMERICS_OPTIONS})
endforeach()
add_library(leaking OBJECT cpu/leaking.cc)
target_link_libraries(leaking PRIVATE nvium_flags)

nvium_symbol_test(symbols nvium_core)
nvium_symbol_test(symbols_unoptimised kernels_unoptimised -DUNOPTIMISED=ON)
# The test finds what it is for.
nvium_symbol_test(symbols_that_leak leaking)
set_tests_properties(symbols_that_leak PROPERTIES PASS_REGULAR_EXPRESSION "leaking.cc.o defines _ZN5nvium3cpu7leaking")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  nvium_symbol_test(symbols_that_leak_unoptimised leaking_unoptimised -DUNOPTIMISED=ON)
  set_tests_properties(symbols_that_leak_unoptimised PROPERTIES
    PASS_REGULAR_EXPRESSION "compiles _ZN5nvium3cpu7leaking.* with wider")
endif()
