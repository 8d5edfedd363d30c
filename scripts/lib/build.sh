# shellcheck shell=bash
# Configures and builds the trees under build/: the one that scripts/noxsup runs and those of the tests.
# Sourced after common.sh.
# shellcheck disable=SC2154

export CCACHE_DIR=${CCACHE_DIR:-$noxsup_cache/ccache}
export CCACHE_MAXSIZE=${CCACHE_MAXSIZE:-4G}

# build_tree LOG DIRECTORY PRESET TARGETS [OPTION...]: TARGETS is a list of words. One build of a tree at
# a time; a failure prints the errors.
build_tree() {
  local log=$1 directory=$2 preset=$3 targets
  read -ra targets <<<"$4"
  shift 4
  mkdir -p "$directory" "$(dirname -- "$log")" || die "$EXIT_FAILED" "cannot write to $directory" \
    "clone the repository to a directory of your own"
  (
    flock 9
    cmake -S "$repository" --preset "$preset" -B "$directory" "$@" &&
      nice -n 5 ninja -C "$directory" -j "$(build_jobs)" "${targets[@]}"
  ) >"$log" 2>&1 9>"$directory/.lock" && return 0
  grep -A 12 -m 5 -e 'FAILED:' -e 'error:' -e 'CMake Error' "$log" >&2 || tail -n 40 "$log" >&2
  say "the build of $directory failed; all of it is in $log"
  return 1
}

# build_run_tree: the release binary of scripts/noxsup, in build/run.
build_run_tree() {
  local directory=$repository/build/run
  if ! mkdir -p "$directory" 2>/dev/null || [[ ! -w $directory ]]; then
    die "$EXIT_FAILED" "cannot write to $directory" "clone the repository to a directory of your own"
  fi
  say "building noxsup, once (some minutes; the log is $directory/build.log)"
  # Made before the build, so that what changes during it is built the next time.
  : >"$directory/noxsup-built.new"
  build_tree "$directory/build.log" "$directory" release 'noxsup noxsup-worker' -DNOXSUP_TESTS=OFF ||
    exit "$EXIT_FAILED"
  mv "$directory/noxsup-built.new" "$directory/noxsup-built"
}
