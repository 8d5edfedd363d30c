# shellcheck shell=bash
# What the image scripts share: the progress protocol, errors and the package lists.

# shellcheck disable=SC2034  # used by those who source this
readonly EXIT_USAGE=1 EXIT_FAILED=2 EXIT_NO_SPACE=7 EXIT_HOST_LACKS=8 EXIT_INTERRUPTED=130

CURRENT_STAGE=start

stage() {
  CURRENT_STAGE=$1
  printf 'stage %s\n' "$1" >&2
}

progress() { printf 'progress %s %s %s\n' "$1" "$2" "$3" >&2; }

note() { printf 'note %s\n' "$*" >&2; }

# fail CODE TEXT [HINT]
fail() {
  printf 'error %s: %s\n' "$CURRENT_STAGE" "$2" >&2
  [[ -z ${3:-} ]] || printf 'hint %s\n' "$3" >&2
  exit "$1"
}

# A script's text without comments and blank lines: what a recipe hashes, so
# that a better comment does not cost a rebuild.
code_digest() {
  grep -hv -e '^[[:space:]]*#' -e '^[[:space:]]*$' "$@" | sha256sum | cut -d' ' -f1
}

# debian_packages ARCH -> one package a line, sorted.
debian_packages() {
  local arch=$1
  local -a list=(
    # boot
    "linux-image-cloud-$arch" initramfs-tools busybox zstd
    "grub-efi-$arch" "grub-efi-$arch-signed" shim-signed
    # system
    systemd-sysv systemd-resolved systemd-timesyncd libpam-systemd dbus udev kmod
    libnss-resolve libnss-myhostname locales tzdata logrotate cron procps
    # network
    netplan.io iproute2 iputils-ping netbase ca-certificates curl openssh-server
    # first boot and growth
    cloud-init cloud-guest-utils fdisk e2fsprogs dosfstools qemu-guest-agent
    # for whoever logs in
    sudo less nano bash-completion
    debian-archive-keyring
  )
  printf '%s\n' "${list[@]}" | LC_ALL=C sort -u
}

# efi_suffix ARCH -> the letters that EFI file names end with.
efi_suffix() {
  case $1 in
    amd64) echo x64 ;;
    arm64) echo aa64 ;;
  esac
}

grub_platform() {
  case $1 in
    amd64) echo x86_64-efi ;;
    arm64) echo arm64-efi ;;
  esac
}

serial_console() {
  case $1 in
    amd64) echo ttyS0 ;;
    arm64) echo ttyAMA0 ;;
  esac
}

# uuid_from HEX -> a version 8 UUID of its first 32 digits.
uuid_from() {
  local hex=$1
  printf '%s-%s-8%s-a%s-%s\n' "${hex:0:8}" "${hex:8:4}" "${hex:13:3}" "${hex:17:3}" "${hex:20:12}"
}
