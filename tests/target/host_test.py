"""The installed package in a machine with a real KVM: doctor, and the unit that serves the system's scope."""
import grp
import os
import pathlib
import stat

import on_target
from on_target import EndToEndTest, SystemHome, alive, system, unit_property, wait_until


class Host(EndToEndTest):
    def setUp(self):
        super().setUp()
        self.home = SystemHome()
        self.addCleanup(self.home.close)

    def test_doctor_says_that_kvm_is_usable(self):
        checks = {check["id"]: check for check in self.home.run("--format", "json", "doctor", exit=0).json["checks"]}
        self.assertEqual(checks["kvm"]["status"], "ok", checks["kvm"])
        self.assertEqual(checks["kvm"]["text"], "KVM runs guest code on the processor")
        self.assertEqual(checks["vgic"]["status"], "ok", checks["vgic"])
        for name in ("qemu-arm64", "firmware-arm64", "qemu-img", "ssh", "bridge"):
            self.assertEqual(checks[name]["status"], "ok", checks[name])
        text = self.home.run("doctor", exit=0).out
        self.assertRegex(text, r"(?m)^ok +KVM runs guest code on the processor$")

    def test_the_unit_serves_the_system_scope(self):
        self.assertEqual(system("systemctl", "is-active", on_target.UNIT).strip(), "active")
        self.assertEqual(unit_property("KillMode"), "process")
        runtime = os.stat("/run/noxsup")
        self.assertEqual(stat.S_IMODE(runtime.st_mode), 0o750)
        self.assertEqual(grp.getgrgid(runtime.st_gid).gr_name, "noxsup")
        # A command of root's goes to the unit, and starts no second supervisor.
        self.assertEqual(self.home.run("--format", "json", "list").json["version"], 1)
        self.assertFalse((self.home.user / ".nox").exists())
        self.assertEqual(len(supervisors()), 1)

    def test_the_unit_comes_back(self):
        before = self.home.daemon_pid()
        system("systemctl", "restart", on_target.UNIT)
        self.assertFalse(alive(before))
        wait_until("the unit serves again", lambda: self.home.run("list", exit=None).exit == 0, 60)
        self.assertNotEqual(self.home.daemon_pid(), before)


def supervisors():
    found = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"noxsup") and b"daemon" in words:
            found.append(process.name)
    return found
