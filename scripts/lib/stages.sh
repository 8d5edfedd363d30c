# shellcheck shell=bash
# The stages of scripts/test, their times, and the report at its end. Sourced by scripts/test.
# shellcheck disable=SC2154

readonly BUDGET_MINUTES=60     # on 2 cores with nothing cached; 30 with everything cached
readonly STOP_AFTER_MINUTES=85 # a hung run ends with a report, not by somebody's patience
# A minute for what reads other people's lines and files first, less for what is behind such a reader.
readonly SHORT_FUZZERS=(guest_agent_fuzz guest_disk_fuzz http_answer_fuzz vendor_texts_fuzz)
readonly FUZZ_SECONDS=60 SHORT_FUZZ_SECONDS=20 FUZZ_TREE=$repository/build/fuzz
readonly ASAN_TREE=$repository/build/asan RELEASE_TREE=$repository/build/release-test
readonly TSAN_TREE=$repository/build/tsan
readonly RESULTS=$repository/build/test-results

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}

started=$(now_seconds)
stage_names=()
stage_seconds=()
failed_stages=()
skipped_stages=()
images_pid=''
beside_name='' beside_pid=''
early_pid=''

# run_stage NAME COMMAND...: times it; a failure is kept for the report. A build that fails ends the run.
run_stage() {
  local name=$1 begin status=0
  shift
  begin=$(now_seconds)
  say "stage $name"
  "$@" || status=$?
  stage_names+=("$name")
  stage_seconds+=($(($(now_seconds) - begin)))
  ((status != 0)) || return 0
  failed_stages+=("$name")
  [[ $name != 'build '* ]] || report
}

# start_beside NAME COMMAND...: a stage for what the next ones leave of the processors. What it says comes with
# join_beside, which a run has after it.
start_beside() {
  beside_name=$1
  shift
  say "stage $beside_name, beside the next ones"
  # A process group of its own, so that its whole family ends with it.
  set -m
  (
    set +m
    renice -n 15 "$BASHPID" >/dev/null
    status=0 begin=$(now_seconds)
    "$@" || status=$?
    echo "$(($(now_seconds) - begin))" >"$RESULTS/beside.seconds"
    ((${#skipped_stages[@]} == 0)) || printf '%s\n' "${skipped_stages[@]}" >"$RESULTS/beside.skipped"
    exit "$status"
  ) >"$RESULTS/beside.log" 2>&1 </dev/null &
  beside_pid=$!
  set +m
}

join_beside() {
  local status=0 words=()
  [[ -n $beside_pid ]] || return 0
  wait "$beside_pid" || status=$?
  beside_pid=''
  cat "$RESULTS/beside.log"
  stage_names+=("$beside_name beside")
  stage_seconds+=("$(cat "$RESULTS/beside.seconds" 2>/dev/null || echo 0)")
  [[ ! -s $RESULTS/beside.skipped ]] || mapfile -t words <"$RESULTS/beside.skipped"
  skipped_stages+=("${words[@]}")
  ((status == 0)) || failed_stages+=("$beside_name")
}

# start_early COMMAND...: what a later stage does anyway, begun in what this one leaves idle of the processors. end_early
# leaves the rest to that stage.
start_early() {
  # A process group of its own, so that its whole family ends with it.
  set -m
  (
    set +m
    chrt --idle --pid 0 "$BASHPID"
    "$@"
  ) >/dev/null 2>&1 </dev/null &
  early_pid=$!
  set +m
}

end_early() {
  end_group "$early_pid"
  early_pid=''
}

# end_group LEADER: a child's whole family, where there is one.
end_group() {
  [[ -n $1 ]] || return 0
  kill -TERM -- "-$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# Nothing of an earlier run is taken for this one's.
forget_results() {
  mkdir -p "$RESULTS"
  rm -f "$RESULTS"/*.xml "$RESULTS"/*.log "$RESULTS"/beside.*
}

# skip_stage NAME REASON
skip_stage() {
  skipped_stages+=("$1: $2")
  say "skipped $1: $2"
}

# The guests' images are made while the compilers run; the tests e2e.images.* wait for them.
start_guest_images() {
  local groups=()
  ! wanted e2e || groups+=(tiny debian debian-arm64)
  ! wanted target target-smoke || groups+=(arm64-host)
  say "making the test guests' images in the background (cached in $noxsup_cache)"
  setsid nice -n 10 python3 -B "$repository/tests/e2e/images.py" "${groups[@]}" >"$RESULTS/images.log" 2>&1 </dev/null &
  images_pid=$!
}

clean_up() {
  local status=$?
  trap '' INT TERM
  end_early
  end_group "$beside_pid"
  # It leads a session of its own.
  end_group "$images_pid"
  exit "$status"
}

build_asan() {
  build_tree "$RESULTS/build-asan.log" "$ASAN_TREE" asan all
}

build_release() {
  build_tree "$RESULTS/build-release.log" "$RELEASE_TREE" release all -DNOXSUP_TESTS=OFF -DNOXSUP_E2E=ON
}

# label_regex: of the stages asked for, those that are ctest labels.
label_regex() {
  local stage labels=()
  for stage in style unit component fuzz e2e promise bench; do ! wanted "$stage" || labels+=("$stage"); done
  (IFS='|'; [[ ${#labels[@]} == 0 ]] || echo "^(${labels[*]})\$")
}

# One run over both trees, so that there is one closing line: ctest reads a list of test directories. Most tests wait,
# for a process, a guest, a minute that must pass, so that one more runs than there are processors; at most two boot a
# Debian without KVM (LANE in tests/e2e). With more than that, what is to happen within some seconds does not.
run_ctest() {
  local directory=$RESULTS/all labels options=() status=0 stop
  labels=$(label_regex)
  [[ -n $labels ]] || return 0
  rm -rf "$directory"
  mkdir -p "$directory"
  if wanted style unit component fuzz; then printf 'subdirs("%s")\n' "$ASAN_TREE"; fi >"$directory/CTestTestfile.cmake"
  if wanted e2e promise bench; then printf 'subdirs("%s")\n' "$RELEASE_TREE"; fi >>"$directory/CTestTestfile.cmake"
  stop=$(date -d "@$((started + STOP_AFTER_MINUTES * 60))" '+%H:%M:%S')
  [[ $full == yes ]] || options+=(--stop-time "$stop")
  [[ -z $regex ]] || options+=(-R "$regex")
  if [[ $verbose == yes ]]; then options+=(--verbose); else options+=(--output-on-failure); fi
  rm -f "$RESULTS/tests.xml"
  ctest --test-dir "$directory" -L "$labels" --no-tests=error -j "$(($(nproc) + 1))" \
    --output-junit "$RESULTS/tests.xml" "${options[@]}" || status=$?
  return "$status"
}

run_tsan() {
  build_tree "$RESULTS/build-tsan.log" "$TSAN_TREE" tsan all || return 1
  ctest --test-dir "$TSAN_TREE" -L '^(unit|component)$' --no-tests=error -j "$(nproc)" --output-on-failure \
    --output-junit "$RESULTS/tsan.xml"
}

# The newest clang-tidy that the lists of packages may have brought.
first_command() {
  local name
  for name in "$@"; do ! command -v "$name" || return 0; done
  return 1
}

run_tidy() {
  local tidy sources status=0
  tidy=$(first_command clang-tidy-14 clang-tidy) || {
    skip_stage tidy 'clang-tidy is not installed'
    return 0
  }
  # Clang reads no precompiled header of GCC's, and none of its warnings options.
  cmake -S "$repository" --preset dev -B "$repository/build/tidy" -DNOXSUP_WERROR=OFF \
    -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >"$RESULTS/tidy.log" 2>&1 || return 1
  mapfile -t sources < <(cd "$repository" && find "$PWD"/{supervisor,qmp,imaging,netbridge} -name '*.cpp' | sort)
  printf '%s\0' "${sources[@]}" |
    xargs -0 -n 1 -P "$(build_jobs)" "$tidy" --quiet -p "$repository/build/tidy" \
      --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wno-unused-command-line-argument \
      >>"$RESULTS/tidy.log" 2>&1 || status=$?
  ((status == 0)) || grep -E '(warning|error): ' "$RESULTS/tidy.log" | sort -u | head -n 100 >&2
  return "$status"
}

# Tests that have a long form read NOXSUP_LONG.
run_long() {
  local status=0
  build_asan || return 1
  build_release || return 1
  NOXSUP_LONG=1 ctest --test-dir "$ASAN_TREE" -L '^(unit|component|fuzz)$' --no-tests=error -j "$(nproc)" \
    --timeout 7200 --output-on-failure --output-junit "$RESULTS/long.xml" || status=1
  NOXSUP_LONG=1 ctest --test-dir "$RELEASE_TREE" -L '^promise$' --no-tests=error -j "$(nproc)" \
    --timeout 14400 --output-on-failure --output-junit "$RESULTS/long-promises.xml" || status=1
  return "$status"
}

# fuzz_one PROGRAM SECONDS: from its corpus; what it finds is told.
fuzz_one() {
  local fuzzer=$1 name=${1##*/} seconds=$2
  mkdir -p "$RESULTS/corpus/$name"
  (cd "$RESULTS" && "$fuzzer" -max_total_time="$seconds" -timeout=25 -print_final_stats=1 -rss_limit_mb=4096 \
    "corpus/$name" "$repository/tests/fuzz/corpus/${name%_fuzz}") >"$RESULTS/$name.log" 2>&1 && return
  tail -n 40 "$RESULTS/$name.log" >&2
  return 1
}

# fuzz_all SECONDS PROGRAM...: as many at a time as there are processors.
fuzz_all() {
  local seconds=$1 first fuzzer pid pids status=0
  shift
  for ((first = 1; first <= $#; first += $(nproc))); do
    pids=()
    for fuzzer in "${@:first:$(nproc)}"; do
      say "fuzzing with ${fuzzer##*/} for $seconds s"
      fuzz_one "$fuzzer" "$seconds" &
      pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid" || status=1; done
  done
  return "$status"
}

fuzz_compiler() { first_command clang++-14 clang++; }

# build_fuzzers COMPILER
build_fuzzers() {
  build_tree "$RESULTS/build-fuzz.log" "$FUZZ_TREE" fuzz all -DCMAKE_CXX_COMPILER="$1"
}

run_fuzzers() {
  local clang fuzzers fuzzer long=() short=() status=0
  clang=$(fuzz_compiler) || {
    skip_stage fuzzers 'clang is not installed'
    return 0
  }
  build_fuzzers "$clang" || return 1
  mapfile -t fuzzers < <(find "$FUZZ_TREE" -type f -perm -u+x -name '*_fuzz' | sort)
  ((${#fuzzers[@]} > 0)) || { say "no fuzzer was built"; return 1; }
  for fuzzer in "${fuzzers[@]}"; do
    if [[ " ${SHORT_FUZZERS[*]} " == *" ${fuzzer##*/} "* ]]; then short+=("$fuzzer"); else long+=("$fuzzer"); fi
  done
  fuzz_all "$FUZZ_SECONDS" "${long[@]}" || status=1
  fuzz_all "$SHORT_FUZZ_SECONDS" "${short[@]}" || status=1
  return "$status"
}

# The package that the emulated machine gets; its path in `arm64_deb`.
build_arm64_package() {
  arm64_deb=$("$repository/scripts/package" --arch arm64 | grep '\.deb$')
}

# The package in an emulated arm64 machine with KVM; see scripts/test-on-target.
run_target() {
  local status=0
  [[ -n $arm64_deb ]] || { say 'there is no arm64 package to try'; return 1; }
  "$repository/scripts/test-on-target" --deb "$arm64_deb" "$@" || status=$?
  ((status == EXIT_HOST_LACKS)) || return "$status"
  skip_stage target 'the machine cannot be made here (what is missing is told above)'
}

# report: minutes a stage, what was skipped and why, and the closing line; ends the script.
report() {
  local index total status=0 counts
  total=$(($(now_seconds) - started))
  echo
  echo 'Minutes per stage:'
  for index in "${!stage_names[@]}"; do
    printf '  %-14s %6s\n' "${stage_names[index]}" "$(minutes "${stage_seconds[index]}")"
  done
  printf '  %-14s %6s  (budget on 2 cores: 30 with everything cached, %s without)\n' total \
    "$(minutes "$total")" "$BUDGET_MINUTES"
  for index in "${!skipped_stages[@]}"; do printf 'Skipped stage %s\n' "${skipped_stages[index]}"; done
  for index in "${!failed_stages[@]}"; do printf 'Failed stage: %s\n' "${failed_stages[index]}"; done
  ((${#failed_stages[@]} == 0)) || status=$EXIT_FAILED
  counts=$(python3 "$repository/scripts/lib/test_counts.py" "$RESULTS"/{tests,tsan,long,long-promises,arm64,package,target,target-gic2,target-setup,target-templates}.xml) || status=$EXIT_FAILED
  printf '%s\n' "$counts"
  exit "$status"
}
