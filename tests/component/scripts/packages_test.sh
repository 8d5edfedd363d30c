#!/bin/bash
# scripts/lib/packages.sh against stand-ins for apt and dpkg: what is chosen, installed, retried and refused.
set -euo pipefail

source_dir=$(cd -- "$(dirname -- "$0")/../../.." && pwd -P)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 0755 "$work"
mkdir -p "$work/bin" "$work/scripts/packages"
cp -r "$source_dir/scripts/lib" "$work/scripts/"

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

stub() {
  { echo '#!/bin/bash'; cat; } >"$work/bin/$1"
  chmod 0755 "$work/bin/$1"
}

# The stand-ins read $work/installed and $work/available and write $work/calls.
stub dpkg-query <<TEXT
for name in "\$@"; do
  case \$name in -*) continue ;; esac
  case \$name in *:*) pattern="\$name" ;; *) pattern="\$name(:.*)?" ;; esac
  grep -Ex -- "\$pattern" $work/installed | sed 's/^/installed /' || status=1
done
exit \${status:-0}
TEXT
stub dpkg <<TEXT
case \$1 in
  --print-architecture) echo amd64 ;;
  --print-foreign-architectures) cat $work/architectures ;;
  --add-architecture)
    echo "dpkg \$*" >>$work/calls
    echo "\$2" >>$work/architectures
    ;;
esac
TEXT
: >"$work/architectures"
stub apt-cache <<TEXT
shift
for name in "\$@"; do
  candidate='(none)'
  ! grep -qx -- "\$name" $work/available || candidate=1.0
  printf '%s:\n  Installed: (none)\n  Candidate: %s\n' "\$name" "\$candidate"
done
TEXT
stub apt-get <<TEXT
echo "\$*" | sed 's/.*Use-Pty=0 //' >>$work/calls
if [[ -s $work/failures ]]; then
  head -n 1 $work/failures
  sed -i 1d $work/failures
  exit 100
fi
exit 0
TEXT
stub sleep <<<'exit 0'

run() { # run LIST...: the exit code; output in $work/output
  : >"$work/calls"
  local status=0
  PATH=$work/bin:/usr/bin:/bin "${prefix[@]}" bash -c "set -euo pipefail
    . $work/scripts/lib/common.sh; . $work/scripts/lib/packages.sh
    apt_lists_present() { [[ -e $work/lists ]]; }
    install_packages $*" >"$work/output" 2>&1 || status=$?
  echo "$status"
}

prefix=()
printf '# a comment\nfirst\nold|new   # one of them\n\nthere\n' >"$work/scripts/packages/some.txt"
echo there >"$work/installed"
printf 'first\nnew\nthere\n' >"$work/available"
: >"$work/failures"
touch "$work/lists"

if ((EUID == 0)); then
  [[ $(run some) == 0 ]] || fail "the plain case: $(cat "$work/output")"
  [[ $(cat "$work/calls") == 'install --no-install-recommends first new' ]] || fail "installed: $(cat "$work/calls")"
  grep -q 'installing with apt: first new' "$work/output" || fail "it does not say what it installs"

  # The first alternative wins where both are to be had; an installed second one does not replace it.
  printf 'first\nold\nnew\n' >"$work/available"
  printf 'there\nfirst\nnew\n' >"$work/installed"
  [[ $(run some) == 0 && $(cat "$work/calls") == 'install --no-install-recommends old' ]] || fail "alternatives: $(cat "$work/calls")"
  printf 'first\nnew\n' >"$work/available"
  [[ $(run some) == 0 && ! -s $work/calls ]] || fail "the installed alternative is enough: $(cat "$work/calls")"

  # Without package lists they are fetched first; a failed installation is tried again with fresh ones.
  rm "$work/lists"
  echo there >"$work/installed"
  [[ $(run some) == 0 && $(sed -n 1p "$work/calls") == update ]] || fail "no update: $(cat "$work/calls")"
  touch "$work/lists"
  echo '404 Not Found' >"$work/failures"
  [[ $(run some) == 0 ]] || fail "a stale list is not overcome: $(cat "$work/output")"
  [[ $(paste -sd, "$work/calls") == 'install --no-install-recommends first new,update,install --no-install-recommends first new' ]] ||
    fail "calls: $(cat "$work/calls")"
  printf 'E: Could not get lock /var/lib/apt/lists/lock\n%.0s' 1 2 3 >"$work/failures"
  [[ $(run some) == 0 && $(wc -l <"$work/calls") == 4 ]] || fail "it does not wait for the lock: $(cat "$work/calls")"

  # Another architecture's packages: dpkg is told of it, which is said, and its lists are fetched.
  printf 'first\nlib-dev:arm64\nold:arm64|new:arm64\n' >"$work/scripts/packages/cross.txt"
  printf 'first:amd64\nlib-dev:amd64\n' >"$work/installed"
  printf 'first\nnew:arm64\nlib-dev:arm64\n' >"$work/available"
  : >"$work/failures"
  [[ $(run cross) == 0 ]] || fail "another architecture: $(cat "$work/output")"
  [[ $(paste -sd, "$work/calls") == 'dpkg --add-architecture arm64,update,install --no-install-recommends lib-dev:arm64 new:arm64' ]] ||
    fail "another architecture's calls: $(cat "$work/calls")"
  grep -q 'adding the architecture arm64 to dpkg' "$work/output" || fail "it does not say that it adds an architecture"
  printf 'first:amd64\nlib-dev:amd64\nlib-dev:arm64\n' >"$work/installed"
  [[ $(run cross) == 0 && $(cat "$work/calls") == 'install --no-install-recommends new:arm64' ]] ||
    fail "a known architecture: $(cat "$work/calls")"
  printf 'first:amd64\nlib-dev:arm64\nnew:arm64\n' >"$work/installed"
  [[ $(run cross) == 0 && ! -s $work/calls ]] || fail "all of it is there: $(cat "$work/calls")"
  : >"$work/architectures"
  echo there >"$work/installed"
  printf 'first\nnew\nthere\n' >"$work/available"

  printf 'E: broken\nE: broken\nE: broken\n' >"$work/failures"
  [[ $(run some) == 2 ]] || fail "a broken apt is no error"
  grep -q 'E: broken' "$work/output" || fail "apt's own words are missing"
  : >"$work/failures"
  prefix=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  chmod -R a+rwX "$work"
fi

# Neither root nor sudo: exit 8 and the line to run; nothing was tried.
stub sudo <<<'exit 1'
echo there >"$work/installed"
[[ $(run some </dev/null) == 8 ]] || fail "without rights: $(cat "$work/output")"
grep -q 'apt-get install --no-install-recommends -y first new$' "$work/output" || fail "the line to run: $(cat "$work/output")"
[[ ! -s $work/calls ]] || fail "apt was called without rights"

printf 'lib-dev:arm64\n' >"$work/scripts/packages/cross.txt"
[[ $(run cross </dev/null) == 8 ]] || fail "another architecture without rights: $(cat "$work/output")"
grep -q 'dpkg --add-architecture arm64 && apt-get update && apt-get install .* lib-dev:arm64$' "$work/output" ||
  fail "the line to run for another architecture: $(cat "$work/output")"

# sudo that needs no password does it.
# shellcheck disable=SC2016
stub sudo <<<'while [[ $1 == -* ]]; do shift; done; exec "$@"'
[[ $(run some </dev/null) == 0 ]] || fail "through sudo: $(cat "$work/output")"
[[ $(cat "$work/calls") == 'install --no-install-recommends first new' ]] || fail "through sudo: $(cat "$work/calls")"

# Nothing missing: nothing is asked for.
printf 'there\nfirst\nnew\n' >"$work/installed"
stub sudo <<<'exit 1'
[[ $(run some </dev/null) == 0 && ! -s $work/calls ]] || fail "nothing is missing: $(cat "$work/output")"
echo "package installation: all cases pass"
