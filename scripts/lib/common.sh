# shellcheck shell=bash
# What every script of the repository shares: where things are, how it speaks, how long stages took.
# Sourced, never run. Sets: repository, noxsup_cache.
# shellcheck disable=SC2034  # used by those who source it

repository=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd -P)
noxsup_cache=${NOXSUP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/noxsup}
readonly repository noxsup_cache

readonly EXIT_USAGE=1 EXIT_FAILED=2 EXIT_HOST_LACKS=8

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die EXIT MESSAGE [HINT]
die() {
  say "$2"
  [[ -z ${3:-} ]] || printf '  %s\n' "$3" >&2
  exit "$1"
}

# The compilers' jobs at once: one a processor, but no more than memory carries. A file that includes
# Asio takes up to 1.2 GB under the sanitizers.
build_jobs() {
  local processors available_kib by_memory
  processors=$(nproc)
  available_kib=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  by_memory=$((${available_kib:-1200000} / 1200000))
  ((by_memory >= 1)) || by_memory=1
  echo $((processors < by_memory ? processors : by_memory))
}

now_seconds() { date +%s; }

# minutes SECONDS: 75 is "1.2".
minutes() { awk -v seconds="$1" 'BEGIN { printf "%.1f", seconds / 60 }'; }
