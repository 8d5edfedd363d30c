"""The table of this machine: noxsup with KVM beside raw QEMU with KVM, in turn, on the same image. Ratios count.

usage: bench_target.py [--runs N] [--boots N] [--first-boots N] [--cuts N] [--warm N]      whole boots take minutes here; the rest seconds
Raw QEMU gets the very arguments that noxsup gave it, with files, sockets and a TAP of its own.
"""
import argparse
import pathlib
import socket
import subprocess
import sys
import time

import on_target
from first_boots import measure_cuts, measure_raw_first_boot
from on_target import BOOT_SECONDS, COMMAND_SECONDS, SystemHome, wait_until
from raw_qemu import KEY, SSH_OPTIONS, RawQemu, banner, forget_leases, lease_of, login, record

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
from bench import Control, Table, measure_first_boots  # noqa: E402
from noxsup_e2e import pss_mib  # noqa: E402
from warm import measure_warm  # noqa: E402

NAME = "bench1"
BRIDGE_ADDRESS = "10.88.0.1"
TRANSFER_BYTES = 64 << 20


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
    raw = RawQemu(recording)
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
    parser.add_argument("--cuts", type=int, default=0, metavar="N", help="only that: N rounds of four first boots")
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
        if arguments.cuts > 0:
            measure_cuts(home, table, arguments.cuts)
            table.print()
            return 0
        if arguments.first_boots > 0:
            memory = measure_first_boots(home, table, arguments.first_boots, "--os", on_target.target_os())
            table.print()
            measure_raw_first_boot(home, memory)
            return 0
        creates = measure_creates(home, arguments.runs, arguments.boots)
        transfers = measure_transfers(home.status(NAME)["networks"][0]["addresses"][0], KEY, arguments.runs)
        recording = record(home, NAME)
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
