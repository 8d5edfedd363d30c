# shellcheck shell=bash
# The stage `package` of scripts/test: both .debs, arm64's unit tests in the emulator, and clean installations.
# Sourced after stages.sh.
# shellcheck disable=SC2154

readonly PACKAGES=$repository/build/packages INSTALL_TESTS=$repository/tests/component/install

# One ctest directory over scripts, so that they have a time limit and are counted like the others.
write_package_tests() {
  local directory=$1 arch=$2 deb release
  deb=$(ls "$PACKAGES"/noxsup_*_"$arch".deb) || return 1
  {
    printf 'add_test(package.content-%s [==[%s]==] [==[%s]==])\n' "$arch" "$INSTALL_TESTS/package_test.sh" "$deb"
    for release in bookworm trixie; do
      printf 'add_test(package.resolves-%s-%s [==[%s]==] [==[%s]==] %s)\n' "$arch" "$release" \
        "$INSTALL_TESTS/resolve_test.sh" "$deb" "$release"
      [[ $arch == "$(dpkg --print-architecture)" ]] || continue
      printf 'add_test(package.install-%s-%s [==[%s]==] [==[%s]==] %s)\n' "$arch" "$release" \
        "$INSTALL_TESTS/clean_install_test.sh" "$deb" "$release"
      printf 'set_tests_properties(package.install-%s-%s PROPERTIES SKIP_RETURN_CODE 77)\n' "$arch" "$release"
    done
  } >>"$directory/CTestTestfile.cmake"
}

package_arches() {
  dpkg --print-architecture
  # The cross compiler's way.
  [[ $(dpkg --print-architecture) != amd64 ]] || echo arm64
}

run_arm64_unit_tests() {
  # The package's own tree: what it compiled is not compiled again.
  local tree=$repository/build/package-arm64
  [[ $(dpkg --print-architecture) == amd64 ]] || {
    skip_stage 'arm64 unit tests' 'this host is no amd64; its own unit tests are arm64'
    return 0
  }
  build_tree "$RESULTS/build-arm64.log" "$tree" arm64-test noxsup_unit_tests -DCMAKE_INSTALL_PREFIX=/usr || return 1
  ctest --test-dir "$tree" -L '^unit$' --no-tests=error -j "$(nproc)" --output-on-failure \
    --output-junit "$RESULTS/arm64.xml"
}

run_package() {
  local arch directory=$RESULTS/package status=0
  rm -rf "$directory" "$PACKAGES"
  mkdir -p "$directory"
  for arch in $(package_arches); do
    "$repository/scripts/package" --arch "$arch" --output "$PACKAGES" || return 1
    write_package_tests "$directory" "$arch" || return 1
  done
  ctest --test-dir "$directory" --no-tests=error --output-on-failure --timeout 1800 \
    --output-junit "$RESULTS/package.xml" || status=1
  run_arm64_unit_tests || status=1
  return "$status"
}
