"""What the tests of promises share: cheap guests, a look at all that a home has on the host, and the length of the run.

A test file ends with `noxsup_e2e.main()`. NOXSUP names the program, NOXSUP_LONG=1 asks for the long run, NOXSUP_TIMES for
so many times, and NOXSUP_SEED repeats one. The guests are idle: a kernel of a few instructions that halts, so that 20 of them cost memory alone.
"""
import collections
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
import noxsup_e2e  # noqa: E402
from noxsup_e2e import HOST_ARCH, EndToEndTest, alive, start_time, wait_until  # noqa: E402

LONG = "NOXSUP_LONG" in os.environ
ADOPTION_SECONDS = 5  # promise P1


def length(short, long):
    """How many times: the figure of the default run, or of the long one."""
    if "NOXSUP_TIMES" in os.environ:
        return int(os.environ["NOXSUP_TIMES"])
    return long if LONG else short


def make_random(name):
    """A random generator whose seed is printed, so that a run can be repeated."""
    seed = os.environ.get("NOXSUP_SEED") or str(int.from_bytes(os.urandom(4), "big"))
    print(f"{name}: NOXSUP_SEED={seed}", flush=True)
    return random.Random(seed)


def idle_kernel():
    """What QEMU takes for a Linux kernel of the host's architecture, and halts with interrupts off."""
    if HOST_ARCH == "arm64":
        return b"\x7f\x20\x03\xd5\xff\xff\xff\x17".ljust(65536, b"\0")  # wfi; b .-4
    # The boot protocol's header (Documentation/arch/x86/boot.rst): one setup sector, version 2.15, loaded high.
    image = bytearray(16384)
    image[0x1f1] = 1
    image[0x1fe:0x200] = b"\x55\xaa"
    image[0x200:0x202] = b"\xeb\x66"  # jmp 0x268
    image[0x202:0x206] = b"HdrS"
    image[0x206:0x208] = b"\x0f\x02"
    image[0x211] = 1
    image[0x22c:0x230] = b"\xff\xff\xff\x7f"
    image[0x268:0x26c] = b"\xfa\xf4\xeb\xfd"  # cli; hlt; jmp to the hlt
    return bytes(image)


class PromiseTest(EndToEndTest):
    """A home whose configuration names the idle kernel and whose only image is an empty disk."""

    def setUp(self):
        super().setUp()
        kernel = self.home.root / "idle-kernel"
        kernel.write_bytes(idle_kernel())
        self.home.configure({"kernel": {HOST_ARCH: {"kernel": str(kernel), "cmdline": "idle"}}})
        self.import_image()
        self.uuids = {}

    def create(self, name, *arguments, network="user"):
        """A stopped VM of 32 MiB."""
        self.home.run("create", name, "--image", "small", "--arch", HOST_ARCH, "--boot", "kernel", "--cpus", "1", "--ram", "32",
                      "--disk", "64M", "--network", network, "--no-start", *arguments)
        self.learn(name)

    def learn(self, name):
        """Remembers a VM's UUID, by which its QEMU is known from now on."""
        self.uuids[name] = self.home.status(name)["uuid"]

    def listed(self):
        """{name: VM} as `list` has it; starts the supervisor where there is none."""
        return {vm["name"]: vm for vm in self.home.run("--format", "json", "list").json["vms"]}

    def qemus(self):
        """{uuid: [(pid, start time)]} of every QEMU of this home's VMs, also of those that were deleted."""
        found = collections.defaultdict(list)
        known = set(self.uuids.values())
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                words = pathlib.Path(entry.path, "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"-uuid" not in words:
                continue
            uuid = words[words.index(b"-uuid") + 1].decode()
            if uuid in known and alive(int(entry.name)):
                found[uuid].append((int(entry.name), start_time(entry.name)))
                self.home.other_pids.add((int(entry.name), start_time(entry.name)))
        return found

    def kill_supervisor(self):
        pid = self.supervisor()
        if pid is not None:
            noxsup_e2e.kill(pid)

    def supervisor(self):
        """Pid of the home's supervisor, from the lock that it holds; None where there is none."""
        lock = self.home.path / "run/daemon.lock"
        try:
            inode = f":{lock.stat().st_ino} "
        except OSError:
            return None
        for line in pathlib.Path("/proc/locks").read_text().split("\n"):
            if " FLOCK " in line and inode in line and "->" not in line:
                pid = int(re.split(r" +", line)[4])
                return pid if pid > 0 and alive(pid) else None
        return self.home.daemon_pid()

    def leftovers(self, vms):
        """What is there that belongs to none of these VMs ({name: VM as listed}), as a list of texts."""
        home = self.home.path
        left = []
        for path in (home / "vms").iterdir():
            if path.name not in vms:
                left.append(str(path))
        left += [str(path) for path in home.rglob("*.tmp")]
        ids = {}
        for name in vms:
            record = json.loads((home / "vms" / name / "meta.json").read_text())
            ids[record["body"]["spec"]["id"]] = name
        for path in (home / "run").iterdir():
            if not path.is_dir():
                continue
            owner = ids.get(path.name)
            if owner is None:
                left.append(f"{path}, of no VM")
            elif vms[owner]["pid"] is None and any(path.iterdir()):
                left.append(f"{sorted(file.name for file in path.iterdir())} of {owner}, which is {vms[owner]['state']}")
        return left

    def zombies(self):
        """Children of the supervisor that ended and were not waited for."""
        daemon = self.supervisor()
        found = []
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                fields = pathlib.Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] == "Z" and int(fields[1]) == daemon:
                found.append(int(entry.name))
        return found

    def descriptors(self):
        """What the supervisor has open, without what a call that has just ended may still hold: {kind: count}."""
        directory = pathlib.Path(f"/proc/{self.supervisor()}/fd")
        kinds = collections.Counter()
        for number in os.listdir(directory):
            try:
                kinds[re.sub(r"\d+", "N", os.readlink(directory / number))] += 1
            except OSError:
                continue
        return kinds

    def settled_descriptors(self, expected, what):
        """Fails unless the supervisor comes to have exactly these open."""
        def same():
            now = self.descriptors()
            return now == expected
        try:
            wait_until(what, same, 10, interval=0.05)
        except AssertionError:
            now = self.descriptors()
            self.fail(f"{what}: leaked {now - expected}, lost {expected - now}")

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.supervisor()}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE).group(1)) << 10


class Bridge:
    """A network namespace with a bridge br0 and nothing else; the whole test's noxsup lives in it."""

    def __init__(self):
        self.name = f"nxpromise{os.getpid()}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        for line in ("link set lo up", "link add br0 type bridge", "link set br0 up"):
            self.run("ip", *line.split())

    @property
    def prefix(self):
        return ["ip", "netns", "exec", self.name]

    def run(self, *words):
        return subprocess.run([*self.prefix, *words], check=True, capture_output=True, text=True).stdout

    def taps(self):
        """Names of all links but lo and br0."""
        return sorted(link["ifname"] for link in json.loads(self.run("ip", "-json", "link", "show"))
                      if link["ifname"] not in ("lo", "br0"))

    def filtered(self):
        """Names of the TAPs that have a filter; those that are there, where no tool tells."""
        if not shutil.which("nft"):
            return self.taps()
        return sorted(re.findall(r"noxsup_(\w+)", self.run("nft", "list", "tables", "bridge")))

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False)


def can_make_bridge():
    """Whether this user may make a network namespace with a bridge, and has the tool."""
    if os.geteuid() != 0:
        return False
    try:
        bridge = Bridge()
    except (OSError, subprocess.CalledProcessError):
        return False
    bridge.close()
    return True


class Clock:
    """Seconds since it was made."""

    def __init__(self):
        self.begin = time.monotonic()

    @property
    def seconds(self):
        return time.monotonic() - self.begin
