#!/usr/bin/env bash
# Cross-compiles the core and its native tests for 64-bit Arm and runs them under user-mode emulation: the NEON kernels
# against the definitions, and their bits against the digests that x86 gives. Part of the checks of a release, not of
# `npm test`. Takes a few minutes; arguments go to ctest (for example `-R digest_test -V`).
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=aarch64-linux-gnu-g++
emulator=qemu-aarch64
libraries=/usr/aarch64-linux-gnu # where Debian puts the C library for that architecture
build=build/arm64

missing=()
for program in cmake "$compiler" "$emulator"; do
  command -v "$program" > /dev/null || missing+=("$program")
done
[ -e "$libraries/lib/ld-linux-aarch64.so.1" ] || missing+=("$libraries/lib/ld-linux-aarch64.so.1")
if [ ${#missing[@]} -gt 0 ]; then
  printf 'Not found: %s\n' "${missing[*]}"
  printf 'On Debian or Ubuntu: apt-get install cmake make g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user\n'
  exit 1
fi >&2

cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DNVIUM_ADDON=OFF -DNVIUM_NVCC=NVIUM_NVCC-NOTFOUND \
  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$compiler" \
  -DCMAKE_CROSSCOMPILING_EMULATOR="$emulator;-L;$libraries"
cmake --build "$build" --parallel 2

# What is listed here must be NEON, with and without the dot product: where the check at load rejected it, the other tests would pass without it.
"$emulator" -L "$libraries" "$build/test/native/digest_test" every_instruction_set | tee "$build/digests.txt"
for set in neon-dot neon; do grep -q "^  $set " "$build/digests.txt"; done

# Left out for their time: law_test draws millions of tokens, which the digests already tie to those of x86, and faults_test
# is about memory.
ctest --test-dir "$build" --output-on-failure --parallel 2 --exclude-regex '^(law|faults)_test$' "$@"
