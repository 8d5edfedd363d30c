"""Ten copies of a warm template with KVM on br0: each is somebody, none of them was ever seen as the template."""
import json
import os
import pathlib
import select
import socket
import threading
import time

import debian_test
import on_target
from on_target import BOOT_SECONDS, COMMAND_SECONDS, EndToEndTest, SystemHome
from noxsup_e2e import digest, pss_mib

COPIES = 10
SHAPE = ("--cpus", "1", "--ram", "512", "--disk", "5")
ALL_FRAMES = 0x0003
FIXED_ADDRESS, GATEWAY = "10.88.0.250/24", "10.88.0.1"


def memory_of_copy(pid):
    """MiB: of its own in its guest's RAM, of its own besides, and the template's RAM, which is there once for all copies."""
    ram = own = other = 0
    is_ram = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        field, value = line.split()[:2]
        if not field.endswith(":"):
            is_ram = "memfd:noxsup-template" in line or line.endswith("/ram")
        elif field == "Anonymous:" and is_ram:
            ram += int(value)
        elif field == "Pss:":
            own += 0 if is_ram else int(value)
            other += int(value) if is_ram else 0
    for descriptor in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(descriptor).startswith("/memfd:noxsup-template"):
            return ram / 1024, own / 1024, os.stat(descriptor).st_blocks / 2048
    # A file of the disk's: what of it is mapped, in equal shares.
    return ram / 1024, (own + other - ram) / 1024, 0


class Capture:
    """Every frame of every interface of this machine that holds one of the words."""

    def __init__(self, words):
        self.words = words
        self.found, self.frames = [], 0
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL_FRAMES))
        self.going = True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while self.going:
            if not select.select([self.socket], [], [], 0.2)[0]:
                continue
            frame, where = self.socket.recvfrom(65536)
            self.frames += 1
            self.found += [(where[0], word) for word in self.words if word in frame]

    def end(self):
        self.going = False
        self.thread.join()
        self.socket.close()


class Templates(EndToEndTest):
    def setUp(self):
        super().setUp()
        self.home.close()
        self.home = SystemHome()
        self.home.make_key()
        self.names = [f"copy{number}" for number in range(COPIES)]
        self.addCleanup(self.remove_all)

    def remove_all(self):
        self.home.run("delete", *self.names, "cold", "fixed", "--yes", exit=None, timeout=COMMAND_SECONDS)
        for identifier in self.home.run("-q", "template", "ls").out.split():
            self.home.run("template", "rm", identifier, exit=None)

    def ssh(self, name, command):
        return self.home.run("ssh", name, "--", command, timeout=COMMAND_SECONDS).out

    def test_ten_copies_are_ten_guests(self):
        home = self.home
        os_name = debian_test.import_image(home)
        began = time.monotonic()
        home.run("template", "create", os_name, *SHAPE, timeout=2 * BOOT_SECONDS)
        print(f"the template was made in {time.monotonic() - began:.0f} s", flush=True)
        template = home.run("--format", "json", "template", "ls").json["templates"][0]["id"]
        directory = home.path / "templates" / template
        record = json.loads((directory / "template.json").read_text())["body"]
        mac = record["spec"]["networks"][0]["mac"]
        frozen = {path: digest(path) for path in (directory / "ram", directory / "devices")}

        capture = Capture([bytes.fromhex(mac.replace(":", "")), f"template-{template}".encode()])
        self.addCleanup(capture.end)
        facts = [self.make(name, os_name) for name in self.names]
        capture.end()
        self.assertGreater(capture.frames, 10 * COPIES)
        self.assertEqual(capture.found, [])
        for kind in facts[0]:
            self.assertEqual(len({fact[kind] for fact in facts}), COPIES, f"{kind}: {[fact[kind] for fact in facts]}")
        self.assertNotIn(mac, [fact["mac"] for fact in facts])

        self.memory(os_name)
        # A guest that takes all memory it can get, and gives it back.
        self.ssh("copy0", "dd if=/dev/urandom of=/dev/shm/filled bs=1M count=150 status=none; rm /dev/shm/filled")
        self.assertEqual({path: digest(path) for path in frozen}, frozen)
        self.address_of_its_own(os_name)

    def address_of_its_own(self, os_name):
        """Its networkd has not read that before the copy has its identity."""
        made = self.home.run("create", "fixed", "--os", os_name, *SHAPE, "--ip", FIXED_ADDRESS, "--gateway", GATEWAY,
                             "--timeout", f"{BOOT_SECONDS}s", timeout=BOOT_SECONDS + 60)
        print(f"with a fixed address: {made.out.split('stages:')[1].strip()}", flush=True)
        self.assertTrue(self.home.status("fixed")["template"])
        told = self.ssh("fixed", "hostname; ip -4 -o address show scope global; ip -4 route show default")
        self.assertRegex(told, rf"^fixed\n.* inet {FIXED_ADDRESS} .*\ndefault via {GATEWAY} ")

    def make(self, name, os_name):
        began = time.monotonic()
        made = self.home.run("create", name, "--os", os_name, *SHAPE, "--timeout", f"{BOOT_SECONDS}s",
                             timeout=BOOT_SECONDS + 60)
        print(f"{name} in {time.monotonic() - began:.1f} s: {made.out.split('stages:')[1].strip()}", flush=True)
        vm = self.home.status(name)
        self.assertEqual((vm["state"], vm["accel"]), ("running", "kvm"))
        self.assertTrue(vm["template"])
        told = self.ssh(name, "hostname; cat /etc/machine-id; cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub; "
                              "cat /sys/class/net/e*/address; head -c 32 /dev/urandom | base64 -w0; echo; "
                              "cat /proc/sys/kernel/random/uuid").split("\n")
        fact = dict(zip(("name", "machine-id", "host key", "mac", "random", "uuid"), told))
        self.assertEqual((fact["name"], fact["mac"]), (name, vm["networks"][0]["mac"]))
        fact["address"] = self.home.run("ip", name).out.strip()
        self.assertIn(f"{fact['mac']} {fact['address']}", on_target.LEASES.read_text())
        return fact

    def memory(self, os_name):
        """All ten together, and one that has booted."""
        parts = [memory_of_copy(self.home.status(name)["pid"]) for name in self.names]
        copies = sum(ram + besides for ram, besides, _ in parts) + parts[0][2]
        # There is room for no eleventh.
        self.home.run("delete", *self.names[5:], "--yes", timeout=COMMAND_SECONDS)
        self.home.run("create", "cold", "--os", os_name, *SHAPE, "--cold", "--timeout", f"{BOOT_SECONDS}s",
                      timeout=BOOT_SECONDS + 60)
        cold = pss_mib(self.home.status("cold")["pid"])
        share = copies / (COPIES * cold)
        print(f"one of them: {parts[0][0]:.0f} MiB of RAM of its own, {parts[0][1]:.0f} besides; the template's RAM: "
              f"{parts[0][2]:.0f} MiB for all", flush=True)
        print(f"{COPIES} copies take {copies:.0f} MiB, one that has booted {cold:.0f} MiB: {share:.2f} of {COPIES}",
              flush=True)
        self.assertLessEqual(share, 0.3)
