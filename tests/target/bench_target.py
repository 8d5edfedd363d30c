"""The table of this machine: noxsup with KVM beside raw QEMU with KVM, in turn, on the same image. Ratios count.

usage: bench_target.py [--runs N] [--boots N] [--first-boots N] [--warm N]      whole boots take minutes here; the rest seconds
Raw QEMU gets the very arguments that noxsup gave it, with files, sockets and a TAP of its own.
"""
import argparse
import fcntl
import os
import pathlib
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

import on_target
from on_target import BOOT_SECONDS, COMMAND_SECONDS, LEASES, SystemHome, system, wait_until

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
from bench import Control, Table, measure_first_boots  # noqa: E402
from noxsup_e2e import pss_mib  # noqa: E402
from warm import measure_warm  # noqa: E402

TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 0x2, 0x1000, 0x4000
RAW_TAP = "nxraw0"
NAME = "bench1"
KEY = "/var/lib/noxsup/ssh/id_ed25519"
SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR", "-o",
               "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10")
BRIDGE_ADDRESS = "10.88.0.1"
TRANSFER_BYTES = 64 << 20
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

    def __init__(self, recording, directory, gives_back=True):
        """@param gives_back whether the host gets the memory that the guest does not use"""
        self.arguments = recording.arguments if gives_back else [
            argument.replace('"free-page-reporting":true', '"free-page-reporting":false') for argument in recording.arguments]
        self.recording = recording
        self.directory = directory
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
        arguments = [re.sub(r"(\b(?:vhost)?fd=)(\d+)", replace, argument) for argument in self.arguments]
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


def transfer(address, key, command):
    """`command` in the guest sends to, or reads from, a port of this machine; the seconds from the first byte to the last."""
    with socket.create_server((BRIDGE_ADDRESS, 0)) as server:
        server.settimeout(COMMAND_SECONDS)
        script = f"exec 3<>/dev/tcp/{BRIDGE_ADDRESS}/{server.getsockname()[1]}; {command}"
        guest = subprocess.Popen(["ssh", *SSH_OPTIONS, "-i", key, f"nox@{address}", "bash", "-c", f"'{script}'"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        peer, _ = server.accept()
    with peer:
        peer.settimeout(COMMAND_SECONDS)
        if command.startswith("head"):
            received = len(peer.recv(1))
            begin = time.perf_counter()
            while chunk := peer.recv(1 << 18):
                received += len(chunk)
            assert received == TRANSFER_BYTES, received
        else:
            begin = time.perf_counter()
            peer.sendall(bytes(TRANSFER_BYTES))
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b"", "the guest closes once it has read everything"
        seconds = time.perf_counter() - begin
    assert guest.wait(COMMAND_SECONDS) == 0
    return seconds


def measure_transfers(address, key, runs):
    """Milliseconds for TRANSFER_BYTES through br0, each way."""
    out = [transfer(address, key, f"head -c {TRANSFER_BYTES} /dev/zero >&3") * 1000 for _ in range(runs)]
    into = [transfer(address, key, "cat <&3 >/dev/null") * 1000 for _ in range(runs)]
    return {"from the guest": out, "to the guest": into}


def banner(address):
    try:
        with socket.create_connection((address, 22), 1) as peer:
            peer.settimeout(10)
            return select.select([peer], [], [], 10)[0] and peer.recv(4) == b"SSH-"
    except OSError:
        return False


def create(home, *arguments):
    """Through the firmware: by hand there is no other way to a power button on arm64."""
    return home.run("create", NAME, "--os", on_target.target_os(), "--cpus", "1", "--ram", "512", "--disk", "5",
                    "--boot", "firmware", *arguments, "--timeout", f"{BOOT_SECONDS}s", timeout=BOOT_SECONDS + 60).seconds


def measure_creates(home, runs, boots):
    """The address is known when the stage `network` ends."""
    times = {"running": [], "ip": [], "ssh": []}
    for _ in range(runs):
        times["running"].append(create(home, "--wait", "running") * 1000)
        home.run("delete", NAME, "--yes", timeout=COMMAND_SECONDS)
    for boot in range(boots):
        if boot > 0:
            home.run("delete", NAME, "--yes", timeout=COMMAND_SECONDS)
        forget_leases()
        whole = create(home, "--wait", "ssh")
        stages = home.status(NAME)["stages"]
        after = sum(stage["seconds"] for stage in stages[[stage["name"] for stage in stages].index("network") + 1:])
        times["ssh"].append(whole * 1000)
        times["ip"].append((whole - after) * 1000)
    print("the stages of the last create: " + ", ".join(f"{stage['name']} {stage['seconds']:.1f} s" for stage in stages), flush=True)
    return times


def record(home):
    pid = home.status(NAME)["pid"]
    recording = Recording(pid)
    # The VM's own goes with it.
    recording.seed_copy = pathlib.Path(tempfile.mkdtemp(prefix="nxbench-")) / "recorded-seed.iso"
    shutil.copy(recording.file("seed"), recording.seed_copy)
    return recording


def measure_life(home, runs):
    """The first stop is by the button, of a guest that is up; the others find it in its firmware. By the command, and by
    the supervisor's socket, without the command's own process."""
    control = Control(pathlib.Path("/run/noxsup/control.sock"))

    def timed(method, **params):
        begin = time.perf_counter()
        control.call(method, {"name": NAME, **params})
        return (time.perf_counter() - begin) * 1000
    times = {"start": [], "force stop": [], "start, supervisor": [], "force stop, supervisor": [],
             "stop": [home.run("stop", NAME, timeout=COMMAND_SECONDS).seconds * 1000]}
    for _ in range(runs):
        times["start"].append(home.run("start", NAME, "--wait", "running", timeout=COMMAND_SECONDS).seconds * 1000)
        times["force stop"].append(home.run("stop", NAME, "--force", timeout=COMMAND_SECONDS).seconds * 1000)
        times["start, supervisor"].append(timed("vm.start", wait="running"))
        times["force stop, supervisor"].append(timed("vm.stop", force=True))
    home.run("start", NAME, "--wait", "running", timeout=COMMAND_SECONDS)
    return times


def measure_raw(recording, runs, boots):
    raw = RawQemu(recording, recording.seed_copy.parent)
    times = {key: [] for key in ("overlay", "start", "force stop", "ip", "ssh", "stop")}
    for _ in range(runs):
        times["overlay"].append(raw.make_files() * 1000)
        times["start"].append(raw.start() * 1000)
        times["force stop"].append(raw.quit() * 1000)
    for _ in range(boots):
        forget_leases()
        begin = time.perf_counter()
        raw.make_files()
        raw.start()
        address = wait_until("a lease of raw QEMU", lambda: lease_of(recording.mac), BOOT_SECONDS, 0.1)
        times["ip"].append((time.perf_counter() - begin) * 1000)
        wait_until("its banner", lambda: banner(address), BOOT_SECONDS, 0.1)
        wait_until("a login", lambda: login(address, KEY), BOOT_SECONDS, 0.1)
        times["ssh"].append((time.perf_counter() - begin) * 1000)
        times.update(measure_transfers(address, KEY, runs))
        times["stop"].append(raw.power_off() * 1000)
    return times


def measure_raw_first_boot(home, memory):
    """QEMU by hand with the vendor's firmware and seed, which nobody told to give memory back.
    @param memory what noxsup's took in the same run"""
    create(home, "--stock", "--wait", "running")
    recording = record(home)
    home.run("delete", NAME, "--yes", timeout=COMMAND_SECONDS)
    forget_leases()
    raw = RawQemu(recording, recording.seed_copy.parent, gives_back=False)
    raw.make_files()
    seconds = raw.start()
    begin = time.perf_counter()
    address = wait_until("a lease of raw QEMU", lambda: lease_of(recording.mac), BOOT_SECONDS, 0.1)
    wait_until("a login", lambda: login(address, KEY), BOOT_SECONDS, 0.1)
    used = pss_mib(raw.process.pid)
    print(f"first boot, raw QEMU through its firmware: {seconds + time.perf_counter() - begin:.1f} s, {used:.0f} MiB")
    print(f"memory of QEMU at ssh, noxsup beside that: {memory / used:.2f} (goal: 0.65)", flush=True)
    raw.quit()


def measure_supervisor(home, table, runs):
    control = Control(pathlib.Path("/run/noxsup/control.sock"))
    answers = []
    for _ in range(runs * 5):
        begin = time.perf_counter()
        control.call("vm.list", {})
        answers.append((time.perf_counter() - begin) * 1000)
    table.add("list", "noxsup, supervisor", answers)
    table.add("list", "noxsup, command", [home.run("list").seconds * 1000 for _ in range(runs)])
    print(f"PSS: supervisor {pss_mib(home.daemon_pid()):.1f} MiB with one running VM, "
          f"its QEMU {pss_mib(home.status(NAME)['pid']):.0f} MiB (guest of 512)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--boots", type=int, default=1)
    parser.add_argument("--first-boots", type=int, default=0, metavar="N", help="only that: N pairs, ten minutes each")
    parser.add_argument("--warm", type=int, default=0, metavar="N", help="only that: N VMs from a warm template")
    arguments = parser.parse_args()
    home = SystemHome()
    home.make_key()
    table = Table()
    try:
        name = on_target.target_os().replace(":", "-")
        home.run("image", "import", on_target.target_image(), "--name", f"{name}-arm64", "--os", on_target.target_os(), "--arch",
                 "arm64", timeout=BOOT_SECONDS, exit=None)
        if arguments.warm > 0:
            measure_warm(home, table, arguments.warm, "--os", on_target.target_os())
            table.print()
            return 0
        if arguments.first_boots > 0:
            memory = measure_first_boots(home, table, arguments.first_boots, "--os", on_target.target_os())
            table.print()
            measure_raw_first_boot(home, memory)
            return 0
        creates = measure_creates(home, arguments.runs, arguments.boots)
        transfers = measure_transfers(home.status(NAME)["networks"][0]["addresses"][0], KEY, arguments.runs)
        recording = record(home)
        life = measure_life(home, arguments.runs)
        measure_supervisor(home, table, arguments.runs)
        home.run("stop", NAME, "--force", timeout=COMMAND_SECONDS)
        raw = measure_raw(recording, arguments.runs, arguments.boots)
    except BaseException:
        sys.stderr.write(home.evidence())
        raise
    finally:
        home.run("delete", NAME, "--yes", exit=None, timeout=COMMAND_SECONDS)
        home.close()
    running = [overlay + start for overlay, start in zip(raw["overlay"], raw["start"])]
    for operation, floor, ours in (("create, to running", running, creates["running"]),
                                   ("create, to address", raw["ip"], creates["ip"]),
                                   ("create, to ssh", raw["ssh"], creates["ssh"]),
                                   ("start, to running", raw["start"], life["start"]),
                                   ("force stop", raw["force stop"], life["force stop"]),
                                   ("stop by the button", raw["stop"], life["stop"]),
                                   ("64 MiB from the guest", raw["from the guest"], transfers["from the guest"]),
                                   ("64 MiB to the guest", raw["to the guest"], transfers["to the guest"])):
        table.add(operation, "raw QEMU with KVM", floor)
        key = operation.split(",")[0] + ", supervisor"
        if key in life:
            goal = {"start, supervisor": "<= 1.3", "force stop, supervisor": "<= 3"}[key]
            table.add(operation, "noxsup, supervisor", life[key], "raw QEMU with KVM", goal)
        table.add(operation, "noxsup, command", ours, "raw QEMU with KVM")
    table.print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
