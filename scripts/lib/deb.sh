# shellcheck shell=bash
# Making a .deb from a release tree, natively or for the other architecture, and telling what it costs.
# Sourced after common.sh, packages.sh, build.sh and apt_world.sh.
# shellcheck disable=SC2154

# prepare_package ARCH: installs what its build needs.
prepare_package() {
  local arch=$1 host
  host=$(dpkg --print-architecture)
  if [[ $arch == "$host" ]]; then
    install_packages build package
  elif [[ $host-$arch == amd64-arm64 ]]; then
    install_packages build package cross-arm64
    unpack_packages cross-arm64-unpacked "$repository/build/cross/arm64"
  else
    die "$EXIT_HOST_LACKS" "a package for $arch cannot be built on $host" "build it on $arch itself"
  fi
}

# The time of the last commit goes into the package: the same sources make the same package.
package_time() {
  git -C "$repository" log -1 --format=%ct 2>/dev/null || date +%s
}

# make_package ARCH OUTPUT: prints the path of the .deb.
make_package() {
  local arch=$1 output=$2 preset=release tree=$repository/build/package-$1 made
  [[ $arch == "$(dpkg --print-architecture)" ]] || preset=$arch
  say "building noxsup for $arch (some minutes; the log is $tree/build.log)"
  build_tree "$tree/build.log" "$tree" "$preset" all -DCMAKE_INSTALL_PREFIX=/usr -DNOXSUP_STATIC_CXX=ON \
    -DNOXSUP_TESTS=OFF || return "$EXIT_FAILED"
  rm -rf "$tree/package"
  if ! SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(package_time)} cpack --config "$tree/CPackConfig.cmake" \
    >"$tree/package.log" 2>&1; then
    tail -n 20 "$tree/package.log" >&2
    die "$EXIT_FAILED" "cpack failed" "all it said is in $tree/package.log"
  fi
  made=$(ls "$tree/package/"*.deb)
  mkdir -p "$output" && cp -f "$made" "$output/" || die "$EXIT_FAILED" "cannot write to $output"
  printf '%s\n' "$(realpath -- "$output")/${made##*/}"
}

# plain_qemu ARCH: what somebody would install who runs QEMU by hand.
plain_qemu() {
  case $1 in
    arm64) echo qemu-system-arm qemu-efi-aarch64 qemu-utils openssh-client ;;
    amd64) echo qemu-system-x86 ovmf qemu-utils openssh-client ;;
  esac
}

# report_installed_size DEB RELEASE: what the package takes on a disk that has plain QEMU already.
report_installed_size() {
  local deb=$1 release=$2 arch directory own added plain
  arch=$(dpkg-deb -f "$deb" Architecture)
  own=$(dpkg-deb -f "$deb" Installed-Size)
  read -ra plain <<<"$(plain_qemu "$arch")"
  directory=$(mktemp -d)
  if make_apt_world "$directory" "$release" "$arch" &&
    in_apt_world "$directory" "${plain[@]}" >"$directory/plain" &&
    in_apt_world "$directory" "${plain[@]}" "$deb" >"$directory/all"; then
    mapfile -t added < <(comm -13 "$directory/plain" "$directory/all" | sed -n '/^noxsup /d; s/ .*//p')
    awk -v own="$own" -v more="$(kib_in_apt_world "$directory" "${added[@]}")" -v release="$release" \
      -v names="${added[*]}" 'BEGIN {
        printf "installed size over plain QEMU, %s: %.1f MB (noxsup %.1f MB", release, (own + more) * 1024 / 1e6, own * 1024 / 1e6
        if (names != "") printf ", %.1f MB of libraries that a bare system lacks: %s", more * 1024 / 1e6, names
        print ")"
      }'
  else
    awk -v own="$own" 'BEGIN { printf "installed size: %.1f MB; its dependencies on top (no mirror answered)\n", own * 1024 / 1e6 }'
  fi
  rm -rf "$directory"
}
