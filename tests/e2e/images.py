"""Sees to it that the test guests are there, building what is not; the test that the others wait for."""
import platform
import subprocess
import sys

from noxsup_e2e import HOST_ARCH, REPOSITORY, SKIPPED

HOST_LACKS = 8
# The groups that the tests name: tiny guests, Debian for this machine, Debian for the other architecture, what
# scripts/test-on-target needs.
GROUPS = {
    "tiny": ["tiny-arm64", "tiny-amd64"],
    "debian": [f"debian-13-{HOST_ARCH}"],
    # Debian 12 here: both releases are booted then, and the emulated arm64 host stands on the same tree.
    "debian-arm64": ["debian-12-arm64"] if platform.machine() == "x86_64" else [],
    "arm64-host": ["tiny-arm64", "debian-12-arm64", "host-12-arm64"],
}


def main(groups):
    for name in [name for group in groups for name in GROUPS[group]]:
        done = subprocess.run([str(REPOSITORY / "scripts/test-guests/ensure"), name], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        print(done.stdout, flush=True)
        if done.returncode == HOST_LACKS:
            print(f"SKIP: {name} cannot be built here: {done.stdout.strip().splitlines()[-1]}")
            return SKIPPED
        if done.returncode != 0:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
