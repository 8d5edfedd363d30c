#!/bin/bash
# Whether apt of a Debian release can install a .deb with all that it depends on and recommends. Asks a mirror.
# usage: resolve_test.sh FILE.deb RELEASE
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=scripts/lib/common.sh
. "$here/../../../scripts/lib/common.sh"
# shellcheck source=scripts/lib/apt_world.sh
. "$repository/scripts/lib/apt_world.sh"

deb=$(readlink -f -- "$1")
release=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

arch=$(dpkg-deb -f "$deb" Architecture)
make_apt_world "$work" "$release" "$arch" || fail "no package lists of $release: $(tail -n 5 "$work/log")"
in_apt_world "$work" "$deb" >"$work/brings" || fail "apt refuses it: $(tail -n 20 "$work/log")"
grep -q '^noxsup ' "$work/brings" || fail "noxsup is not among what apt installs"
for field in Recommends Suggests; do
  dpkg-deb -f "$deb" "$field" | tr ',' '\n' | while read -r alternatives; do
    found=no
    for name in $(sed 's/([^)]*)//g; s/|/ /g' <<<"$alternatives"); do
      ! APT_CONFIG=$work/apt.conf apt-cache show "$name" >/dev/null 2>&1 || found=yes
    done
    [[ $found == yes ]] || fail "$field names $alternatives, which $release lacks"
  done
done
echo "$release $arch: $(wc -l <"$work/brings") packages with it and a bare system"
