# What one instruction set compiled must stay its own: a weak symbol of a wide set could be the copy the linker keeps for
# all, and then fails on a processor without it.
#
#   cmake -DNM=… -DOBJDUMP=… -DOBJECTS=a.o|b.o [-DUNOPTIMISED=ON] -P symbols.cmake
#
# Each object may define one symbol for others, its table of kernels. Unoptimised ones hold inline functions of the common
# headers too: those are read before the instructions are asked for, and must have none of them.
string(REPLACE "|" ";" OBJECTS "${OBJECTS}")
if(OBJECTS STREQUAL "")
  message(FATAL_ERROR "No objects to look at")
endif()

set(problems "")
foreach(object IN LISTS OBJECTS)
  get_filename_component(name ${object} NAME)
  execute_process(COMMAND ${NM} --format=posix --defined-only --extern-only ${object}
    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]+" symbols "${symbols}")
  set(tables 0)
  set(weak 0)
  foreach(symbol IN LISTS symbols)
    if(symbol MATCHES "^_ZN5nvium3cpu[0-9]+k[A-Za-z0-9]+KernelsE [BDR] ")
      math(EXPR tables "${tables} + 1")
    elseif(UNOPTIMISED AND symbol MATCHES " W ")
      math(EXPR weak "${weak} + 1")
    else()
      string(APPEND problems "${name} defines ${symbol}\n")
    endif()
  endforeach()
  # Nothing but a table, or none at all where the processor is another.
  list(LENGTH symbols count)
  if(count GREATER 0 AND NOT tables EQUAL 1)
    string(APPEND problems "${name} defines ${tables} tables of kernels\n")
  endif()
  message(STATUS "${name}: ${tables} table, ${weak} inline functions of common headers")

  # A weak function has a section of its own. Every instruction wider than the x86-64 baseline is written v… .
  if(weak GREATER 0)
    execute_process(COMMAND ${OBJDUMP} --disassemble --no-show-raw-insn ${object}
      OUTPUT_VARIABLE code COMMAND_ERROR_IS_FATAL ANY)
    if(code MATCHES "file format elf64-x86-64")
      string(REPLACE ";" "," code "${code}")
      string(REPLACE "Disassembly of section " ";" sections "${code}")
      foreach(section IN LISTS sections)
        if(section MATCHES "^\\.text\\.([^:]+):" AND section MATCHES "\n +[0-9a-f]+:[ \t]+(v[a-z0-9]+)")
          string(REGEX MATCH "^\\.text\\.([^:]+):" _ "${section}")
          string(APPEND problems "${name} compiles ${CMAKE_MATCH_1} with wider instructions\n")
        endif()
      endforeach()
    endif()
  endif()
endforeach()
if(NOT problems STREQUAL "")
  message(FATAL_ERROR "${problems}")
endif()
