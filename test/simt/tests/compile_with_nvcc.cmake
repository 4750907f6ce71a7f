# Compiles kernel files with nvcc for several architectures: what runs in the emulator is CUDA.
# Arguments: -DNVCC= -DINCLUDES= -DOUT= -DSOURCES=
foreach(source IN LISTS SOURCES)
  foreach(arch sm_80 sm_90)
    cmake_path(GET source STEM name)
    execute_process(
      COMMAND ${NVCC} -std=c++20 -arch=${arch} -cubin -fmad=false -ftz=true
        -Xptxas -warn-spills,-Werror ${INCLUDES} -o ${OUT}/${name}.${arch}.cubin ${source}
      RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
    if(NOT result EQUAL 0)
      message(FATAL_ERROR "${source} for ${arch}:\n${output}")
    endif()
    message(STATUS "${name} compiles for ${arch}")
  endforeach()
endforeach()
