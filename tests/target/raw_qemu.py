"""QEMU by hand: started with the very arguments that noxsup gave its own, with files, sockets and a TAP of its own.

How the benchmarks of this machine reach a guest of either is here as well.
"""
import fcntl
import os
import pathlib
import re
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import on_target
from on_target import COMMAND_SECONDS, LEASES, system

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000
RAW_TAP = "nxraw0"
KEY = "/var/lib/noxsup/ssh/id_ed25519"
SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o",
               "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10")
PATHS = {"base": r"/images/sha256-", "seed": r"/cloud-init\.iso$", "firmware-code": r"/AAVMF_CODE[^/]*\.fd$"}


def open_tap():
    """A TAP on br0 that goes with its last descriptor."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", RAW_TAP.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    system("ip", "link", "set", RAW_TAP, "address", "fe:54:00:0a:58:77", "master", "br0", "up")
    return descriptor


class Recording:
    """What noxsup's QEMU was started with: its arguments, and the file behind each descriptor."""

    def __init__(self, pid):
        self.arguments = on_target.arguments_of(pid)
        self.files = {number: target for number, (target, _) in on_target.descriptors_of(pid).items()}
        self.mac = re.search(r'"mac":"([0-9a-f:]+)"', " ".join(self.arguments)).group(1)
        # QEMU reads them by the names of their descriptors.
        self.kernels = {int(number) for argument in self.arguments for number in re.findall(r"^/proc/self/fd/(\d+)$", argument)}
        self.names = {}
        for argument in self.arguments:
            match = re.fullmatch(r"fd=(\d+),set=\d+,opaque=([\w-]+)", argument)
            if match:
                self.names[int(match.group(1))] = match.group(2)

    def file(self, name):
        """QEMU closes what -add-fd brought once it has a copy, and gives the number to something else."""
        return next(target for target in self.files.values() if re.search(PATHS[name], target))


class RawQemu:
    """QEMU by hand, from a recording, on an overlay, firmware variables and a seed of its own."""

    def __init__(self, recording, gives_back=True, kernel_words=""):
        """@param gives_back whether the host gets the memory that the guest does not use
        @param kernel_words behind the kernel's command line, of a recording that has one"""
        self.arguments = list(recording.arguments)
        if not gives_back:
            self.arguments = [argument.replace('"free-page-reporting":true', '"free-page-reporting":false')
                              for argument in self.arguments]
        if kernel_words:
            self.arguments[self.arguments.index("-append") + 1] += f" {kernel_words}"
        self.recording = recording
        self.directory = directory = recording.seed_copy.parent
        self.own = {"disk": directory / "disk.qcow2", "firmware-vars": directory / "vars.fd", "seed": directory / "seed.iso"}
        self.process = self.qmp = None

    def make_files(self):
        """As before a first boot; returns the seconds that the overlay took."""
        shutil.copy(self.recording.seed_copy, self.own["seed"])
        shutil.copy("/usr/share/AAVMF/AAVMF_VARS.fd", self.own["firmware-vars"])
        self.own["disk"].unlink(missing_ok=True)
        begin = time.perf_counter()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.recording.file("base"), "-F", "qcow2",
                        str(self.own["disk"]), "5G"], check=True)
        return time.perf_counter() - begin

    def descriptor_for(self, number):
        name = self.recording.names.get(number)
        if name is not None:
            read_only = name in ("base", "seed", "firmware-code")
            path = self.own.get(name) or self.recording.file(name)
            return os.open(path, os.O_RDONLY if read_only else os.O_RDWR)
        target = self.recording.files[number]
        if number in self.recording.kernels:
            return os.open(target, os.O_RDONLY)
        if target == "/dev/net/tun":
            return open_tap()
        if target == "/dev/vhost-net":
            return os.open(target, os.O_RDWR)
        path = self.directory / f"socket{number}"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        return listener.detach()

    def start(self):
        """To the answer of `cont`; the seconds."""
        begin = time.perf_counter()
        descriptors = {}

        def replace(match):
            number = int(match.group(2))
            if number not in descriptors:
                descriptors[number] = self.descriptor_for(number)
            return f"{match.group(1)}{descriptors[number]}"
        arguments = [re.sub(r"(\b(?:vhost)?fd=|^/proc/self/fd/)(\d+)", replace, argument) for argument in self.arguments]
        sockets = {re.search(r"id=(\w+)", argument).group(1): int(re.search(r"fd=(\d+)", argument).group(1))
                   for argument in self.arguments if argument.startswith("socket,")}
        self.process = subprocess.Popen(arguments, pass_fds=descriptors.values(), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        for descriptor in descriptors.values():
            os.close(descriptor)
        # Somebody must read the console, or it blocks the guest.
        self.console = self.connect(sockets["console"])
        self.console.settimeout(None)
        self.reader = subprocess.Popen(["cat"], stdin=self.console, stdout=subprocess.DEVNULL)
        self.qmp = self.connect(sockets["qmp"])
        self.qmp.sendall(b'{"execute":"qmp_capabilities"}{"execute":"cont","id":"c"}')
        self.read_until(b'"id": "c"')
        return time.perf_counter() - begin

    def connect(self, number):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(60)
        peer.connect(str(self.directory / f"socket{number}"))
        return peer

    def read_until(self, wanted):
        text = b""
        while wanted not in text:
            more = self.qmp.recv(65536)
            if not more:
                raise RuntimeError(f"QEMU ended: {text!r}")
            text += more

    def quit(self):
        """To the end of the process; the seconds."""
        begin = time.perf_counter()
        self.qmp.sendall(b'{"execute":"quit"}')
        self.process.wait(60)
        seconds = time.perf_counter() - begin
        self.qmp.close()
        self.console.close()
        self.reader.wait(10)
        return seconds

    def power_off(self):
        """By the button, to the end of the process; the seconds."""
        begin = time.perf_counter()
        self.qmp.sendall(b'{"execute":"system_powerdown"}')
        self.process.wait(COMMAND_SECONDS)
        return time.perf_counter() - begin


def record(home, name):
    """Of a VM that runs."""
    recording = Recording(home.status(name)["pid"])
    # The VM's own goes with it.
    recording.seed_copy = pathlib.Path(tempfile.mkdtemp(prefix="nxbench-")) / "recorded-seed.iso"
    shutil.copy(recording.file("seed"), recording.seed_copy)
    return recording


def lease_of(mac):
    match = re.search(rf"(?m)^\d+ {mac} (\S+) ", LEASES.read_text() if LEASES.exists() else "")
    return match.group(1) if match else None


def forget_leases():
    system("systemctl", "stop", "br0-dhcp.service")
    LEASES.unlink(missing_ok=True)
    system("systemctl", "start", "br0-dhcp.service")


def login(address, key):
    return subprocess.run(["ssh", *SSH_OPTIONS, "-i", key, f"nox@{address}", "true"], stdin=subprocess.DEVNULL,
                          capture_output=True).returncode == 0


def banner(address):
    try:
        with socket.create_connection((address, 22), 1) as peer:
            peer.settimeout(10)
            return select.select([peer], [], [], 10)[0] and peer.recv(4) == b"SSH-"
    except OSError:
        return False
