#!/bin/sh
# Everything nvium can say on a machine with an NVIDIA GPU and a CUDA 13 toolkit; no Node is needed.
#
#   scripts/gpu.sh [result.json] [architecture, such as 90; default: this machine's]
#
# Builds the CUDA backend, compares every operation and a model with the CPU bit for bit, runs compute-sanitizer where
# there is one, and measures. Under ten minutes; what is printed and the file grow as it goes.
set -u
cd "$(dirname "$0")/.."
result=${1:-gpu.json}
architecture=${2:-native}
build=build/gpu
jobs=$(nproc 2>/dev/null || echo 2)
failed=0

echo "== build"
cmake -S . -B $build -DCMAKE_BUILD_TYPE=Release -DNVIUM_ADDON=OFF -DNVIUM_CUDA=ON \
  -DCMAKE_CUDA_ARCHITECTURES="$architecture" || exit 1
cmake --build $build -j "$jobs" --target device_operations_test device_model_test device_gpu_bench || exit 1

for test in operations model; do
  echo "== $test, against the CPU"
  $build/device_${test}_test || failed=1
done

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -n "$sanitizer" ] && [ $failed = 0 ]; then
  for tool in memcheck racecheck synccheck initcheck; do
    echo "== compute-sanitizer, $tool"
    timeout 90 "$sanitizer" --tool $tool --error-exitcode 1 $build/device_operations_test one_column || failed=1
    timeout 90 "$sanitizer" --tool $tool --error-exitcode 1 $build/device_operations_test several_sequences || failed=1
  done
else
  echo "== compute-sanitizer is left out"
fi

echo "== benchmark"
timeout 300 $build/device_gpu_bench --json "$result" || failed=1
[ $failed = 0 ] && echo "All is well: $result" || echo "Something failed; see above."
exit $failed
