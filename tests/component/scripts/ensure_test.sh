#!/bin/bash
# ensure: names, the cache's key, and parallel callers that build once. The builder is a stand-in.
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/component/scripts/lib.sh
. "$here/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$here/../../../scripts" "$work/scripts"
guests=$work/scripts/test-guests
export NOXSUP_CACHE=$work/cache BUILDS=$work/builds

cat >"$guests/build-tiny" <<'TEXT'
#!/bin/bash
if [[ $* == *--print-recipe* ]]; then echo "recipe ${RECIPE:-1} $*"; exit; fi
[[ -z ${BREAK:-} ]] || exit 2
echo built >>"$BUILDS"
sleep 1
mkdir -p "${@: -1}" && touch "${@: -1}/recipe"
TEXT

run "$guests/ensure" tiny-mips
check "an unknown guest is a usage error" equal "$status" 1
run "$guests/ensure"
check "no guest is a usage error" equal "$status" 1
run "$guests/ensure" --only-cached tiny-arm64
check "an empty cache tells that it is" equal "$status" 4
run env BREAK=1 "$guests/ensure" tiny-arm64
check "a failed build is passed on" equal "$status" 2
check "a failed build prints no path" equal "$out" ''

for n in 1 2 3; do
  "$guests/ensure" tiny-arm64 >"$work/path$n" 2>/dev/null &
done
wait
check "three callers build once" equal "$(wc -l <"$BUILDS")" 1
check "all get the path" equal "$(sort -u "$work"/path[123] | wc -l)" 1
check "the path is there" test -e "$(<"$work/path1")/recipe"
run "$guests/ensure" --only-cached tiny-arm64
check "then it is cached" equal "$out" "$(<"$work/path1")"
run env RECIPE=2 "$guests/ensure" tiny-arm64
check "another recipe is another guest" test "$out" != "$(<"$work/path1")"
check "which is built" equal "$(wc -l <"$BUILDS")" 2
finish
