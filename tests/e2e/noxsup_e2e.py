"""What every end-to-end test shares: a home of its own, the real noxsup, waiting with deadlines, and evidence on failure.

A test file ends with `noxsup_e2e.main()`. The environment says what is tested: NOXSUP (the program). Guests
run under TCG unless the test says otherwise, and restricted: they reach nothing but the published ports.
"""
import atexit
import hashlib
import json
import os
import pathlib
import platform
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # what ctest takes for "skipped"
HOST_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
# Everything that a test starts carries this in its environment, so that it can be told from all others.
MARK = "NOXSUP_E2E_RUN"


class CommandResult:
    """One run of noxsup: exit code, stdout, stderr and seconds."""

    def __init__(self, arguments, completed, seconds):
        self.arguments = arguments
        self.exit = completed.returncode
        self.out = completed.stdout
        self.err = completed.stderr
        self.seconds = seconds

    @property
    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return (f"$ noxsup {' '.join(self.arguments)}\n[exit {self.exit}, {self.seconds:.2f} s]\n"
                f"--- stdout\n{self.out}--- stderr\n{self.err}")


def guest_image(name, only_cached=True):
    """Path of a test guest; SkipTest where it is not in the cache and must not be built now."""
    command = [str(REPOSITORY / "scripts/test-guests/ensure")]
    if only_cached:
        command.append("--only-cached")
    done = subprocess.run(command + [name], capture_output=True, text=True)
    if done.returncode != 0:
        raise unittest.SkipTest(f"the test guest {name} is not there: {done.stderr.strip().splitlines()[0]}")
    return pathlib.Path(done.stdout.strip().splitlines()[-1])


def wait_until(what, condition, seconds, interval=0.2):
    """The condition's first true value; AssertionError naming `what` at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(interval)


def alive(pid):
    """Whether the process runs (a zombie does not)."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def command_line(pid):
    """The arguments of a process; none when it has ended meanwhile."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def arguments_of(pid):
    """The same as text, of a process that is there."""
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")


def start_time(pid):
    """When the process started, in ticks since boot; None when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def digest(path):
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pss_mib(pid):
    """Proportional set size of a process, from the kernel."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def kill(pid):
    """SIGKILL, and waits until the process is gone (at most 10 s); quietly when it is gone already."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], 10)
    except OSError:
        pass
    finally:
        os.close(descriptor)


class Home:
    """A noxsup home in a temporary directory, with its own ~/.ssh, runtime directory and environment."""

    def __init__(self, config=None):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="nxe2e-"))
        self.path = self.root / "home"
        self.user = self.root / "user"
        self.mark = f"{os.getpid()}-{self.root.name}"
        (self.user / ".ssh").mkdir(parents=True, mode=0o700)
        (self.root / "run").mkdir(mode=0o700)
        self.path.mkdir(mode=0o700)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("NOX")}
        self.environment.update({
            MARK: self.mark, "HOME": str(self.user), "NOX_HOME": str(self.path), "NO_COLOR": "1",
            "XDG_RUNTIME_DIR": str(self.root / "run"), "XDG_CACHE_HOME": str(self.root / "cache"),
            "LC_ALL": "C.UTF-8",
        })
        self.configure(config or {})
        self.transcript = []
        self.other_pids = set()
        atexit.register(self.close)

    def configure(self, config):
        """Writes config.json: restricted guests under TCG (or as NOXSUP_TEST_ACCEL has it), and what is given."""
        merged = {"user_network_restrict": True, "accel": os.environ.get("NOXSUP_TEST_ACCEL", "tcg")}
        merged.update(config)
        (self.path / "config.json").write_text(json.dumps(merged, indent=2) + "\n")

    def make_key(self):
        """Gives the caller a key pair in ~/.ssh, as most users have one; returns the public line."""
        key = self.user / ".ssh/id_ed25519"
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "caller@e2e", "-f", str(key)], check=True)
        return key.with_suffix(".pub").read_text().strip()

    def run(self, *arguments, exit=0, timeout=120, stdin=None):
        """Runs noxsup and checks its exit code (`exit=None`: any)."""
        begin = time.monotonic()
        try:
            completed = subprocess.run([program(), *arguments], env=self.environment, input=stdin, text=True,
                                       capture_output=True, timeout=timeout,
                                       stdin=subprocess.DEVNULL if stdin is None else None)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"noxsup {' '.join(arguments)} took more than {timeout} s; stderr: {late.stderr}")
        result = CommandResult(arguments, completed, time.monotonic() - begin)
        self.transcript.append(result)
        if exit is not None and result.exit != exit:
            raise AssertionError(f"exit code {result.exit} instead of {exit}\n{result}")
        return result

    def start(self, *arguments):
        """A noxsup that goes on while the test does something else; the caller waits for it."""
        return subprocess.Popen([program(), *arguments], env=self.environment, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def status(self, name):
        vm = self.run("--format", "json", "status", name).json["vms"][0]
        if vm.get("pid"):
            self.other_pids.add((vm["pid"], start_time(vm["pid"])))
        return vm

    def state(self, name):
        return self.status(name)["state"]

    def console_log(self, name):
        log = self.path / "vms" / name / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def wait_console(self, name, pattern, seconds, count=1):
        """Until the guest's console has shown the pattern `count` times; returns the matches."""
        def found():
            matches = re.findall(pattern, self.console_log(name), re.MULTILINE)
            return matches if len(matches) >= count else None
        return wait_until(f"{pattern!r} {count} times on the console of {name}", found, seconds)

    def processes(self, name=None):
        """Pids of everything of this home, or of those whose program's name holds `name`.

        Children may have a clean environment and no path in their arguments (QEMU has neither): then the files
        that they hold open tell whose they are.
        """
        pids = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit() or int(entry.name) == os.getpid() or not alive(int(entry.name)):
                continue
            try:
                command = pathlib.Path(entry.path, "cmdline").read_bytes().split(b"\0")
                if name is not None and name not in os.path.basename(command[0].decode()):
                    continue
                if self.is_ours(entry.path, command):
                    pids.append(int(entry.name))
            except OSError:
                continue
        return pids

    def is_ours(self, process, command):
        root = str(self.root)
        if any(argument.decode(errors="replace").startswith(root) for argument in command):
            return True
        if f"{MARK}={self.mark}".encode() in pathlib.Path(process, "environ").read_bytes().split(b"\0"):
            return True
        descriptors = pathlib.Path(process, "fd")
        return any(os.readlink(descriptors / number).startswith(root + "/") for number in os.listdir(descriptors))

    def daemon_pid(self):
        """The supervisor of this home: `noxsup ... daemon`."""
        for pid in self.processes("noxsup"):
            if b"daemon" in command_line(pid):
                return pid
        return None

    def evidence(self):
        """Transcript and logs, for whoever reads a failed run."""
        parts = [str(result) for result in self.transcript[-12:]]
        for pattern in ("daemon.log", "*.log", "vms/*/console.log", "vms/*/qemu.log", "vms/*/meta.json"):
            for path in sorted(self.path.glob(pattern)):
                text = path.read_text(errors="replace")
                pauses = "".join(f"; silent from {before:.0f} s to {after:.0f} s" for before, after in pauses_in(text))
                parts.append(f"=== {path.relative_to(self.path)} ({len(text)} characters{pauses})\n{text[-6000:]}")
        return "\n".join(parts)

    def close(self):
        """Ends what was started here, and only that; then removes the home."""
        if not self.root.exists():
            return
        for pid in self.processes():
            kill(pid)
        for pid, started in self.other_pids:
            if started is not None and start_time(pid) == started:
                kill(pid)
        shutil.rmtree(self.root, ignore_errors=True)


def pauses_in(console, seconds=10):
    """Where the kernel's clock jumps on a console: a guest that was held up, not one that failed."""
    stamps = [float(stamp) for stamp in re.findall(r"^\[ *(\d+\.\d+)\]", console, re.MULTILINE)]
    return [(before, after) for before, after in zip(stamps, stamps[1:]) if after - before > seconds]


def program():
    return os.environ.get("NOXSUP", "noxsup")


class EndToEndTest(unittest.TestCase):
    """One home a test; evidence is printed when the test fails."""
    config = {}

    def setUp(self):
        self.failed_before = self.failed_so_far()
        self.home = Home(self.config)
        self.addCleanup(self.home.close)
        self.addCleanup(self.tell)

    def disk_image(self, name="small.qcow2", size="64M"):
        """An empty disk, made beside the home."""
        path = self.home.root / name
        path.parent.mkdir(exist_ok=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), size], check=True)
        return path

    def import_image(self):
        self.home.run("image", "import", str(self.disk_image()), "--name", "small")

    def run_through(self, prefix):
        """From here on this test's noxsup, and so its supervisor, is started by the words of `prefix`."""
        wrapper = self.home.root / "noxsup"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.join([*prefix, program()])} "$@"\n')
        wrapper.chmod(0o755)
        before = program()
        os.environ["NOXSUP"] = str(wrapper)
        self.addCleanup(os.environ.__setitem__, "NOXSUP", before)

    def failed_so_far(self):
        result = self._outcome.result
        return len(result.failures) + len(result.errors)

    def tell(self):
        if self.failed_so_far() > self.failed_before:
            sys.stderr.write(f"\n##### evidence of {self.id()}\n{self.home.evidence()}\n#####\n")


def main():
    """Runs the file's tests; exit 77 with the reason when every one of them was skipped."""
    done = unittest.main(module="__main__", verbosity=2, exit=False).result
    if not done.wasSuccessful() or done.testsRun == 0:
        sys.exit(1)
    if len(done.skipped) == done.testsRun:
        print(f"SKIP: {done.skipped[0][1]}")
        sys.exit(SKIPPED)
