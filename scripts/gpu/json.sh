# JSON from a shell: strings, objects of strings, and what a test program printed.

# A string as JSON; all but printable ASCII is dropped.
json_string() {
  local text=$1
  text=${text//[^ -~]/}
  text=${text//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# json_object key value key value …: values are JSON.
json_object() {
  local members=""
  while (($# > 1)); do
    members+="${members:+, }\"$1\": $2"
    shift 2
  done
  printf '{%s}' "$members"
}

json_missing() { json_object missing "$(json_string "$1")"; }

# json_tests log result: the output of a test program (test/native/testing.h).
json_tests() {
  awk -v result="$2" '
    function quoted(text) {
      gsub(/[^ -~]/, "", text); gsub(/[\\"]/, "\\\\&", text)
      return "\"" text "\""
    }
    function put(list, text) { return list (list == "" ? "" : ", ") quoted(text) }
    /^ok   / { passed = put(passed, substr($0, 6)) }
    /^FAIL / { failed = put(failed, substr($0, 6)) }
    /^  / && lines++ < 20 { details = put(details, substr($0, 3)) }
    /^=========/ && !/COMPUTE-SANITIZER/ && lines++ < 20 { details = put(details, $0) }
    /^note / { notes = put(notes, substr($0, 6)) }
    END {
      printf "{\"result\": %s, \"passed\": [%s], \"failed\": [%s], \"details\": [%s], \"notes\": [%s]}",
        quoted(result), passed, failed, details, notes
    }' "$1"
}
