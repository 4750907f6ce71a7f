#!/usr/bin/env bash
# The core and its tests under sanitizers: `scripts/sanitize.sh` for both builds, or with `asan` (memory and undefined
# behaviour) or `tsan` (threads). Builds into build/asan and build/tsan.
set -euo pipefail
cd "$(dirname "$0")/.."

# Kernels, the model with everything that can fail failing, and the arithmetic.
tests=(kernels_test model_test faults_test numerics_test)
jobs=${JOBS:-2}

run() {
  local name=$1 sanitizers=$2 pattern
  cmake -S . -B "build/$name" -DNVIUM_ADDON=OFF -DNVIUM_SANITIZE="$sanitizers" >/dev/null
  cmake --build "build/$name" -j "$jobs" --target "${tests[@]}"
  pattern="^($(IFS='|' && echo "${tests[*]}"))$"
  # A finding ends the program that made it with an error.
  ASAN_OPTIONS=detect_stack_use_after_return=1 \
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
    ctest --test-dir "build/$name" -R "$pattern" --output-on-failure
}

[ $# -gt 0 ] || set -- asan tsan
for name in "$@"; do
  case $name in
    asan) run asan address,undefined ;;
    tsan) run tsan thread ;;
    *)
      echo "There is no $name: asan or tsan." >&2
      exit 2
      ;;
  esac
done
