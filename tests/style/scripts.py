"""shellcheck over every shell script of the repository."""
import shutil
import subprocess
import sys

from sources import ROOT, files

SKIPPED = 77


def is_shell(path):
    with path.open("rb") as file:
        first = file.readline()
    return first.startswith((b"#!/bin/bash", b"#!/bin/sh", b"# shellcheck shell"))


def main():
    if shutil.which("shellcheck") is None:
        print("SKIP: shellcheck is not installed")
        return SKIPPED
    scripts = [str(path.relative_to(ROOT)) for path in files("") if is_shell(path)]
    if not scripts:
        sys.exit("no shell scripts found")
    done = subprocess.run(["shellcheck", "-x", "-S", "warning", *scripts], cwd=ROOT)
    print(f"{len(scripts)} scripts checked")
    return 1 if done.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
