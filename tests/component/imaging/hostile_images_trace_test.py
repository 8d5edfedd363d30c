"""The corpus of hostile images imported under strace: no file outside is opened, and no tool is run on any of them.

usage: hostile_images_trace_test.py PROGRAM      the test program that imports them; exit 77: strace cannot trace here
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

FILTER = "ImageServiceTest.HostileImagesAreRefused"
# What any program of this host opens to run: libraries, locale, its own view of the system.
SYSTEM = re.compile(r"^/(usr/(lib|share|local/lib)|lib\w*|etc/(ld\.so\.\w+|ssl|localtime|nsswitch\.conf)|proc|sys|dev/(null|urandom))(/|$)")
# What the images ask for (also /proc/self/environ, which a sanitizer's runtime reads for itself).
NAMED_BY_IMAGES = ("/etc/passwd", "/etc/shadow", "/dev/sda", "/dev/mem")
# O_PATH reads nothing: the fence is made of such descriptors.
OPENED = re.compile(r'^\d+ +(?:open|openat|openat2|creat)\((?:AT_FDCWD, |\d+, )?"((?:[^"\\]|\\.)*)"(?!.*O_PATH)', re.MULTILINE)
EXECUTED = re.compile(r'^\d+ +execve(?:at)?\("((?:[^"\\]|\\.)*)"', re.MULTILINE)


def trace(program, directory):
    log = directory / "trace"
    environment = dict(os.environ, TMPDIR=str(directory), ASAN_OPTIONS="detect_leaks=0")  # LeakSanitizer cannot be traced
    done = subprocess.run(["strace", "-f", "-qq", "-s", "4096", "-e", "trace=open,openat,openat2,creat,execve,execveat", "-o",
                           str(log), program, f"--gtest_filter={FILTER}"], env=environment, capture_output=True, text=True)
    text = log.read_text(errors="replace") if log.exists() else ""
    if "execve(" not in text:
        print(f"SKIP: strace cannot trace here: {done.stderr.strip()}")
        sys.exit(77)
    print(done.stdout, done.stderr, sep="")
    if done.returncode != 0:
        sys.exit(f"the imports failed: exit {done.returncode}")
    return text


def main():
    program = os.path.realpath(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name).resolve()
        text = trace(program, directory)
        opened = set(match.group(1) for match in OPENED.finditer(text))
        executed = set(match.group(1) for match in EXECUTED.finditer(text))
    allowed = (str(directory), str(pathlib.Path(program).parents[4]))
    outside = {path for path in opened
               if path.startswith("/") and not path.startswith(allowed) and not SYSTEM.match(path)}
    outside |= opened & set(NAMED_BY_IMAGES)
    tools = {path for path in executed if os.path.basename(path) not in (os.path.basename(program), "noxsup-worker")}
    print(f"{len(opened)} paths opened, {len(executed)} programs run: {sorted(executed)}")
    if outside or tools:
        sys.exit(f"opened: {sorted(outside)}; run: {sorted(tools)}")


if __name__ == "__main__":
    main()
