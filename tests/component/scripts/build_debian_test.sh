#!/bin/bash
# build-debian: its arguments, what it needs, its failures at each step and the disk it makes.
# The packages themselves are installed by the e2e tests only.
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/component/scripts/lib.sh
. "$here/lib.sh"
images=$(readlink -f "$here/../../../scripts/images")
build=("$images/build-debian" --release trixie --arch "$(dpkg --print-architecture)")

work=$(mktemp -d)
listener=''
clean_up() {
  [[ -z $listener ]] || kill "$listener" 2>/dev/null || true
  rm -rf "$work"
}
trap clean_up EXIT
chmod 0755 "$work"
mkdir "$work/tmp" "$work/out" "$work/trees"
chmod 1777 "$work/tmp"

test_arguments() {
  run "$images/build-debian" --release sid --arch amd64 --output x
  check "an unknown release is a usage error" equal "$status" 1
  run "$images/build-debian" --release trixie --arch mips --output x
  check "an unknown architecture is a usage error" equal "$status" 1
  run "${build[@]}"
  check "a missing output is a usage error" equal "$status" 1
  run "${build[@]}" --output x --size 12
  check "a size without a unit is a usage error" equal "$status" 1
  run "${build[@]}" --output x --size 100M
  check "a size that is too small is a usage error" equal "$status" 1
  run "${build[@]}" --output
  check "an argument without its value is a usage error" equal "$status" 1
  run env TMPDIR="$work/tmp" "${build[@]}" --output "$work/none/x.qcow2"
  check "a directory that is not there is a usage error" equal "$status" 1
}

test_recipe() {
  local first second
  first=$("${build[@]}" --print-recipe)
  second=$("${build[@]}" --print-recipe --size 4G)
  check "a recipe is stable" equal "$("${build[@]}" --print-recipe)" "$first"
  check "the size changes the recipe" test "$first" != "$second"
  check "the size does not change the tree" equal "$("${build[@]}" --print-tree --size 4G)" "$("${build[@]}" --print-tree)"
  check "the release changes the tree" test \
    "$("${build[@]}" --print-tree --release bookworm)" != "$("${build[@]}" --print-tree)"
}

test_missing_tools() {
  mkdir "$work/path"
  ln -s /usr/bin/* "$work/path/" 2>/dev/null || true
  rm -f "$work/path/mmdebstrap" "$work/path/qemu-img"
  run env PATH="$work/path" "${build[@]}" --check
  check "missing tools: the host lacks something" equal "$status" 8
  check "missing tools: the fix is told" said 'hint sudo apt-get install -y mmdebstrap qemu-utils'
}

test_rights_and_space() {
  if [[ $EUID != 0 ]]; then
    echo "skip rights and space: they need root"
    return
  fi
  # nobody has no subordinate ids.
  run setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/ TMPDIR=/tmp "${build[@]}" --check
  check "no rights: the host lacks something" equal "$status" 8
  check "no rights: the fix is told" said 'hint sudo usermod --add-subuids'
  # shellcheck disable=SC2016
  run unshare --mount bash -c 'mount -t tmpfs -o size=8m none "$0" && TMPDIR=$0 "$@"' "$work/tmp" "${build[@]}" --check
  check "no space: out of disk" equal "$status" 7
}

nothing_left() {
  check "$1: nothing is left in TMPDIR" empty_directory "$work/tmp"
  check "$1: nothing is left beside the output" empty_directory "$work/out"
  check "$1: nothing is left in the tree cache" empty_directory "$work/trees"
}

test_unreachable_mirror() {
  run env TMPDIR="$work/tmp" "${build[@]}" --output "$work/out/x.qcow2" --tree-cache "$work/trees" \
    --mirror http://127.0.0.1:1/debian
  check "unreachable mirror: it failed" equal "$status" 2
  check "unreachable mirror: the stage is told" said '^error index: '
  check "unreachable mirror: the tools' words are told" said '^log .*127.0.0.1'
  nothing_left "unreachable mirror"
}

# A server that accepts and never answers.
start_silent_server() {
  python3 -u -c '
import socket, time
s = socket.socket()
s.bind(("127.0.0.1", 0))
s.listen(16)
print(s.getsockname()[1])
time.sleep(300)' >"$work/port" &
  listener=$!
  until [[ -s $work/port ]]; do sleep 0.05; done
}

test_interrupt() {
  local signal=$1 pid tries status=0
  # What the test before wrote is not this one's stage.
  : >"$work/stderr"
  TMPDIR=$work/tmp "${build[@]}" --output "$work/out/x.qcow2" --tree-cache "$work/trees" \
    --mirror "http://127.0.0.1:$(<"$work/port")/debian" 2>"$work/stderr" &
  pid=$!
  for ((tries = 300; tries > 0; tries--)); do
    ! grep -q '^stage index' "$work/stderr" || break
    sleep 0.1
  done
  sleep 0.5
  kill "-$signal" "$pid"
  wait "$pid" || status=$?
  err=$(<"$work/stderr")
  check "$signal: interrupted" equal "$status" 130
  check "$signal: the stage is told" said '^error index: interrupted'
  # On a busy host the last one is gone a moment after it was told to go.
  for ((tries = 100; tries > 0; tries--)); do
    pgrep -f "mirror.*$(<"$work/port")" >/dev/null || break
    sleep 0.1
  done
  check "$signal: no process is left" equal "$(pgrep -c -f "mirror.*$(<"$work/port")" || true)" 0
  nothing_left "$signal"
}

small_tree() {
  mkdir -p "$work/tree"/{etc,usr/lib/systemd,boot/efi/EFI/BOOT,dev}
  echo shim >"$work/tree/boot/efi/EFI/BOOT/BOOTX64.EFI"
  echo kept >"$work/tree/etc/kept"
  echo host >"$work/tree/etc/resolv.conf"
  echo host >"$work/tree/etc/.resolv.conf.systemd-resolved.bak"
  echo host-id >"$work/tree/etc/machine-id"
  touch "$work/tree/usr/lib/systemd/systemd-resolved"
  tar --create --file "$work/tree.tar" --directory "$work/tree" --owner=0 --group=0 .
}

test_disk() {
  local uuid=11111111-2222-8333-a444-555555555555 disk=66666666-7777-8888-a999-000000000000
  small_tree
  mkdir "$work/disk"
  run env PATH="$PATH:/usr/sbin:/sbin" ARCH=amd64 ROOT_UUID=$uuid ESP_ID=ABCD-EF01 DISK_UUID=$disk SIZE_MIB=2048 \
    "$images/debian-disk" "$work/tree.tar" "$work/disk" "$work/disk/disk.raw"
  check "disk: made" equal "$status" 0
  local raw=$work/disk/disk.raw sgdisk=/usr/sbin/sgdisk
  check "disk: the partition table is sound" grep -q 'No problems found' <("$sgdisk" --verify "$raw")
  check "disk: the root is last" grep -q '^ *1 *262144 *4192255 ' <("$sgdisk" --print "$raw")
  check "disk: partition 15 is an ESP" grep -q 'EFI system partition' <("$sgdisk" --info=15 "$raw")
  check "disk: the ESP's id" equal "$(/usr/sbin/blkid -p -O 1048576 -s UUID -o value "$raw")" ABCD-EF01
  check "disk: the ESP has the loader" equal "$(mtype -i "$raw@@1M" ::/EFI/BOOT/BOOTX64.EFI)" shim
  check "disk: the root's id" equal "$(/usr/sbin/blkid -p -O 134217728 -s UUID -o value "$raw")" "$uuid"
  dd if="$raw" of="$work/disk/root" bs=1M skip=128 count=1919 conv=sparse status=none
  check "disk: the root is sound" /usr/sbin/e2fsck -fn "$work/disk/root" >/dev/null 2>&1
  in_root() { /usr/sbin/debugfs -R "$1" "$work/disk/root" 2>/dev/null; }
  check "disk: the root has the tree" equal "$(in_root 'cat /etc/kept')" kept
  check "disk: no machine-id" equal "$(in_root 'cat /etc/machine-id')" ''
  check "disk: resolved answers names" grep -q 'stub-resolv.conf' <(in_root 'stat /etc/resolv.conf')
  check "disk: nothing of the host's name servers" equal "$(in_root 'cat /etc/.resolv.conf.systemd-resolved.bak')" ''
  check "disk: the loader is on the ESP only" equal "$(in_root 'ls -p /boot/efi' | grep -c EFI)" 0
}

test_arguments
test_recipe
test_missing_tools
test_rights_and_space
test_disk
if [[ $EUID == 0 ]]; then
  test_unreachable_mirror
  start_silent_server
  test_interrupt TERM
  test_interrupt HUP
else
  echo "skip failures of a build: they need root"
fi
finish
