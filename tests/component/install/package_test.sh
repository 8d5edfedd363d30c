#!/bin/bash
# A .deb's control fields, maintainer scripts, content, owners and modes.
# usage: package_test.sh BUILD_TREE    one made of this tree, which is no release: its dependencies differ
#        package_test.sh FILE.deb      one that scripts/package made
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/component/scripts/lib.sh
. "$here/../scripts/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
subject=$1

field() { dpkg-deb -f "$deb" "$1"; }

make_deb() {
  # Unstripped and uncompressed: a sanitizer's tree takes minutes otherwise.
  cpack --config "$subject/CPackConfig.cmake" -B "$work/package" -D CPACK_DEBIAN_COMPRESSION_TYPE=none \
    -D CPACK_STRIP_FILES=OFF >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
  deb=$(ls "$work"/package/*.deb)
}

depends_on() { grep -Eq "(^|, )$1( \(|,|\$)" <<<"$(field "${2:-Depends}")" || { field "${2:-Depends}"; return 1; }; }

# Of the listing: MODE OWNER NAME.
listed() { grep -Fxq -- "$*" "$work/listing" || { echo "not there as it should be: $*"; return 1; }; }

matches() { [[ $1 =~ $2 ]] || { echo "'$1' does not match $2"; return 1; }; }

nothing_in() {
  local text
  text=$(<"$1")
  [[ -z $text ]] || { echo "$text"; return 1; }
}

check_control() {
  local arch
  arch=$(field Architecture)
  check "the name" equal "$(field Package)" noxsup
  check "the version" equal "$(field Version)" "$(sed -n 's/^project(noxsup VERSION \([0-9.]*\).*/\1/p' "$here/../../../CMakeLists.txt")"
  check "the file's name" equal "${deb##*/}" "noxsup_$(field Version)_$arch.deb"
  check "one line says what it is" equal "$(field Description | wc -l | tr -d ' ')-$(field Description | head -n 1 | cut -c1-10)" "4-supervisor"
  check "a maintainer" matches "$(field Maintainer)" '^[a-z ]+<[^ ]+@[^ ]+>$'
  check "an installed size" matches "$(field Installed-Size)" '^[0-9]+$'
  case $arch in
    arm64) check "QEMU for arm64" depends_on qemu-system-arm && check "AAVMF" depends_on qemu-efi-aarch64 ;;
    amd64) check "QEMU for amd64" depends_on qemu-system-x86 && check "OVMF" depends_on ovmf ;;
    *) check "a known architecture" false ;;
  esac
  for name in qemu-utils openssh-client ca-certificates libc6; do check "depends on $name" depends_on "$name"; done
  for name in dnsmasq-base mmdebstrap gdisk dosfstools mtools uidmap arch-test; do
    check "recommends $name" depends_on "$name" Recommends
  done
}

check_maintainer_scripts() {
  local script
  dpkg-deb -e "$deb" "$work/control"
  for script in postinst prerm postrm; do
    check "$script is executable" test -x "$work/control/$script"
    check "$script parses" sh -n "$work/control/$script"
  done
  check "the checksums" test -s "$work/control/md5sums"
}

check_content() {
  local unit=usr/lib/systemd/system/noxsup.service
  dpkg-deb --fsys-tarfile "$deb" | tar -tv | awk '{ print $1, $2, $6 }' >"$work/listing"
  dpkg-deb -x "$deb" "$work/tree"
  for name in usr/bin/noxsup usr/libexec/noxsup/noxsup-worker usr/libexec/noxsup/images/build-debian; do
    check "$name" listed "-rwxr-xr-x root/root ./$name"
  done
  for name in $unit usr/lib/systemd/system/noxsup-guests.service usr/lib/systemd/system/noxsup-network-rollback.service usr/lib/sysusers.d/noxsup.conf usr/lib/tmpfiles.d/noxsup.conf usr/share/man/man1/noxsup.1.gz \
    usr/share/bash-completion/completions/noxsup usr/share/zsh/site-functions/_noxsup \
    usr/share/fish/vendor_completions.d/noxsup.fish usr/share/doc/noxsup/README.md usr/share/doc/noxsup/copyright; do
    check "$name" listed "-rw-r--r-- root/root ./$name"
    check "$name is not empty" test -s "$work/tree/$name"
  done
  check "all is root's" nothing_in <(awk '$2 != "root/root"' "$work/listing")
  check "only root may write" nothing_in <(awk '$1 ~ /^[-d]....w|^[-d].......w|^[-d].*[sStT]/' "$work/listing")
  check "nothing but /usr" nothing_in <(awk '$3 !~ /^\.\/(usr\/.*)?$/' "$work/listing")
  check "no static library, header or CMake file" nothing_in <(grep -E '\.(a|h|hpp|cmake)$' "$work/listing")
  check "the man page reads" gzip -t "$work/tree/usr/share/man/man1/noxsup.1.gz"
  check "the guests' program" grep -Eq '^ExecStop=/[a-z/]*/bin/noxsup daemon --system --stop-guests ' \
    "$work/tree/usr/lib/systemd/system/noxsup-guests.service"
  check "the unit's program" grep -Eq '^ExecStart=/[a-z/]*/bin/noxsup daemon' "$work/tree/$unit"
}

# What only a release promises: the same .deb for Debian 12 and 13, and what is on the disk stripped.
check_release() {
  local program
  check "the unit's program is the package's" grep -q '^ExecStart=/usr/bin/noxsup ' "$work/tree/usr/lib/systemd/system/noxsup.service"
  for program in usr/bin/noxsup usr/libexec/noxsup/noxsup-worker; do
    readelf -d "$work/tree/$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >"$work/needed"
    check "$program takes no library whose name each release changes" nothing_in <(grep -E 'boost|yaml' "$work/needed")
    readelf -SW "$work/tree/$program" >"$work/sections"
    check "$program is stripped" nothing_in <(grep -F .symtab "$work/sections")
  done
  check "noxsup itself loads none of the worker's libraries" nothing_in \
    <(readelf -d "$work/tree/usr/bin/noxsup" | grep -E 'NEEDED.*(curl|archive|crypto)')
  # As in: libcurl4 (>= 7.x), which Debian 13's libcurl4t64 provides.
  check "the libraries by the names that both releases know" matches "$(field Depends)" 'libarchive13 .*libcurl4 .*libssl3 '
  # The goal is 5 MB; it is told by scripts/package, and this keeps it from growing unseen.
  check "at most 6 MB of its own" test "$(field Installed-Size)" -le 5860
}

if [[ -d $subject ]]; then make_deb; else deb=$(readlink -f -- "$subject"); fi
check_control
check_maintainer_scripts
check_content
[[ -d $subject ]] || check_release
finish
