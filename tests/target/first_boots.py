"""First boots of QEMU by hand: beside noxsup's, and with one cut of noxsup's at a time."""
import json
import os
import statistics
import time

import on_target
from noxsup_e2e import pss_mib
from on_target import BOOT_SECONDS, COMMAND_SECONDS, wait_until
from raw_qemu import KEY, RawQemu, banner, forget_leases, lease_of, login, record

NAME = "recorded1"
HEADER = b"#cloud-config\n"
# What of noxsup's seed no VM can do without; a vendor's image does all else as it finds right.
USER = ("hostname", "users", "ssh_pwauth")
HOST_KEYS = ("ssh_keys", "ssh_deletekeys", "ssh_genkeytypes")
# What cloud-init's modules then leave alone.
MODULES = ("locale", "grub_dpkg", "ssh", "no_ssh_fingerprints", "package_update", "package_upgrade", "apt")


def recording_of(home, *arguments):
    """Of a VM that has just been started; it is there, stopped, until its caller deletes it."""
    home.run("create", NAME, "--os", on_target.target_os(), "--cpus", "1", "--ram", "512", "--disk", "5", *arguments, "--wait",
             "running", "--timeout", f"{BOOT_SECONDS}s", timeout=BOOT_SECONDS + 60)
    recording = record(home, NAME)
    home.run("stop", NAME, "--force", timeout=COMMAND_SECONDS)
    return recording


def delete(home):
    home.run("delete", NAME, "--yes", timeout=COMMAND_SECONDS)


def boot_to_ssh(raw):
    """With files as they are before a first boot; the seconds."""
    forget_leases()
    begin = time.perf_counter()
    raw.make_files()
    raw.start()
    address = wait_until("a lease of raw QEMU", lambda: lease_of(raw.recording.mac), BOOT_SECONDS, 0.1)
    wait_until("its banner", lambda: banner(address), BOOT_SECONDS, 0.1)
    wait_until("a login", lambda: login(address, KEY), BOOT_SECONDS, 0.1)
    return time.perf_counter() - begin


def measure_raw_first_boot(home, memory):
    """QEMU by hand with the vendor's firmware and seed, which nobody told to give memory back.
    @param memory what noxsup's took in the same run"""
    raw = RawQemu(recording_of(home, "--boot", "firmware", "--stock"), gives_back=False)
    seconds = boot_to_ssh(raw)
    used = pss_mib(raw.process.pid)
    print(f"first boot, raw QEMU through its firmware: {seconds:.1f} s, {used:.0f} MiB")
    print(f"memory of QEMU at ssh, noxsup beside that: {memory / used:.2f} (goal: 0.65)", flush=True)
    raw.quit()
    delete(home)


class UserData:
    """That of a seed, which is changed where it lies: what a text leaves of the room are line ends."""

    def __init__(self, seed):
        self.iso = seed.read_bytes()
        self.begin = self.iso.index(HEADER)
        text = self.iso[self.begin + len(HEADER):].decode("utf-8", "replace")
        self.config, length = json.JSONDecoder().raw_decode(text)
        self.room = len(HEADER) + len(text[:length].encode())

    def seed_with(self, config):
        text = HEADER + json.dumps(config).encode()
        assert len(text) <= self.room, f"{len(text)} bytes of user-data where {self.room} are"
        return self.iso[:self.begin] + text.ljust(self.room, b"\n") + self.iso[self.begin + self.room:]


def measure_cuts(home, table, rounds):
    """From a disk as the vendor made it to ssh: cloud-init in its usual place, with no cut and with one, in turn, with the
    kernel loaded by QEMU (what that saves, and the login ahead of cloud-init, measure_first_boots has)."""
    recording = recording_of(home, "--boot", "kernel")
    ours = UserData(recording.seed_copy).config
    os.unlink(recording.seed_copy)
    delete(home)
    recording = recording_of(home, "--boot", "kernel", "--stock")
    stock = UserData(recording.seed_copy)
    ways = {who: (stock.seed_with({key: ours[key] for key in USER + keys}), kernel_words)
            for who, keys, kernel_words in (("no cut", (), ""), ("data source pinned", (), "ds=nocloud"),
                                            ("host keys given", HOST_KEYS, ""), ("modules trimmed", MODULES, ""))}
    seconds = {who: [] for who in ways}
    for _ in range(rounds):
        for who, (seed, kernel_words) in ways.items():
            recording.seed_copy.write_bytes(seed)
            raw = RawQemu(recording, kernel_words=kernel_words)
            seconds[who].append(boot_to_ssh(raw))
            raw.quit()
            print(f"first boot, {who}: {seconds[who][-1]:.1f} s", flush=True)
    delete(home)
    for who, times in seconds.items():
        table.add("first boot, to ssh", who, [value * 1000 for value in times], None if who == "no cut" else "no cut")
        if who != "no cut":
            saved = [whole - value for whole, value in zip(seconds["no cut"], times)]
            print(f"{who}: saves {statistics.median(saved):.1f} s ({', '.join(f'{value:.1f}' for value in saved)})")
