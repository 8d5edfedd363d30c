# shellcheck shell=bash
# What apt would do on a Debian that is not this one: another release or architecture, with nothing installed.
# Only package lists are fetched, into a directory that the caller removes. Sourced after common.sh.
# shellcheck disable=SC2154

# shellcheck source=scripts/images/host.sh
. "$repository/scripts/images/host.sh"

# What a Debian has before anybody asks for something.
readonly APT_BASE=('~prequired' '~E')

# make_apt_world DIRECTORY RELEASE ARCH: false where no mirror answers.
make_apt_world() {
  local directory=$1 release=$2 arch=$3 mirror
  mirror=$(host_sources | awk '$2 !~ /-security$/ { print $1; exit }')
  [[ -n $mirror ]] || return 1
  # apt fetches as a user of its own.
  chmod 0755 "$directory"
  mkdir -p "$directory"/{etc/preferences.d,lists/partial,cache/archives/partial}
  : >"$directory/status"
  echo "deb [signed-by=$KEYRING] $mirror $release main" >"$directory/etc/sources.list"
  {
    write_apt_options | sed 's/$/;/'
    cat <<TEXT
Dir::Etc "$directory/etc";
Dir::Etc::parts "/dev/null";
Dir::State "$directory";
Dir::State::status "$directory/status";
Dir::State::lists "$directory/lists";
Dir::Cache "$directory/cache";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
TEXT
  } >"$directory/apt.conf"
  APT_CONFIG=$directory/apt.conf apt-get -q update >"$directory/log" 2>&1 &&
    compgen -G "$directory/lists/*_Packages*" >/dev/null
}

# in_apt_world DIRECTORY PACKAGE|FILE...: what an installation of them brings, "NAME VERSION" a line.
in_apt_world() {
  local directory=$1
  shift
  APT_CONFIG=$directory/apt.conf apt-get -q -s install "${APT_BASE[@]}" "$@" >"$directory/log" 2>&1 || return 1
  sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1 \2/p' "$directory/log" | sort
}

# kib_in_apt_world DIRECTORY PACKAGE...: the sum of their installed sizes.
kib_in_apt_world() {
  local directory=$1
  shift
  (($# > 0)) || { echo 0; return; }
  APT_CONFIG=$directory/apt.conf apt-cache show --no-all-versions "$@" |
    awk '/^Installed-Size:/ { sum += $2 } END { print sum + 0 }'
}
