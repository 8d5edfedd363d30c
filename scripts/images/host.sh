# shellcheck shell=bash
# What the host offers to an image build: tools, rights, mirrors, namespaces and the emulator of a
# foreign architecture. Sourced by build-debian, whose variables (arch, release, mirror, ...) it uses.
# shellcheck disable=SC2154

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
FOREIGN=no
BINFMT_ENTRY=''
binfmt_mode=none # none: not needed; namespace: in a user namespace of our own; global: in the kernel's only one
binfmt_registered=''

readonly NEEDED_MIB=3500
# In a mount namespace of our own only, unless the system has mounted it itself.
readonly BINFMT_MOUNT=/proc/sys/fs/binfmt_misc

host_arch() { dpkg --print-architecture; }

qemu_machine() {
  case $arch in
    amd64) echo x86_64 ;;
    arm64) echo aarch64 ;;
  esac
}

# Nothing is assumed about PATH: sbin is not in everybody's.
PATH=$PATH:/usr/sbin:/sbin

check_tools() {
  local pair missing=()
  local needs=(mmdebstrap:mmdebstrap qemu-img:qemu-utils sgdisk:gdisk mkfs.vfat:dosfstools mcopy:mtools
    mke2fs:e2fsprogs apt-get:apt unshare:util-linux tar:tar zstd:zstd)
  [[ $FOREIGN == no ]] || needs+=(arch-test:arch-test)
  [[ $EUID == 0 ]] || needs+=(newuidmap:uidmap)
  for pair in "${needs[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [[ -r $KEYRING ]] || missing+=(debian-archive-keyring)
  if [[ $FOREIGN == yes ]] && ! runs_foreign && [[ -z $(binfmt_description) ]]; then
    missing+=(qemu-user-static)
  fi
  ((${#missing[@]} == 0)) || fail "$EXIT_HOST_LACKS" "missing: ${missing[*]}" \
    "sudo apt-get install -y ${missing[*]}"
}

check_rights() {
  if [[ $EUID == 0 ]]; then
    unshare --mount --pid --fork true 2>/dev/null || fail "$EXIT_HOST_LACKS" \
      "root may not make mount namespaces here (a container without CAP_SYS_ADMIN?)" \
      "run it on the machine itself, or give the container CAP_SYS_ADMIN"
    return
  fi
  local user
  user=$(id -un)
  unshare --user --map-root-user --map-auto --mount true 2>/dev/null || fail "$EXIT_HOST_LACKS" \
    "not root, and $user has no usable range of subordinate ids (or user namespaces are off)" \
    "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user   # or run it as root"
}

check_space() {
  local dir=${TMPDIR:-/var/tmp} free
  free=$(df --output=avail -BM "$dir" | tail -n1 | tr -dc '0-9')
  ((free >= NEEDED_MIB)) || fail "$EXIT_NO_SPACE" "$dir has $free MiB free, $NEEDED_MIB are needed" \
    "free some, or set TMPDIR to a directory with more"
}

check_host() {
  command -v dpkg >/dev/null || fail "$EXIT_HOST_LACKS" "this is no Debian: dpkg is missing" \
    "build the image on a Debian machine and import it: noxsup image import FILE"
  [[ $arch == "$(host_arch)" ]] || FOREIGN=yes
  check_tools
  check_rights
  check_space
  find_mirrors
  [[ $FOREIGN == no ]] || choose_binfmt
}

# --- packages -------------------------------------------------------------------

# The host's own sources that carry Debian's main component: "URI SUITE" a line.
host_sources() {
  # shellcheck disable=SC2016  # apt's own variables
  apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
    awk '$3 == "main" && $2 ~ /^(bookworm|trixie|forky|sid|stable|oldstable|testing)(-security)?$/ {print $1, $2}' |
    grep -v -e raspberrypi -e raspbian -e ubuntu | awk '!seen[$0]++'
}

find_mirrors() {
  [[ -z $mirror ]] || return 0
  local sources
  sources=$(host_sources || true)
  mirror=$(awk '$2 !~ /-security$/ {print $1; exit}' <<<"$sources")
  [[ -n $security_mirror ]] || security_mirror=$(awk '$2 ~ /-security$/ {print $1; exit}' <<<"$sources")
  [[ -n $mirror ]] || fail "$EXIT_HOST_LACKS" "the host's apt sources name no Debian mirror" \
    "give one: --mirror URL"
}

# How the host's apt fetches (proxies, dates of snapshot mirrors) holds for the build as well.
write_apt_options() {
  apt-config dump | grep -E '^Acquire::(https?::(Proxy|Proxy::[^ ]+|Proxy-?Auto-?Detect|Timeout|CAInfo)|Check-Valid-Until|Check-Date|ForceIPv[46]|Retries) ' |
    grep -v ' "";$' | sed 's/;$//' || true
}

# --- a foreign architecture -----------------------------------------------------

runs_foreign() { arch-test "$arch" >/dev/null 2>&1; }

# The file that says how binfmt_misc starts the emulator, or nothing.
binfmt_description() {
  local file
  for file in /usr/lib/binfmt.d/qemu-"$(qemu_machine)"*.conf; do
    [[ -r $file ]] && { echo "$file"; return; }
  done
}

# An identity-mapped user namespace as root, or the user's own one: since Linux 6.7 each has
# a binfmt_misc of its own, which ends with it.
own_binfmt_works() {
  local status=0
  binfmt_mode=namespace
  # shellcheck disable=SC2016
  start_in_namespaces bash -c '
    mount -t binfmt_misc none "$2" && cat "$0" >"$2/register" && arch-test "$1"' \
    "$(binfmt_description)" "$arch" "$BINFMT_MOUNT" >/dev/null 2>&1
  wait "$child" || status=$?
  child=''
  binfmt_mode=none
  return "$status"
}

choose_binfmt() {
  if [[ -n $(binfmt_description) ]] && own_binfmt_works; then
    binfmt_mode=namespace
  elif runs_foreign; then
    return
  elif [[ $EUID == 0 ]] && with_global_binfmt test -w "$BINFMT_MOUNT/register" 2>/dev/null; then
    binfmt_mode=global
  else
    fail "$EXIT_HOST_LACKS" "$arch programs do not run here: binfmt_misc has no entry for qemu-$(qemu_machine)" \
      "sudo systemctl restart systemd-binfmt   # or run this as root"
  fi
}

# Runs a command where the kernel's binfmt_misc is mounted, for the moment only.
with_global_binfmt() {
  # shellcheck disable=SC2016
  unshare --mount --propagation private bash -c '
    mount -t binfmt_misc none "$0" && "$@"' "$BINFMT_MOUNT" "$@"
}

binfmt_prepare() {
  BINFMT_ENTRY=''
  case $binfmt_mode in
    namespace) BINFMT_ENTRY=$(binfmt_description) ;;
    global)
      local entry
      entry=$(binfmt_description)
      binfmt_registered=$(cut -d: -f2 "$entry")
      if with_global_binfmt test -e "$BINFMT_MOUNT/$binfmt_registered"; then
        binfmt_registered=''
      else
        with_global_binfmt tee "$BINFMT_MOUNT/register" <"$entry" >/dev/null
      fi
      ;;
  esac
  export BINFMT_ENTRY
}

binfmt_unregister() {
  [[ -n $binfmt_registered ]] || return 0
  with_global_binfmt tee "$BINFMT_MOUNT/$binfmt_registered" <<<-1 >/dev/null || note "could not remove the binfmt entry $binfmt_registered"
  binfmt_registered=''
}

# --- namespaces -----------------------------------------------------------------

# Starts a command with mounts and processes of its own; its first process is $child.
# As root without a foreign emulator there is no need for a user namespace.
start_in_namespaces() {
  local own=(unshare --mount --propagation private --pid --fork --kill-child --mount-proc)
  if [[ $EUID != 0 ]]; then
    "${own[@]}" --user --map-root-user --map-auto "$@" &
    child=$!
  elif [[ $binfmt_mode != namespace ]]; then
    "${own[@]}" "$@" &
    child=$!
  else
    start_in_identity_namespace "${own[@]}" "$@"
  fi
}

# A user namespace in which every id is itself.
start_in_identity_namespace() {
  local gate
  gate=$(mktemp -u "${TMPDIR:-/var/tmp}/noxsup-gate.XXXXXX")
  mkfifo -m 0600 "$gate"
  # shellcheck disable=SC2016
  unshare --user -- bash -c 'read -r _ <"$0" && exec "$@"' "$gate" "$@" &
  child=$!
  until [[ $(readlink "/proc/$child/ns/user") != "$(readlink /proc/self/ns/user)" ]]; do
    kill -0 "$child" 2>/dev/null || { rm -f "$gate"; return 0; }
    sleep 0.02
  done
  awk '{print $1, $1, $3}' /proc/self/uid_map >"/proc/$child/uid_map" &&
    awk '{print $1, $1, $3}' /proc/self/gid_map >"/proc/$child/gid_map" && echo >"$gate"
  rm -f "$gate"
}

# Files of a user's build belong to its subordinate ids.
remove_tree() {
  if [[ $EUID == 0 ]]; then
    rm -rf --one-file-system "$1"
  else
    unshare --user --map-root-user --map-auto rm -rf --one-file-system "$1"
  fi
}
