# Steps with a time limit each and a deadline for all. What they gave is kept in sections, and the file that holds all is
# written after each. Needs json.sh, and sets: folder (for logs), result (the file), deadline (in SECONDS).

declare -A section=()          # name: JSON
section_names=()               # in the order of the file
steps="" failed=""
outcome="" reason=""           # of the step before

# sections name…: none is reached yet.
sections() {
  local name
  for name in "$@"; do
    section_names+=("$name")
    section[$name]=$(json_missing "it was not reached")
  done
}

# Under another name first: whoever looks finds the old file or the new one.
write_result() {
  local name
  {
    printf '{\n  "finished": %s,\n  "exitStatus": %s,\n  "seconds": %d,\n' "$1" "$2" $SECONDS
    printf '  "failed": [%s],\n  "steps": [%s\n  ]' "$failed" "$steps"
    for name in "${section_names[@]}"; do printf ',\n  "%s": %s' "$name" "${section[$name]}"; done
    printf '\n}\n'
  } >"$result.new" && mv "$result.new" "$result"
}

keep_step() { # name seconds
  steps+="${steps:+,}
    $(json_object name "$(json_string "$1")" result "$(json_string "$outcome")" \
    reason "$(json_string "$reason")" seconds "$2")"
  case $outcome in
    failed | "timed out") failed+="${failed:+, }$(json_string "$1")" ;;
  esac
  echo "-- $1: $outcome${reason:+, $reason} ($2 s)"
  write_result false null
}

leave_out() { # name reason
  outcome="left out" reason=$2
  keep_step "$1" 0
}

# Runs a command, or a function of this script, for so many seconds at most.
limited() {
  if [ "$(type -t "$2")" = function ]; then
    export -f configure_programs make_programs own_architectures
    export device_programs
    exec timeout --kill-after=5 "$1" bash -c '"$@"' limited "${@:2}"
  fi
  exec timeout --kill-after=5 "$@"
}

# step name limit command…: prints and logs what the command prints; sets outcome, reason, status and log. A command ends
# with status 3 where it cannot run, and says why.
step() {
  local name=$1 limit=$2 begin=$SECONDS left=$((deadline - SECONDS))
  shift 2
  echo "== $name"
  log="$folder/${name//[^a-z0-9]/_}.log"
  : >"$log"
  ((left < limit)) && limit=$left
  reason=""
  if ((limit < 1)); then
    status=124
  else
    # In the background, so that an interruption need not wait for it.
    {
      limited "$limit" "$@" 2>&1 &
      echo $! >"$folder/pid"
      wait $!
      echo $? >"$folder/status"
    } | tee -i "$log" &
    wait $!
    status=$(cat "$folder/status")
    rm -f "$folder/pid" "$folder/status"
  fi
  case $status in
    0) outcome="passed" ;;
    3) outcome="left out" reason="it says why" ;;
    124 | 137) outcome="timed out" reason="after $((limit > 0 ? limit : 0)) s" ;;
    *) outcome="failed" reason="exit status $status" ;;
  esac
  keep_step "$name" $((SECONDS - begin))
}

# The content of a file that a step wrote, or why there is none.
content() {
  if [ -s "$1" ]; then cat "$1"; else json_missing "$outcome${reason:+, $reason}"; fi
}

# What the steps printed, in one archive beside the file.
keep_logs() {
  tar -czf "${result%.json}.logs.tar.gz" -C "$(dirname "$folder")" "$(basename "$folder")" 2>/dev/null
}

# What runs ends with the script, and the file says how far it came.
on_interrupt() {
  trap '' INT TERM
  [ -f "$folder/pid" ] && kill "$(cat "$folder/pid")"
  failed+="${failed:+, }\"interrupted\""
  write_result false 130
  keep_logs
  echo "Interrupted: $result"
  exit 130
}
