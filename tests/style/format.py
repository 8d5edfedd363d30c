"""Every source is as clang-format 14 with the repository's .clang-format leaves it; other versions format otherwise."""
import re
import shutil
import subprocess
import sys

from sources import ROOT, files

SKIPPED = 77


def main():
    program = shutil.which("clang-format-14")
    if program is None:
        print("SKIP: clang-format 14 is not installed (other versions format otherwise)")
        return SKIPPED
    sources = [str(path.relative_to(ROOT)) for path in files(".cpp", ".hpp")]
    done = subprocess.run([program, "--dry-run", "--Werror", *sources], cwd=ROOT, capture_output=True, text=True)
    wrong = sorted(set(re.findall(r"^([^:\n]+):\d+:\d+: error", done.stderr, re.MULTILINE)))
    print("\n".join(f"{name} is not formatted; run clang-format-14 -i {name}" for name in wrong) or f"{len(sources)} files checked")
    return 1 if wrong or done.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
