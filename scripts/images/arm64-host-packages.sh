# shellcheck shell=bash
# The packages of the emulated arm64 machine beyond those of the test image's tree.

# arm64_host_packages RELEASE: one a line. The libraries are those that noxsup's package depends on, so that
# it installs there without a network.
arm64_host_packages() {
  local -a list=(
    qemu-system-arm qemu-utils qemu-efi-aarch64 openssh-client ca-certificates
    dnsmasq-base iproute2 nftables procps psmisc python3
    libnl-3-200 libnl-route-3-200 zlib1g libstdc++6
  )
  case $1 in
    bookworm) list+=(libboost-filesystem1.81.0 libcurl4 libarchive13 libssl3 libyaml-cpp0.7) ;;
    trixie) list+=(libboost-filesystem1.83.0 libcurl4t64 libarchive13t64 libssl3t64 libyaml-cpp0.8) ;;
  esac
  printf '%s\n' "${list[@]}" | LC_ALL=C sort -u
}
