"""The tiny guest under KVM in a user's scope: to its last line, in a VLAN and on a macvtap, with this machine's interrupt controller."""
import os
import pathlib
import re
import socket
import subprocess

import on_target
from on_target import BOOT_SECONDS, EndToEndTest, alive, system, wait_until


class Ear:
    """Every frame that comes in on a device."""

    def __init__(self, device):
        every_protocol = 0x0003
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(every_protocol))
        self.socket.bind((device, every_protocol))
        self.socket.setblocking(False)

    def hears(self, mac):
        """Whether a frame from this address is among those that have come since the last call."""
        source = bytes.fromhex(mac.replace(":", ""))
        found = False
        while True:
            try:
                found = self.socket.recv(2048)[6:12] == source or found
            except BlockingIOError:
                return found


class Tiny(EndToEndTest):
    def setUp(self):
        super().setUp()
        guest = pathlib.Path(os.environ["NOXSUP_TARGET_TINY"])
        self.home.configure({"accel": "kvm", "kernel": {"arm64": {
            "kernel": str(guest / "vmlinuz"), "initrd": str(guest / "initrd.img"), "cmdline": "console=ttyAMA0 panic=5"}}})
        disk = self.home.root / "tiny.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
        self.home.run("image", "import", str(disk), "--name", "tiny", "--arch", "arm64")

    def test_it_boots_under_kvm_and_ends_by_its_button(self):
        home = self.home
        home.run("create", "tiny1", "--image", "tiny", "--boot", "kernel", "--cpus", "2", "--ram", "192", "--disk", "64M",
                 "--wait", "running", timeout=BOOT_SECONDS)
        home.wait_console("tiny1", r"^NOXTEST: ready", BOOT_SECONDS)
        vm = home.status("tiny1")
        self.assertEqual((vm["state"], vm["accel"]), ("running", "kvm"))
        self.assertEqual(vm["networks"][0]["mode"], "bridge")
        self.assertRegex(home.console_log("tiny1"), r"ip=10\.88\.0\.1\d\d")
        states = {(status["Seccomp"], status["NoNewPrivs"]) for status in on_target.threads(vm["pid"])}
        self.assertEqual(states, {("2", "1")})
        stopped = home.run("stop", "tiny1", "--timeout", "60s", timeout=120)
        self.assertFalse(alive(vm["pid"]))
        self.assertIn("button", stopped.out + stopped.err)
        home.run("delete", "tiny1", "--yes")

    def create_on(self, network):
        """A guest whose only card is there; it asks for an address while it boots. Returns the card's MAC address."""
        self.home.run("create", "tiny2", "--image", "tiny", "--boot", "kernel", "--cpus", "1", "--ram", "192", "--disk", "64M",
                      "--network", network, "--wait", "running", timeout=BOOT_SECONDS)
        return self.home.status("tiny2")["networks"][0]["mac"]

    def add_link(self, name, *words):
        system("ip", "link", "add", name, *words)
        self.addCleanup(system, "ip", "link", "delete", name)

    def test_a_card_is_in_its_vlan_alone(self):
        self.add_link("nxvlan", "up", "type", "bridge", "vlan_filtering", "1")
        ears = {}
        for vlan in ("20", "30"):
            self.add_link(f"nxp{vlan}", "up", "master", "nxvlan", "type", "veth", "peer", f"nxe{vlan}")
            system("ip", "link", "set", f"nxe{vlan}", "up")
            system("bridge", "vlan", "delete", "dev", f"nxp{vlan}", "vid", "1")
            system("bridge", "vlan", "add", "dev", f"nxp{vlan}", "vid", vlan, "pvid", "untagged")
            ears[vlan] = Ear(f"nxe{vlan}")
            self.addCleanup(ears[vlan].socket.close)
        mac = self.create_on("bridge=nxvlan,vlan=20")
        wait_until("the port of VLAN 20 hears the guest", lambda: ears["20"].hears(mac), BOOT_SECONDS)
        self.home.wait_console("tiny2", r"^NOXTEST: ready", BOOT_SECONDS)
        self.assertFalse(ears["30"].hears(mac))
        self.home.run("delete", "tiny2", "--yes", timeout=120)

    def test_a_macvtap_is_there_for_as_long_as_the_vm_runs(self):
        self.add_link("nxwire", "up", "type", "veth", "peer", "nxear")
        system("ip", "link", "set", "nxear", "up")
        ear = Ear("nxear")
        self.addCleanup(ear.socket.close)
        mac = self.create_on("nxwire")
        wait_until("the wire hears the guest", lambda: ear.hears(mac), BOOT_SECONDS)
        self.assertIn(mac, system("ip", "link", "show", "type", "macvtap"))
        self.home.run("delete", "tiny2", "--yes", timeout=120)
        self.assertEqual(system("ip", "link", "show", "type", "macvtap"), "")

    def test_the_interrupt_controller_is_the_one_asked_for(self):
        """NOXSUP_TARGET_GIC says what the machine was booted with."""
        wanted = os.environ.get("NOXSUP_TARGET_GIC", "3")
        self.assertRegex(pathlib.Path("/proc/interrupts").read_text(), rf"(?m)GICv{wanted}\b")
        checks = {check["id"]: check for check in self.home.run("--format", "json", "doctor").json["checks"]}
        self.assertEqual((checks["kvm"]["status"], checks["vgic"]["status"]), ("ok", "ok"), checks)
        self.assertEqual(re.search(r"GICv(\d)", checks["vgic"]["text"]).group(1), wanted)
