"""noxsup, its peers and the raw floor in turn, in one run: medians and ratios. Times of machines differ; ratios count.

usage: bench.py [--smoke] [--runs N] [--first-boots N] [--warm N] [--json FILE] [--plot FILE.svg]
The environment names the programs: NOXSUP (noxsup), NOXSUP_BENCH (the directory of the floor, seed and TAP programs).
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
from noxsup_e2e import HOST_ARCH, Home, SKIPPED, guest_image, program, pss_mib, wait_until  # noqa: E402
import libvirt_peer  # noqa: E402
import plot  # noqa: E402
import warm  # noqa: E402

BENCH = pathlib.Path(os.environ.get("NOXSUP_BENCH", "."))
QEMU = {"amd64": "/usr/bin/qemu-system-x86_64", "arm64": "/usr/bin/qemu-system-aarch64"}[HOST_ARCH]
CONSOLE = {"amd64": "ttyS0", "arm64": "ttyAMA0"}[HOST_ARCH]
LIST_VMS = (1, 10, 100, 1000)
SMOKE_LIST_VMS = (1, 5)
RUNNING_VMS = 20
PARALLEL = 10
IDLE_SECONDS = 185  # three heartbeats
FIRST_BOOT_SECONDS = 1800


def seconds_of(command, **options):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    return time.perf_counter() - begin


class Table:
    """Rows of operation, who, median in ms, and the ratio to a reference with its goal."""

    def __init__(self):
        self.rows = []

    def add(self, operation, who, milliseconds, reference=None, goal=None):
        values = milliseconds if isinstance(milliseconds, list) else [milliseconds]
        row = {"operation": operation, "who": who, "median_ms": statistics.median(values), "samples": len(values)}
        if reference is not None:
            row["ratio"] = row["median_ms"] / self.median(operation, reference)
            row["to"] = reference
        if goal is not None:
            row["goal"] = goal
            limit = float(goal.split()[1])
            row["missed"] = row.get("ratio", row["median_ms"]) > limit
        self.rows.append(row)

    def median(self, operation, who):
        return next(row["median_ms"] for row in self.rows if (row["operation"], row["who"]) == (operation, who))

    def print(self):
        print(f"{'operation':<24}{'who':<30}{'median':>12}{'ratio':>9}  goal")
        for row in self.rows:
            ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
            goal = row.get("goal", "") + (" (missed)" if row.get("missed") else "")
            print(f"{row['operation']:<24}{row['who']:<30}{row['median_ms']:>9.2f} ms{ratio:>9}  {goal}")


class Control:
    """The bare control socket: what a client costs without a process."""

    def __init__(self, path):
        # Long paths go through the directory, as noxsup's own client does it.
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(f"/proc/self/fd/{directory}/{path.name}")
        os.close(directory)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.calls = 0
        self.call("hello", {"protocol": 1, "client": "bench"})

    def call(self, method, params):
        self.calls += 1
        request = {"jsonrpc": "2.0", "id": self.calls, "method": method, "params": params}
        self.socket.sendall((json.dumps(request) + "\n").encode())
        while True:
            answer = json.loads(self.lines.readline())
            if answer.get("id") == self.calls:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]


def tiny_kernel():
    guest = guest_image(f"tiny-{HOST_ARCH}", only_cached=False)
    return {"kernel": str(guest / "vmlinuz"), "initrd": str(guest / "initrd.img"), "cmdline": f"console={CONSOLE} noxtest.nonet"}


def prepare(home):
    """A home with the tiny guest's image and its kernel."""
    home.configure({"kernel": {HOST_ARCH: tiny_kernel()}})
    disk = home.root / "tiny.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
    home.run("image", "import", str(disk), "--name", "tiny")


CREATE = ["--image", "tiny", "--boot", "kernel", "--cpus", "1", "--ram", "128", "--disk", "64M", "--network", "user"]


def measure_start_and_stop(home, table, runs):
    """Raw QEMU and noxsup take turns with the same argv; noxsup's own floor is a round trip of its client."""
    home.run("create", "bench", *CREATE, "--no-start")
    control = Control(home.path / "run/control.sock")
    samples = {key: [] for key in ("raw start", "raw quit", "start", "command", "stop", "stop command")}
    for _ in range(runs):
        raw = json.loads(subprocess.run([BENCH / "noxsup-bench-floor", home.path / "vms/bench", home.path / "images", QEMU, "1"],
                                        check=True, capture_output=True, text=True).stdout)
        samples["raw start"] += raw["start_ms"]
        samples["raw quit"] += raw["quit_ms"]
        begin = time.perf_counter()
        control.call("vm.start", {"name": "bench", "wait": "running"})
        samples["start"].append((time.perf_counter() - begin) * 1000)
        begin = time.perf_counter()
        control.call("vm.stop", {"name": "bench", "force": True})
        samples["stop"].append((time.perf_counter() - begin) * 1000)
        samples["command"].append(home.run("start", "bench", "--wait", "running").seconds * 1000)
        samples["stop command"].append(home.run("stop", "bench", "--force").seconds * 1000)
    table.add("start", "raw QEMU", samples["raw start"])
    table.add("start", "noxsup, supervisor", samples["start"], "raw QEMU", "<= 1.3")
    table.add("start", "noxsup, command", samples["command"], "raw QEMU")
    table.add("force stop", "raw QEMU", samples["raw quit"])
    table.add("force stop", "noxsup, supervisor", samples["stop"], "raw QEMU", "<= 3")
    table.add("force stop", "noxsup, command", samples["stop command"], "raw QEMU")
    home.run("delete", "bench", "--yes")


def measure_overlay(home, table, runs):
    base = home.root / "base.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "2G"], check=True)
    overlay = home.root / "overlay.qcow2"
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", str(overlay), "5G"]
    table.add("overlay", "qemu-img", [seconds_of(command) * 1000 for _ in range(runs)])


def measure_seed(home, table, runs):
    iso = home.root / "seed.iso"
    done = subprocess.run([BENCH / "noxsup-bench-seed", str(max(runs * 20, 20)), str(iso)], check=True,
                          capture_output=True, text=True)
    seed = json.loads(done.stdout)
    files = home.root / "seed"
    files.mkdir()
    for name in ("user-data", "meta-data", "network-config"):
        (files / name).write_text("#cloud-config\n" + "x: y\n" * 200)
    table.add("seed ISO", "noxsup, in process", seed["iso_us"] / 1000, goal="< 1 ms")
    table.add("seed documents", "noxsup, in process", seed["documents_us"] / 1000)
    peers = {
        "genisoimage": ["genisoimage", "-quiet", "-output", str(home.root / "peer.iso"), "-volid", "cidata", "-joliet",
                        "-rock", str(files)],
        "xorriso": ["xorriso", "-as", "mkisofs", "-quiet", "-o", str(home.root / "peer2.iso"), "-V", "cidata", "-J", "-r",
                    str(files)],
    }
    for name, command in peers.items():
        if shutil.which(name):
            table.add("seed ISO", name, [seconds_of(command) * 1000 for _ in range(runs)], "noxsup, in process")
    print(f"seed ISO: {iso.stat().st_size} bytes; genisoimage's "
          f"{(home.root / 'peer.iso').stat().st_size if (home.root / 'peer.iso').exists() else 'is not installed'}")


def measure_tap(table, runs):
    """A TAP on a bridge, up, against what scripts do; in a network namespace."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("TAP: not measured, for that needs root and iproute2")
        return
    namespace = f"nxbench{os.getpid()}"
    inside = ["ip", "netns", "exec", namespace]
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        subprocess.run([*inside, "ip", "link", "add", "br0", "type", "bridge"], check=True)
        subprocess.run([*inside, "ip", "link", "set", "br0", "up"], check=True)
        by_script = "ip tuntap add nxbench mode tap && ip link set nxbench master br0 up"
        times = []
        for _ in range(runs):
            # One shell in the namespace, so that entering it does not count.
            timed = f"b=$(date +%s%N); {by_script}; e=$(date +%s%N); ip link del nxbench; echo $((e - b))"
            times.append(int(subprocess.run([*inside, "sh", "-ec", timed], check=True, capture_output=True, text=True).stdout) / 1e6)
        table.add("TAP on a bridge", "ip tuntap, ip link", times)
        done = subprocess.run([*inside, BENCH / "noxsup-bench-tap", str(max(runs * 5, 10)), "br0"], capture_output=True, text=True)
        if done.returncode != 0:
            print(f"TAP: {done.stderr.strip()}")
            return
        tap = json.loads(done.stdout)
        table.add("TAP on a bridge", "noxsup, in process", tap["lease_us"] / 1000, "ip tuntap, ip link", "<= 0.2")
        table.add("TAP on a bridge", "noxsup, with its filter", tap["filtered_us"] / 1000, "ip tuntap, ip link")
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=False)


def measure_create(home, table, runs):
    """Image cached, to running; the floor is the overlay, the ISO and the start of QEMU."""
    floor = (table.median("overlay", "qemu-img") + table.median("seed ISO", "noxsup, in process")
             + table.median("start", "raw QEMU"))
    table.add("create, to running", "sum of the floors", floor)
    times = []
    for run in range(runs):
        times.append(home.run("create", f"c{run}", *CREATE, "--wait", "running").seconds * 1000)
        home.run("delete", f"c{run}", "--yes")
    table.add("create, to running", "noxsup, command", times, "sum of the floors", "<= 1.5")


def measure_libvirt(home, table, runs):
    """The tools that noxsup replaces, for the same VM."""
    reason = libvirt_peer.why_not()
    if reason:
        print(f"libvirt: left out, {reason}")
        return
    times = libvirt_peer.measure_libvirt(home.root, home.root / "tiny.qcow2", tiny_kernel(), runs)
    table.add("create, to running", "virt-install and the others", times["create"], "sum of the floors")
    table.add("start", "virsh", times["start"], "raw QEMU")
    table.add("force stop", "virsh", times["force stop"], "raw QEMU")


def make_vms(home, first, last):
    """Stopped ones; four commands at a time."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: home.run("create", f"l{number}", *CREATE, "--no-start"), range(first, last)))


def measure_list(home, table, runs, counts):
    here = 0
    for count in counts:
        make_vms(home, here, count)
        here = count
        control = Control(home.path / "run/control.sock")
        answers = []
        for _ in range(runs * 4):
            begin = time.perf_counter()
            listed = control.call("vm.list", {})
            answers.append((time.perf_counter() - begin) * 1000)
        if len(listed["vms"]) != count:
            raise RuntimeError(f"{len(listed['vms'])} VMs are listed instead of {count}")
        table.add(f"list, {count} VMs", "noxsup, supervisor", answers, goal="<= 5 ms" if count == 100 else None)
        table.add(f"list, {count} VMs", "noxsup, command", [home.run("list").seconds * 1000 for _ in range(runs)])
    if libvirt_peer.why_not() is None:
        table.add(f"list, {counts[0]} VMs", "virsh, its own VMs",
                  [libvirt_peer.milliseconds("virsh", "list", "--all") for _ in range(runs)], "noxsup, command")
    for number in range(RUNNING_VMS, here):
        home.run("delete", f"l{number}", "--yes")
    make_vms(home, here, RUNNING_VMS)


def measure_parallel_starts(home, table, runs):
    """Ten at once, by one command; the floor is as many raw ones one after the other, on all processors."""
    names = [f"l{number}" for number in range(PARALLEL)]
    times = []
    for _ in range(max(1, runs // 3)):
        times.append(home.run("start", *names, "--wait", "running", timeout=300).seconds * 1000)
        home.run("stop", *names, "--force", timeout=300)
    operation = f"{PARALLEL} starts at once"
    table.add(operation, "raw QEMU, by arithmetic", table.median("start", "raw QEMU") * PARALLEL / min(os.cpu_count(), PARALLEL))
    table.add(operation, "noxsup, command", times, "raw QEMU, by arithmetic")
    print(f"launches: {PARALLEL / statistics.median(times) * 1000:.1f} a second (goal: 18 on 2 processors)")


def measure_first_boots(home, table, pairs, *arguments):
    """From the command to ssh, and QEMU's memory then: each cut by itself and all of them, in turn. Returns that of all of
    them, MiB. The vendor's kernel gives unused memory back as well, where QEMU asks for it, as noxsup's does."""
    ways = {"as the vendor made it": ["--stock"], "its kernel loaded": ["--stock", "--boot", "kernel"],
            "login first, firmware": ["--boot", "firmware"], "noxsup": []}
    seconds = {who: [] for who in ways}
    memory = {who: [] for who in ways}
    for _ in range(pairs):
        for who, extra in ways.items():
            made = home.run("create", "first", "--cpus", "1", "--ram", "512", "--disk", "5", *arguments, *extra, "--timeout",
                            f"{FIRST_BOOT_SECONDS}s", timeout=FIRST_BOOT_SECONDS + 60)
            seconds[who].append(made.seconds * 1000)
            memory[who].append(pss_mib(home.status("first")["pid"]))
            home.run("delete", "first", "--yes", timeout=300)
            print(f"first boot, {who}: {made.seconds:.1f} s, QEMU {memory[who][-1]:.0f} MiB", flush=True)
    whole = statistics.median(memory["as the vendor made it"])
    for who in ways:
        reference = None if who == "as the vendor made it" else "as the vendor made it"
        table.add("first boot, to ssh", who, seconds[who], reference, "<= 0.6" if who == "noxsup" else None)
        used = statistics.median(memory[who])
        print(f"memory of QEMU at ssh, {who}: {used:.0f} MiB PSS, {used / whole:.2f} of the vendor's way")
    return statistics.median(memory["noxsup"])


DEBIAN = ("--os", "debian", "--network", "user")


def import_debian(home):
    home.make_key()
    home.run("image", "import", str(guest_image(f"debian-13-{HOST_ARCH}", only_cached=False)), "--name",
             f"debian-13-{HOST_ARCH}", "--os", "debian:13", "--arch", HOST_ARCH, timeout=300)


def sleeps(pid):
    """How often the threads of a process went to sleep."""
    return sum(int(line.split()[1]) for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status")
               for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt_switches"))


def watch_wake_ups(pid, seconds):
    """(wake-ups, sleeps) within that time. A heartbeat is one wake-up of the processor, though the supervisor sleeps
    some times for a moment while all its QEMUs answer: what falls into the same quarter of a second, or goes on in
    the next one, is one wake-up."""
    first = last = sleeps(pid)
    wake_ups, was_awake = 0, False
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.25)
        now = sleeps(pid)
        is_awake = now != last
        wake_ups += is_awake and not was_awake
        last, was_awake = now, is_awake
    return wake_ups, last - first


def bytes_written(pid):
    """To storage, and by write(2) to anything."""
    fields = dict(line.split(": ") for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["write_bytes"]), int(fields["wchar"])


def measure_idle(home, seconds):
    """What a supervisor costs while nobody asks for anything: memory, wake-ups, writes. A new one: that of the other
    measurements keeps what a thousand VMs took."""
    home.run("daemon", "--stop")
    wait_until("the supervisor has ended", lambda: home.daemon_pid() is None, 60)
    home.run("list")
    pid = wait_until("the supervisor runs", home.daemon_pid, 10)
    print(f"supervisor, {RUNNING_VMS} stopped VMs: {pss_mib(pid):.1f} MiB PSS (goal: 10)")
    home.run("start", "--all", "--paused", timeout=300)
    time.sleep(5)  # what a start leaves for later is done
    before = bytes_written(pid)
    wake_ups, slept = watch_wake_ups(pid, seconds)
    after = bytes_written(pid)
    print(f"supervisor, {RUNNING_VMS} running VMs (paused): {pss_mib(pid):.1f} MiB PSS (goal: 15); in {seconds} s idle "
          f"{wake_ups} wake-ups ({wake_ups * 60 / seconds:.1f} a minute, goal: 1; {slept} sleeps in them), "
          f"{after[0] - before[0]} bytes written to storage (goal: 0), {after[1] - before[1]} to sockets and logs")
    home.run("stop", "--all", "--force", timeout=300)


def measure_all(home, table, runs, idle_seconds, counts):
    prepare(home)
    measure_start_and_stop(home, table, runs)
    measure_overlay(home, table, runs)
    measure_seed(home, table, runs)
    measure_tap(table, runs)
    measure_create(home, table, runs)
    measure_libvirt(home, table, runs)
    measure_list(home, table, runs, counts)
    measure_parallel_starts(home, table, runs)
    measure_idle(home, idle_seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="run everything twice; no figure is meant")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--first-boots", type=int, default=0, metavar="N",
                        help="only that: N pairs of first boots of Debian, some minutes each")
    parser.add_argument("--warm", type=int, default=0, metavar="N",
                        help="only that: a warm template of Debian and N VMs that begin with it")
    parser.add_argument("--plot", type=pathlib.Path, help="draw the ratios there, as SVG")
    parser.add_argument("--json", type=pathlib.Path, help="write the rows there as well")
    arguments = parser.parse_args()
    runs = 2 if arguments.smoke else arguments.runs
    home = Home()
    table = Table()
    try:
        print(f"noxsup: {program()}; {HOST_ARCH}, {os.cpu_count()} CPUs, TCG; {runs} runs of each, in turn")
        if arguments.first_boots > 0 or arguments.warm > 0:
            import_debian(home)
            if arguments.first_boots > 0:
                measure_first_boots(home, table, arguments.first_boots, *DEBIAN)
            if arguments.warm > 0:
                warm.measure_warm(home, table, arguments.warm, *DEBIAN)
        else:
            measure_all(home, table, runs, 5 if arguments.smoke else IDLE_SECONDS,
                        SMOKE_LIST_VMS if arguments.smoke else LIST_VMS)
    except unittest.SkipTest as reason:
        print(f"SKIP: {reason}")
        return SKIPPED
    except BaseException:
        sys.stderr.write(home.evidence())
        raise
    finally:
        home.close()
    table.print()
    if arguments.plot:
        arguments.plot.write_text(plot.draw(table.rows, f"noxsup, {HOST_ARCH}, {os.cpu_count()} CPUs"))
    if arguments.json:
        arguments.json.write_text(json.dumps({"version": 1, "runs": runs, "rows": table.rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
