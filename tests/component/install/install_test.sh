#!/bin/bash
# Installs the build tree into a prefix of its own and uses noxsup from there.
# usage: install_test.sh BUILD_TREE
set -euo pipefail

build=$1
root=$(mktemp -d)
prefix=$root/prefix
export NOX_HOME=$root/home HOME=$root NOXSUP_LIBEXEC=''

finish() {
  local status=$?
  local pid
  # The supervisor that the commands below started, by the home it serves.
  for pid in $(pgrep -f -- "$prefix/bin/noxsup.*daemon" || true); do kill "$pid" 2>/dev/null || true; done
  rm -rf "$root"
  exit "$status"
}
trap finish EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

cmake --install "$build" --prefix "$prefix" >"$root/install.log" || fail "cmake --install: $(cat "$root/install.log")"

for file in bin/noxsup libexec/noxsup/noxsup-worker libexec/noxsup/images/build-debian; do
  [[ -x $prefix/$file ]] || fail "$file is not there, or not executable"
done
for file in lib/systemd/system/noxsup.service lib/systemd/system/noxsup-guests.service lib/systemd/system/noxsup-network-rollback.service lib/sysusers.d/noxsup.conf lib/tmpfiles.d/noxsup.conf \
  share/man/man1/noxsup.1 share/bash-completion/completions/noxsup share/zsh/site-functions/_noxsup \
  share/fish/vendor_completions.d/noxsup.fish share/doc/noxsup/README.md share/doc/noxsup/LICENSE; do
  [[ -s $prefix/$file ]] || fail "$file is not there"
done
for unit in noxsup noxsup-guests noxsup-network-rollback; do
  ! grep -q '@[A-Z_]*@' "$prefix/lib/systemd/system/$unit.service" || fail "$unit.service still has a placeholder"
done
# The guests' unit orders itself after the supervisor's, and nothing that stops the one may stop the other.
! grep -Eq '^(Requires|BindsTo|PartOf|Upholds|PropagatesStopTo)=' "$prefix"/lib/systemd/system/noxsup*.service ||
  fail "a stop of noxsup.service would stop the guests"
if command -v systemd-analyze >/dev/null; then
  # It wants the programs that the units name; these are in the prefix, and the units were made for another one.
  mkdir "$root/units"
  for unit in "$prefix"/lib/systemd/system/noxsup*.service; do
    sed "s#=[^ ]*/bin/noxsup #=$prefix/bin/noxsup #" "$unit" >"$root/units/${unit##*/}"
  done
  systemd-analyze verify --man=no --recursive-errors=no "$root"/units/*.service >"$root/verify" 2>&1 ||
    fail "systemd-analyze verify: $(cat "$root/verify")"
  ! grep 'noxsup' "$root/verify" || fail "systemd-analyze finds fault with a unit"
fi
bash -n "$prefix/share/bash-completion/completions/noxsup" || fail "the bash completion does not parse"

version=$("$prefix/bin/noxsup" version) || fail "noxsup version failed"
[[ $version == noxsup* ]] || fail "noxsup version says '$version'"

# From the prefix alone: the supervisor starts, and finds the worker beside it.
qemu-img create -q -f qcow2 "$root/disk.qcow2" 16M
"$prefix/bin/noxsup" image import "$root/disk.qcow2" --name tried >"$root/import.log" 2>&1 ||
  fail "image import from the prefix: $(cat "$root/import.log")"
"$prefix/bin/noxsup" image ls | grep -q tried || fail "the imported image is not listed"
echo "installed and used: $version"
