# shellcheck shell=bash
# Installs the Debian packages of scripts/packages/*.txt: only what is missing, and it says so first.
# An entry NAME:ARCH is the package of another architecture, which dpkg is told of first. Sourced after common.sh.
# shellcheck disable=SC2154

# package_entries LIST...: the entries of scripts/packages/LIST.txt, one a line, without comments.
package_entries() {
  local list
  for list in "$@"; do
    sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$repository/scripts/packages/$list.txt"
  done
}

# installed_packages NAME...: those that are installed, one a line; NAME:ARCH for another architecture's.
installed_packages() {
  # An unknown name is no error here; it is not installed.
  dpkg-query -W -f='${db:Status-Status} ${binary:Package}\n' "$@" 2>/dev/null |
    sed -n "s/:$(dpkg --print-architecture)\$//; s/^installed //p" || true
}

# available_packages NAME...: those that apt has a version of (a name that only others mention has none).
available_packages() {
  apt-cache policy "$@" 2>/dev/null |
    awk '/^[^ ]/ { name = $1; sub(/:$/, "", name) } $1 == "Candidate:" && $2 != "(none)" { print name }' || true
}

# unknown_architectures PACKAGE...: those that dpkg does not know yet, one a line.
unknown_architectures() {
  local known
  known=" $(dpkg --print-architecture) $(dpkg --print-foreign-architectures | paste -sd' ') "
  printf '%s\n' "$@" | sed -n 's/^[^:]*:\([a-z0-9]*\)$/\1/p' | sort -u |
    while read -r arch; do [[ $known == *" $arch "* ]] || echo "$arch"; done
}

apt_lists_present() {
  compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

# missing_packages LIST...: what to install, one a line. Of `a|b` it is the first that this release
# has; a later one that is installed counts only where the earlier ones are not to be had.
missing_packages() {
  local entries names entry name chosen installed available=''
  mapfile -t entries < <(package_entries "$@")
  mapfile -t names < <(printf '%s\n' "${entries[@]}" | tr '|' '\n')
  installed=" $(installed_packages "${names[@]}" | paste -sd' ') "
  for entry in "${entries[@]}"; do
    [[ $installed != *" ${entry%%|*} "* ]] || continue
    if [[ $entry == *'|'* && -z $available ]]; then
      # Asked once, and only where the first choice is not there: it takes apt a second.
      available=" $(available_packages "${names[@]}" | paste -sd' ') "
    fi
    chosen=''
    for name in ${entry//|/ }; do
      if [[ $installed == *" $name "* ]]; then
        chosen=installed
        break
      elif [[ $entry != *'|'* || $available == *" $name "* ]]; then
        chosen=$name
        break
      fi
    done
    # Nothing known yet, as before the first `apt-get update`: the first name stands for the entry.
    [[ $chosen == installed ]] || printf '%s\n' "${chosen:-${entry%%|*}}"
  done
}

# as_root COMMAND...: runs it as root; the caller has checked can_be_root.
as_root() {
  if ((EUID == 0)); then
    "$@"
  elif [[ -t 0 ]]; then
    sudo -- "$@"
  else
    sudo -n -- "$@"
  fi
}

can_be_root() {
  ((EUID == 0)) && return 0
  command -v sudo >/dev/null || return 1
  # With a terminal sudo may ask for the password; without one it must not need to.
  [[ -t 0 ]] || sudo -n true 2>/dev/null
}

# apt_get ARGUMENTS...: waits for other users of dpkg and of the lists, bounded; mirrors get three tries.
apt_get() {
  local attempt log status
  log=$(mktemp)
  for attempt in {1..30}; do
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -q -y \
      -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Acquire::http::Timeout=60 \
      -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null || status=$?
    # DPkg::Lock::Timeout does not cover the lock of the package lists.
    if ((status == 0)) || ! grep -q 'Could not get lock' "$log"; then break; fi
    ((attempt > 1)) || say "waiting for another program that uses apt"
    sleep 10
  done
  ((status == 0)) || tail -n 25 "$log" >&2
  rm -f "$log"
  return "$status"
}

# no_rights PACKAGES...: ends with the line that somebody with rights can run.
no_rights() {
  local arch first=''
  while read -r arch; do first+="dpkg --add-architecture $arch && "; done < <(unknown_architectures "$@")
  die "$EXIT_HOST_LACKS" "these packages are missing, and neither root nor sudo is at hand: $*" \
    "run as root: ${first}apt-get update && apt-get install --no-install-recommends -y $*"
}

update_package_lists() {
  apt_get update || die "$EXIT_FAILED" "apt-get update failed" "check the network and /etc/apt/sources.list"
}

# add_architectures PACKAGE...: tells dpkg of the architectures that they name; true where one was new.
add_architectures() {
  local arch new
  mapfile -t new < <(unknown_architectures "$@")
  ((${#new[@]} > 0)) || return 1
  for arch in "${new[@]}"; do
    say "adding the architecture $arch to dpkg, so that its packages install beside the host's own"
    as_root dpkg --add-architecture "$arch" || die "$EXIT_FAILED" "dpkg --add-architecture $arch failed"
  done
}

# install_packages LIST...: what is missing of the lists, after saying what; nothing when all is there.
install_packages() {
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "$EXIT_HOST_LACKS" "this is no Debian: apt-get is missing" \
      "install by hand what scripts/packages/{$(IFS=,; echo "$*")}.txt name"
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]} > 0)) || return 0
  can_be_root || no_rights "${missing[@]}"
  if add_architectures "${missing[@]}" || ! apt_lists_present; then
    say "updating the package lists"
    update_package_lists
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]} > 0)) || return 0
  fi
  say "installing with apt: ${missing[*]}"
  if ! apt_get install --no-install-recommends "${missing[@]}"; then
    # Lists that are older than the mirror name versions that it no longer has.
    say "that failed; trying once more with fresh package lists"
    update_package_lists
    mapfile -t missing < <(missing_packages "$@")
    apt_get install --no-install-recommends "${missing[@]}" ||
      die "$EXIT_FAILED" "apt-get could not install: ${missing[*]}" "its last lines are above"
  fi
}

# unpack_packages LIST DIRECTORY: the packages of scripts/packages/LIST.txt, unpacked and not installed; again
# only when apt has another version.
unpack_packages() {
  local list=$1 directory=$2 entries recipe package work
  mapfile -t entries < <(package_entries "$list")
  recipe=$(apt-cache policy "${entries[@]}" | grep -E '^[^ ]|Candidate:')
  [[ $recipe != "$(cat "$directory.recipe" 2>/dev/null)" ]] || return 0
  say "unpacking ${entries[*]} below $directory"
  work=$(mktemp -d)
  # apt fetches as a user of its own where it can.
  ((EUID != 0)) || chown _apt "$work" 2>/dev/null || true
  (cd "$work" && apt-get -q -o Acquire::Retries=3 download "${entries[@]}" >log 2>&1) || {
    tail -n 5 "$work/log" >&2
    rm -rf "$work"
    die "$EXIT_FAILED" "apt-get could not download ${entries[*]}" "apt-get update, and try again"
  }
  rm -rf "$directory" "$directory.recipe"
  mkdir -p "$directory"
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$directory"; done
  rm -rf "$work"
  printf '%s\n' "$recipe" >"$directory.recipe"
}
