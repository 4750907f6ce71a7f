# What machine this is and what is on it, as JSON. Needs json.sh.

first_line() { "$@" 2>/dev/null | head -n 1; }

queried=name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.memory,clocks.sm,temperature.gpu,utilization.gpu

describe_machine() {
  local memory smi="nvidia-smi was not found"
  memory=$(awk '/^MemTotal/ { print $2 * 1024 }' /proc/meminfo 2>/dev/null)
  [ -n "$(command -v nvidia-smi)" ] && smi=$(nvidia-smi --format=csv,noheader --query-gpu="$queried" 2>&1)
  json_object \
    system "$(json_string "$(uname -srm)")" \
    processor "$(json_string "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)")" \
    processors "$(nproc)" \
    memoryBytes "${memory:-null}" \
    nvidiaSmi "$(json_object asked "$(json_string "$queried")" answer "$(json_string "$smi")")" \
    nvcc "$(json_string "$(nvcc --version 2>/dev/null | sed -n 's/.*release //p')")" \
    compiler "$(json_string "$(first_line "${CXX:-c++}" --version)")" \
    cmake "$(json_string "$(first_line cmake --version)")"
}

describe_commit() {
  local id changed=true
  if id=$(git rev-parse HEAD 2>/dev/null); then
    git diff --quiet HEAD 2>/dev/null && changed=false
    json_object id "$(json_string "$id")" changed $changed
  else
    json_missing "there is no git, or no repository"
  fi
}

# What CMake calls the architectures of this machine's GPUs; nothing where there is none.
own_architectures() {
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
    sed -n 's/^\([0-9][0-9]*\)\.\([0-9]\)$/\1\2/p' | sort -u | paste -sd ';' -
}
