#!/bin/bash
# scripts/package: wrong words are usage errors before anything is installed or built.
set -euo pipefail

here=$(dirname -- "$(readlink -f -- "$0")")
# shellcheck source=tests/component/scripts/lib.sh
. "$here/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
# Without apt nothing can be installed; it is asked for first.
printf '#!/bin/sh\nexit 99\n' >"$work/bin/apt-get"
printf '#!/bin/sh\n[ "$1" != --print-architecture ] || echo arm64\n' >"$work/bin/dpkg"
chmod 0755 "$work"/bin/*
package() { PATH=$work/bin:$PATH run "$here/../../../scripts/package" "$@"; }

package --arch mips
check "an unknown architecture" equal "$status" 1
check "says which there are" said '--arch amd64 or --arch arm64'
package --arch
check "an architecture that is not given" equal "$status" 1
package --everything
check "an unknown option" equal "$status" 1
check "prints the usage" said 'usage: scripts/package'
package --help
check "help" equal "$status" 0
check "help goes to stdout" equal "$(head -c 16 <<<"$out")" 'A Debian package'
package --arch amd64
check "another machine's package where there is no cross compiler" equal "$status" 8
check "says where to build it" said 'build it on amd64 itself'
finish
