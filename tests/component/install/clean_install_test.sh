#!/bin/bash
# A .deb in a minimal Debian of its own: dependencies by apt, installation, use, upgrade, removal, purge, and
# nothing left. Takes minutes and a mirror: a stage of scripts/test --full.
# usage: clean_install_test.sh FILE.deb RELEASE
# Exit: 77 where it cannot be tried here.
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/component/scripts/lib.sh
. "$here/../scripts/lib.sh"
# shellcheck source=scripts/lib/common.sh
. "$here/../../../scripts/lib/common.sh"
# shellcheck source=scripts/lib/apt_world.sh
. "$repository/scripts/lib/apt_world.sh"

if ((EUID != 0)) || ! command -v mmdebstrap >/dev/null; then
  echo "SKIP: needs root and mmdebstrap"
  exit 77
fi
deb=$(readlink -f -- "$1")
release=$2
# Its mounts and processes end with it.
if [[ ${NOXSUP_OWN_NAMESPACES:-} != yes ]]; then
  exec env NOXSUP_OWN_NAMESPACES=yes unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$0" "$@"
fi

work=$(mktemp -d)
chmod 0755 "$work"
root=$work/root
clean_up() {
  ! mountpoint -q "$root/proc" || umount "$root/proc"
  ! mountpoint -q "$root/dev" || umount "$root/dev"
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT

inside() { env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 chroot "$root" "$@"; }

# Every file with its mode, owner and checksum, but for what dpkg and the tools that edit /etc/group leave.
snapshot() {
  local ours=(-path ./proc -o -path ./dev -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/log -o -path ./var/cache
    -o -name group- -o -name gshadow- -o -name .pwd.lock)
  cd "$root"
  find . \( "${ours[@]}" \) -prune -o -printf '%p %m %u:%g %l\n' | sort
  find . \( "${ours[@]}" \) -prune -o -type f -print0 | sort -z | xargs -0 md5sum
  cd "$OLDPWD"
}

make_root() {
  local mirror option depends options=()
  mirror=$(host_sources | awk '$2 !~ /-security$/ { print $1; exit }')
  depends=$(dpkg-deb -f "$deb" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/ //g')
  while IFS= read -r option; do options+=(--aptopt="$option"); done < <(write_apt_options)
  say "making a minimal Debian $release with what $(basename "$deb") depends on"
  mmdebstrap --mode=root --quiet --variant=minbase --format=directory --include="$depends" --keyring="$KEYRING" \
    --dpkgopt=force-unsafe-io "${options[@]}" "$release" "$root" "deb $mirror $release main" >"$work/log" 2>&1 </dev/null ||
    { tail -n 20 "$work/log"; exit 1; }
  mount -t proc none "$root/proc"
  mount --bind /dev "$root/dev"
  cp "$deb" "$root/tmp/noxsup.deb"
}

same() { diff "$work/before" - >"$work/difference" || { cat "$work/difference"; return 1; }; }

use_it() {
  run inside noxsup version
  check "it runs" equal "$status" 0
  run inside noxsup completion bash
  check "its completion is the package's" equal "$(md5sum <"$root/usr/share/bash-completion/completions/noxsup")" \
    "$(printf '%s\n' "$out" | md5sum)"
  inside qemu-img create -q -f qcow2 /tmp/disk.qcow2 16M
  run inside noxsup --home /tmp/home image import /tmp/disk.qcow2 --name tried
  check "the worker and the supervisor work: $err" equal "$status" 0
  run inside noxsup --home /tmp/home -q image ls
  check "the image is there" equal "$out" tried
  run inside noxsup --home /tmp/home daemon --stop
  check "the supervisor ends" equal "$status" 0
}

without_systemd() {
  snapshot >"$work/before"
  run inside dpkg -i /tmp/noxsup.deb
  check "dpkg installs it, with nothing forced" equal "$status" 0
  check "the group is made" inside getent group noxsup
  check "the home's mode and owner" equal "$(inside stat -c '%a %U:%G' /var/lib/noxsup)" '750 root:noxsup'
  check "the runtime directory's" equal "$(inside stat -c '%a %U:%G' /run/noxsup)" '750 root:noxsup'
  use_it
  run inside dpkg -i /tmp/noxsup.deb
  check "it installs over itself" equal "$status" 0
  run inside dpkg -r noxsup
  check "it is removed" equal "$status" 0
  check "a removal keeps the home" inside test -d /var/lib/noxsup
  run inside dpkg -P noxsup
  check "it is purged" equal "$status" 0
  rm -rf "$root"/tmp/{home,disk.qcow2}
  check "nothing is left" same < <(snapshot)
}

# Debian 12 makes the link itself, 13 asks systemctl for it.
unit_enabled() {
  inside test -L "/etc/systemd/system/multi-user.target.wants/$1" || grep -q "preset .*$1" "$root/tmp/calls"
}

# A systemd that only writes down what it is asked for.
with_systemd() {
  mkdir -p "$root/run/systemd/system"
  # shellcheck disable=SC2016  # its own variables
  printf '#!/bin/sh\necho "$*" >>/tmp/calls\ncase "$*" in *is-enabled*) echo enabled ;; esac\n' >"$root/usr/local/bin/systemctl"
  chmod 0755 "$root/usr/local/bin/systemctl"
  snapshot >"$work/before"
  run inside dpkg -i /tmp/noxsup.deb
  check "with systemd: installed" equal "$status" 0
  for unit in noxsup.service noxsup-guests.service; do
    check "$unit is enabled" unit_enabled "$unit"
    check "and started" grep -q "start $unit" "$root/tmp/calls"
  done
  check "the unit that takes bridges back at boot is enabled" unit_enabled noxsup-network-rollback.service
  check "and not started" equal "$(grep -c 'start noxsup-network-rollback' "$root/tmp/calls")" 0
  : >"$root/tmp/calls"
  run inside dpkg -i /tmp/noxsup.deb
  check "an upgrade does not stop it first" equal "$(grep -c '\bstop\b' "$root/tmp/calls")" 0
  check "and restarts it" grep -q 'restart noxsup.service' "$root/tmp/calls"
  check "but not the unit that stops the guests" equal "$(grep -c 'restart noxsup-guests' "$root/tmp/calls")" 0
  : >"$root/tmp/calls"
  mkdir -p "$root/var/lib/noxsup/vms/kept"
  run inside dpkg -P noxsup
  check "purged with data" equal "$status" 0
  check "the unit is stopped" grep -q 'stop noxsup.service' "$root/tmp/calls"
  check "and the one that stops the guests is not" equal "$(grep -c 'stop noxsup-guests' "$root/tmp/calls")" 0
  check "the purge says that the data stays" said 'keeps the virtual machines'
  check "and it stays" inside test -d /var/lib/noxsup/vms/kept
  rm -r "$root/var/lib/noxsup/vms"
  run inside dpkg -i /tmp/noxsup.deb
  run inside dpkg -P noxsup
  check "with systemd: nothing is left" same < <(snapshot)
}

make_root
without_systemd
with_systemd
finish
