# shellcheck shell=bash
# Checks for tests of our bash scripts: each prints a line, finish fails when one did. The caller sets
# work, a directory.
# shellcheck disable=SC2154,SC2034

failures=0 status=0 out='' err=''

check() {
  local name=$1
  shift
  if "$@"; then
    echo "ok   $name"
  else
    echo "FAIL $name: $*"
    failures=$((failures + 1))
  fi
}

equal() { [[ $1 == "$2" ]] || { printf 'expected %q, got %q\n' "$2" "$1"; return 1; }; }

# run COMMAND...: its status in $status, stdout in $out, stderr in $err.
run() {
  status=0
  "$@" >"$work/stdout" 2>"$work/stderr" || status=$?
  out=$(<"$work/stdout") err=$(<"$work/stderr")
}

said() { grep -q -- "$1" <<<"$err" || { printf 'stderr has no %q:\n%s\n' "$1" "$err"; return 1; }; }

empty_directory() { [[ -z $(ls -A "$1") ]] || { ls -A "$1"; return 1; }; }

finish() { ((failures == 0)); }
