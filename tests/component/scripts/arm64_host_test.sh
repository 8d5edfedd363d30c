#!/bin/bash
# arm64-host: its arguments, its state, callers at the same time, and what it ends. QEMU, ssh and the builders
# are stand-ins: nothing boots.
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/component/scripts/lib.sh
. "$here/lib.sh"

work=$(mktemp -d)
bystander=''
clean_up() {
  "$work/scripts/arm64-host" stop >/dev/null 2>&1 || true
  [[ -z $bystander ]] || kill "$bystander" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
cp -r "$here/../../../scripts" "$work/scripts"
mkdir -p "$work/bin" "$work/entry"
touch "$work/entry/key" "$work/entry/known_hosts"
export NOXSUP_CACHE=$work/cache WORK=$work
export PATH=$work/bin:$PATH
host=$work/scripts/arm64-host
state=$work/cache/arm64-host/default

stub() {
  { echo '#!/bin/bash'; cat; } >"$work/bin/$1"
  chmod 0755 "$work/bin/$1"
}

# As QEMU does with -daemonize: a process of its own, which carries the arguments; then it returns.
stub qemu-system-aarch64 <<'TEXT'
echo "$*" >>"$WORK/launches"
[[ ! -e $WORK/taken ]] || { rm "$WORK/taken"; echo "Could not set up host forwarding rule" >&2; exit 1; }
[[ ! -e $WORK/broken ]] || { echo "qemu: no such machine" >&2; exit 1; }
while (($# > 0)); do
  if [[ $1 == -pidfile ]]; then pidfile=$2; fi
  if [[ $1 == -serial ]]; then echo "booting" >"${2#file:}"; fi
  shift
done
seconds=300
[[ ! -e $WORK/short ]] || seconds=0.2
setsid bash -c 'sleep "$1"; :' qemu "$seconds" "$pidfile" </dev/null >/dev/null 2>&1 &
echo $! >"$pidfile"
TEXT
stub qemu-img <<<'touch "${@: -1}"'
stub ssh <<'TEXT'
while [[ $1 != host ]]; do shift; done
shift
[[ $1 != -- ]] || shift
[[ $1 == *is-system-running* || $2 == *systemctl* || $* == *is-system-running* ]] && { echo running; exit; }
[[ ! -e $WORK/short ]] || exit 255
exec bash -c "$*"
TEXT
stub scp <<<'printf "%s\n" "$@" >"$WORK/scp"'
stub sleep <<<'exec /bin/sleep "$@"'
cat >"$work/scripts/test-guests/ensure" <<'TEXT'
#!/bin/bash
echo "$1" >>"$WORK/ensured"
case $1 in host-*) echo "$WORK/entry" ;; *) echo "$WORK/image.qcow2" ;; esac
TEXT

machine_pid() { cut -d' ' -f1 "$state/state"; }
alive() { [[ -e /proc/$1 && $(sed 's/.*) //' "/proc/$1/stat" | cut -c1) != Z ]]; }
gone() { ! alive "$1"; }
launches() { wc -l <"$work/launches"; }

test_arguments() {
  local arguments
  run "$host"
  check "no command is a usage error" equal "$status" 1
  while IFS= read -r arguments; do
    # shellcheck disable=SC2086
    run "$host" $arguments
    check "usage error: $arguments" equal "$status" 1
  done <<'TEXT'
fly
start --gic 4
start --gic
start --qemu 8
start now
run
run --
copy one
copy one two
--instance .. start
--instance
TEXT
  check "nothing was started" test ! -e "$work/launches"
  run "$host" --help
  check "help" equal "$status" 0
}

test_missing_qemu() {
  mkdir "$work/path"
  ln -s /usr/bin/* /bin/* "$work/path/" 2>/dev/null || true
  rm -f "$work/path/qemu-system-aarch64"
  run env PATH="$work/path" "$host" start
  check "no QEMU: the host lacks something" equal "$status" 8
  check "no QEMU: the fix is told" said 'apt-get install .* qemu-system-arm'
}

test_start() {
  run "$host" status
  check "status of nothing" equal "$status $out" "2 stopped: instance default"
  for n in 1 2 3; do
    "$host" start >"$work/start$n" 2>&1 &
  done
  wait
  check "three callers start one" equal "$(launches)" 1
  check "the Debian 12 disk and image" equal "$(paste -sd, "$work/ensured")" host-12-arm64,debian-12-arm64
  check "GICv3 is the default" grep -q -- '-M virt,gic-version=3,virtualization=on -accel tcg' "$work/launches"
  check "its network is restricted to ssh from loopback" grep -q 'user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:[0-9]*-:22 ' "$work/launches"
  local pid
  pid=$(machine_pid)
  run "$host" start
  check "a start of what runs does nothing" equal "$status $(machine_pid)" "0 $pid"
  run "$host" start --gic 3 --qemu 7
  check "nor one that asks for what runs" equal "$status $(machine_pid)" "0 $pid"
  run "$host" start --gic 2
  check "one that asks for another fails" equal "$status" 2
  check "and says what to do" said 'arm64-host --instance default stop'
  run "$host" status
  check "status of a machine" equal "$status" 0
}

test_run() {
  run "$host" run sh -c 'exit 37'
  check "run passes the exit code" equal "$status" 37
  run "$host" run -- printf '[%s]' 'a b' "it's" '$HOME' ''
  check "run keeps the words" equal "$out" "[a b][it's][\$HOME][]"
  run bash -c 'echo input | "$0" run cat' "$host"
  check "run passes the input" equal "$out" input
  run "$host" copy a:b host:dir/c
  check "copy takes a name with a colon for a file" equal "$(tail -n 2 "$work/scp" | paste -sd' ')" './a:b host:dir/c'
}

test_stop() {
  local pid
  pid=$(machine_pid)
  run "$host" stop
  check "stop" equal "$status" 0
  check "stop ends the machine" gone "$pid"
  check "stop takes its disk away" test ! -e "$state/overlay.qcow2"
  run "$host" stop
  check "a second stop has nothing to do" equal "$status" 0
  run "$host" --instance never-started stop
  check "nor one of an instance that never was" equal "$status" 0
}

test_death() {
  "$host" start 2>/dev/null
  local pid
  pid=$(machine_pid)
  kill -KILL "$pid"
  while alive "$pid"; do sleep 0.05; done
  run "$host" status
  check "a dead machine is stopped" equal "$status" 2
  run "$host" run echo again
  check "run boots another" equal "$status $out" "0 again"
  check "which is another" test "$(machine_pid)" != "$pid"
  "$host" stop
}

test_foreign_pid() {
  /bin/sleep 300 &
  bystander=$!
  mkdir -p "$state"
  echo "$bystander 1 $(</proc/sys/kernel/random/boot_id) 20000 3 7 yes" >"$state/state"
  run "$host" status
  check "another process with the pid is not the machine" equal "$status" 2
  echo "$bystander" >"$state/qemu.pid"
  run "$host" stop
  check "and is not ended" alive "$bystander"
}

test_orphan() {
  "$host" start 2>/dev/null
  local pid
  pid=$(machine_pid)
  rm "$state/state"
  run "$host" stop
  check "a machine whose state was not written is found and ended" gone "$pid"
}

test_failures() {
  : >"$work/launches"
  touch "$work/taken"
  run "$host" start
  check "a port that is taken: another one" equal "$status $(launches)" "0 2"
  "$host" stop
  touch "$work/broken"
  run "$host" start
  check "QEMU that does not start" equal "$status" 2
  check "its words are told" said 'no such machine'
  rm "$work/broken"
  touch "$work/short"
  run "$host" start
  check "a machine that ends while it boots" equal "$status" 2
  check "the last console lines are told" said '^booting'
  check "nothing of it is left" test ! -e "$state/state"
  rm "$work/short"
}

test_other_machines() {
  : >"$work/launches"
  run "$host" --instance second start --gic 2
  check "GICv2" grep -q 'gic-version=2,' "$work/launches"
  run "$host" --instance third start --qemu 10
  check "QEMU 10 is Debian 13's" equal "$(tail -n 2 "$work/ensured" | paste -sd,)" host-13-arm64,debian-13-arm64
  "$host" --instance second stop
  run "$host" --instance third status
  check "instances are apart" equal "$status" 0
  "$host" --instance third stop
}

test_arguments
test_missing_qemu
test_start
test_run
test_stop
test_death
test_foreign_pid
test_orphan
test_failures
test_other_machines
finish
