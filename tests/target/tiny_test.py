"""The tiny guest under KVM in a user's scope: to its last line, with the interrupt controller that this machine has."""
import os
import pathlib
import re
import subprocess

import on_target
from on_target import BOOT_SECONDS, EndToEndTest, alive


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

    def test_the_interrupt_controller_is_the_one_asked_for(self):
        """NOXSUP_TARGET_GIC says what the machine was booted with."""
        wanted = os.environ.get("NOXSUP_TARGET_GIC", "3")
        self.assertRegex(pathlib.Path("/proc/interrupts").read_text(), rf"(?m)GICv{wanted}\b")
        checks = {check["id"]: check for check in self.home.run("--format", "json", "doctor").json["checks"]}
        self.assertEqual((checks["kvm"]["status"], checks["vgic"]["status"]), ("ok", "ok"), checks)
        self.assertEqual(re.search(r"GICv(\d)", checks["vgic"]["text"]).group(1), wanted)
