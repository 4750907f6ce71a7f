# The programs of a GPU: configuring and building them, and whether ones that were brought run here. Needs machine.sh.

device_programs="device_operations_test device_boundary_test device_model_test device_shapes_test device_gpu_bench"

configure_programs() { # folder option…
  local architectures=${NVIUM_CUDA_ARCHITECTURES:-$(own_architectures)} options=()
  if [ -n "$architectures" ]; then
    options+=("-DCMAKE_CUDA_ARCHITECTURES=$architectures")
  else
    options+=(-UCMAKE_CUDA_ARCHITECTURES) # all
  fi
  # A folder keeps the generator it was begun with.
  [ ! -e "$1/CMakeCache.txt" ] && [ -n "$(command -v ninja)" ] && options+=(-G Ninja)
  cmake -S . -B "$1" -DCMAKE_BUILD_TYPE=Release -DNVIUM_ADDON=OFF -DNVIUM_CUDA=ON "${options[@]}" "${@:2}"
}

make_programs() { # folder
  cmake --build "$1" -j "$(nproc)" --target $device_programs
}

build_programs() { # folder option…
  configure_programs "$@" && make_programs "$1"
}

# Whether a program starts: it may lack a library, or the C library may be older than the one it was made with.
runs_here() { # gpu_bench
  local status
  "$1" device >/dev/null 2>&1
  status=$?
  [ $status = 0 ] || [ $status = 3 ]
}
