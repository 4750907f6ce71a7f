#!/usr/bin/env bash
# Everything nvium can say on a machine with an NVIDIA GPU and a CUDA 13 toolkit; no Node is needed. docs/gpu.md
#
#   scripts/gpu.sh [--emulated folder] [result.json]
#
# Builds the CUDA backend, compares it with the CPU bit for bit, measures it, and runs compute-sanitizer where there is one.
# --emulated takes the programs of a build over the emulator instead: it shows that this script works.
# Exit status: 0 all is well, 1 something failed, 3 there is no device, 130 interrupted.
#
#   NVIUM_CUDA_ARCHITECTURES   what to build for, as CMake names it: "90" or "80-real;90" (default: this machine's GPUs,
#                              else all)
#   NVIUM_GPU_SECONDS          the deadline for all (570)
set -u
export LC_ALL=C
deadline=${NVIUM_GPU_SECONDS:-570}

emulated=""
if [ "${1:-}" = --emulated ]; then
  emulated=$(cd "$2" && pwd) || exit 2
  shift 2
fi
result=${1:-}
case $result in
  "" | /*) ;;
  *) result=$PWD/$result ;;
esac
cd "$(dirname "$0")/.." || exit 2
. scripts/gpu/json.sh
. scripts/gpu/steps.sh
. scripts/gpu/machine.sh
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin

build=build/gpu
folder=${emulated:-$PWD/$build}/steps
result=${result:-${emulated:-$PWD/$build}/gpu.json}
program=$build/device_ bench=$build/device_gpu_bench quick=() some=()
if [ -n "$emulated" ]; then
  program=$emulated/cuda_ bench=$emulated/gpu_bench_emulated quick=(--quick) some=(embedding)
fi
mkdir -p "$folder" && rm -f "$folder"/*.json "$folder"/*.log || exit 2
trap on_interrupt INT TERM

finish() { # exit status
  write_result true "$1"
  [ -n "$failed" ] && echo "Failed: $failed"
  echo "The result is in $result"
  exit "$1"
}

sections date commit machine device comparisons kernels decoding torch sanitizer
section[date]=$(json_string "$(date -u +%Y-%m-%dT%H:%M:%SZ)")
section[commit]=$(describe_commit)
section[machine]=$(describe_machine)
write_result false null

# --- build

if [ -n "$emulated" ]; then
  leave_out configure "emulated"
  leave_out build "emulated"
else
  architectures=${NVIUM_CUDA_ARCHITECTURES:-$(own_architectures)}
  if [ -n "$architectures" ]; then
    option=-DCMAKE_CUDA_ARCHITECTURES=$architectures
  else
    option=-UCMAKE_CUDA_ARCHITECTURES # all
  fi
  step configure 60 \
    cmake -S . -B $build -DCMAKE_BUILD_TYPE=Release -DNVIUM_ADDON=OFF -DNVIUM_CUDA=ON "$option"
  [ "$outcome" = passed ] || finish 1
  step build 400 cmake --build $build -j "$(nproc)" \
    --target device_operations_test device_boundary_test device_model_test device_gpu_bench
  [ "$outcome" = passed ] || finish 1
fi

step device 60 "$bench" device --json "$folder/device.json"
section[device]=$(content "$folder/device.json")
if [ "$status" = 3 ]; then
  for name in comparisons kernels decoding torch sanitizer; do section[$name]=$(json_missing "no device"); done
  finish 3
fi
[ "$outcome" = passed ] || finish 1

# --- comparisons with the CPU

members=()
compare() { # name filter…
  step "compare $1" 60 "${program}$1_test" "${@:2}"
  members+=("$1" "$(json_tests "$log" "$outcome")")
  section[comparisons]=$(json_object "${members[@]}")
}
compare operations "${some[@]}"
compare boundary
compare model

# --- speed

members=()
for part in products attention exits; do
  step "$part" 60 "$bench" $part --json "$folder/$part.json" "${quick[@]}"
  members+=("$part" "$(content "$folder/$part.json")")
  section[kernels]=$(json_object "${members[@]}")
done
step decode 150 "$bench" decode --json "$folder/decode.json" "${quick[@]}"
section[decoding]=$(content "$folder/decode.json")

if [ -z "$(command -v python3)" ]; then
  leave_out torch "there is no python3"
else
  step torch 90 python3 bench/gpu/torch_peer.py --json "$folder/torch.json" "${quick[@]}"
fi
section[torch]=$(content "$folder/torch.json")

# --- compute-sanitizer, last, for it takes what time is left

sanitizer=$(command -v "${emulated:+$emulated/}compute-sanitizer")
if [ -z "$sanitizer" ]; then
  leave_out compute-sanitizer "it was not found"
  section[sanitizer]=$(content "")
else
  members=()
  sanitize() { # tool program filter…
    step "$1 $2" 60 "$sanitizer" --tool "$1" --error-exitcode 1 "${program}$2_test" "${@:3}"
    members+=("$1 $2" "$(json_tests "$log" "$outcome")")
    section[sanitizer]=$(json_object "${members[@]}")
  }
  for tool in memcheck racecheck synccheck initcheck; do
    sanitize $tool operations one_column several_sequences routers draws_among
    sanitize $tool model
  done
fi

[ -z "$failed" ] && finish 0
finish 1
