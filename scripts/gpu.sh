#!/usr/bin/env bash
# Everything nvium can say on a machine with an NVIDIA GPU and a CUDA 13 toolkit; no Node is needed. docs/gpu.md
#
#   scripts/gpu.sh [--emulated folder | --programs folder] [result.json]
#   scripts/gpu.sh --build folder
#
# Builds the CUDA backend, compares it with the CPU bit for bit, measures it, and runs compute-sanitizer where there is one.
# --build makes the programs for another machine, and no more; --programs takes them there, and builds if they do not run.
# --emulated takes the programs of a build over the emulator instead: it shows that this script works.
# Exit status: 0 all is well, 1 something failed, 2 wrong usage, 3 there is no device, 130 interrupted.
#
#   NVIUM_CUDA_ARCHITECTURES   what to build for, as CMake names it: "90" or "80-real;90" (default: this machine's GPUs,
#                              else all)
#   NVIUM_GPU_SECONDS          the deadline for all (570)
#   NVIUM_GPU_STEPS            which of "compare products decode attention exits torch sanitizer" (all)
set -u
export LC_ALL=C
deadline=${NVIUM_GPU_SECONDS:-570}
all_steps="compare products decode attention exits torch sanitizer"
wanted_steps=${NVIUM_GPU_STEPS:-$all_steps}
for name in $wanted_steps; do
  case " $all_steps " in
    *" $name "*) ;;
    *)
      echo "There is no step $name; there are: $all_steps." >&2
      exit 2
      ;;
  esac
done

emulated="" programs="" carried=""
case ${1:-} in
  --emulated) emulated=$(cd "$2" && pwd) || exit 2 ;;
  --programs) programs=$(cd "$2" && pwd) || exit 2 ;;
  --build) carried=$(mkdir -p "$2" && cd "$2" && pwd) || exit 2 ;;
  --*)
    echo "There is no option $1." >&2
    exit 2
    ;;
esac
[ -n "$emulated$programs$carried" ] && shift 2
result=${1:-}
case $result in
  "" | /*) ;;
  *) result=$PWD/$result ;;
esac
cd "$(dirname "$0")/.." || exit 2
. scripts/gpu/json.sh
. scripts/gpu/steps.sh
. scripts/gpu/machine.sh
. scripts/gpu/build.sh
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin

build=build/gpu
if [ -n "$carried" ]; then
  build_programs build/carried -DNVIUM_CARRIED=ON && cp build/carried/device_* "$carried"
  exit
fi
folder=${emulated:-$PWD/$build}/steps
result=${result:-${emulated:-$PWD/$build}/gpu.json}
quick=() some=() few=()
if [ -n "$emulated" ]; then
  quick=(--quick) some=(embedding) few=(draws)
fi
mkdir -p "$folder" && rm -f "$folder"/*.json "$folder"/*.log || exit 2
trap on_interrupt INT TERM

finish() { # exit status
  write_result true "$1"
  keep_logs
  [ -n "$failed" ] && echo "Failed: $failed"
  echo "The result is in $result, what the steps printed in ${result%.json}.logs.tar.gz"
  exit "$1"
}
wanted() { # step
  [[ " $wanted_steps " == *" $1 "* ]]
}

sections date commit machine device comparisons kernels decoding torch sanitizer
section[date]=$(json_string "$(date -u +%Y-%m-%dT%H:%M:%SZ)")
section[commit]=$(describe_commit)
section[machine]=$(describe_machine)
write_result false null

# --- programs: those that were brought, or else built here

program=$build/device_ bench=$build/device_gpu_bench
if [ -n "$emulated" ]; then
  program=$emulated/cuda_ bench=$emulated/gpu_bench_emulated
elif [ -n "$programs" ] && runs_here "$programs/device_gpu_bench"; then
  program=$programs/device_ bench=$programs/device_gpu_bench
fi
if [ "$bench" != $build/device_gpu_bench ]; then
  leave_out configure "programs were brought"
  leave_out build "programs were brought"
else
  step configure 60 configure_programs $build
  [ "$outcome" = passed ] || finish 1
  step build 400 make_programs $build
  [ "$outcome" = passed ] || finish 1
fi

step device 60 "$bench" device --json "$folder/device.json"
section[device]=$(content "$folder/device.json")
if [ "$status" = 3 ]; then
  for name in comparisons kernels decoding torch sanitizer; do section[$name]=$(json_missing "no device"); done
  finish 3
fi
[ "$outcome" = passed ] || finish 1

# --- comparisons with the CPU: first, for nothing else counts where they fail

members=()
compare() { # section program filter…: with NVIUM_TEST_PROCESSORS as it is set
  local name=$1 tests="${program}$2_test"
  step "compare $name" 60 "$tests" "${@:3}"
  members+=("$name" "$(json_tests "$log" "$outcome")")
  if [ "$outcome" = failed ] || [ "$outcome" = "timed out" ]; then
    # A device that a test has lost fails all that come after it: each that did not pass, by itself.
    rerun "$name" "$tests" "${@:3}"
  fi
  section[comparisons]=$(json_object "${members[@]}")
}
rerun() { # section program filter…
  local test first=$log
  for test in $("$2" --list "${@:3}"); do
    grep -qxF "ok   $test" "$first" && continue
    step "compare $1, $test alone" 20 "$2" "=$test"
    members+=("$1, $test alone" "$(json_tests "$log" "$outcome")")
  done
}
if wanted compare; then
  compare operations operations "${some[@]}"
  NVIUM_TEST_PROCESSORS=4 compare "operations for 4 processors" operations "${some[@]}"
  compare boundary boundary
  compare model model
  compare shapes shapes "${few[@]}"
else
  section[comparisons]=$(json_missing "not asked for")
fi

# --- speed: products, whole decoding, then the rest

members=()
kernels() { # part…
  for part in "$@"; do
    wanted $part || continue
    step "$part" 60 "$bench" $part --json "$folder/$part.json" "${quick[@]}"
    members+=("$part" "$(content "$folder/$part.json")")
    section[kernels]=$(json_object "${members[@]}")
  done
}
kernels products
if wanted decode; then
  step decode 150 "$bench" decode --json "$folder/decode.json" "${quick[@]}"
  section[decoding]=$(content "$folder/decode.json")
else
  section[decoding]=$(json_missing "not asked for")
fi
kernels attention exits

if ! wanted torch; then
  section[torch]=$(json_missing "not asked for")
elif [ -z "$(command -v python3)" ]; then
  leave_out torch "there is no python3"
  section[torch]=$(content "$folder/torch.json")
else
  step torch 90 python3 bench/gpu/torch_peer.py --json "$folder/torch.json" "${quick[@]}"
  section[torch]=$(content "$folder/torch.json")
fi

# --- compute-sanitizer, last, for it takes what time is left

sanitizer=$(command -v "${emulated:+$emulated/}compute-sanitizer")
if ! wanted sanitizer; then
  section[sanitizer]=$(json_missing "not asked for")
elif [ -z "$sanitizer" ]; then
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
