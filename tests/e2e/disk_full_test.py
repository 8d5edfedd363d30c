"""A host's disk that is full: the guest stands still and goes on, the state stays readable, nothing is lost."""
import pathlib
import subprocess

import noxsup_e2e
import tiny_guest
from namespaces import MountNamespace, needs_root
from noxsup_e2e import wait_until
from tiny_guest import TinyGuestTest

MIB = 1 << 20


@needs_root
class FullDisk(TinyGuestTest):
    """The directory of the VMs is a small file system of the test's own."""

    def setUp(self):
        super().setUp()
        self.home.run("daemon", "--stop")
        self.namespace = MountNamespace()
        self.addCleanup(self.namespace.close)
        self.addCleanup(self.home.close)
        vms = self.home.path / "vms"
        self.namespace.run("mount", "-t", "tmpfs", "-o", "size=320m,mode=0700", "tmpfs", str(vms))
        self.run_through(self.namespace.prefix)
        # What this process reads of the home it reads where it is mounted.
        self.home.path = pathlib.Path(f"/proc/{self.namespace.keeper.pid}/root{self.home.path}")
        self.filler = self.home.path / "vms/.filler"

    def fill(self, leave):
        """Takes all space but `leave` bytes."""
        with self.filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                file.truncate(max(0, file.tell() - leave))

    def check_disk(self, name):
        disk = self.home.root / "home/vms" / name / "disk.qcow2"
        subprocess.run([*self.namespace.prefix, "qemu-img", "check", "-q", str(disk)], check=True)

    def reason(self, name):
        vm = self.home.status(name)
        return vm["state"], vm["reason"]

    def test_a_guest_whose_write_finds_no_space_goes_on_later(self):
        home = self.home
        self.create("full1")
        self.wait_ready("full1")
        self.fill(8 * MIB)
        self.type_on_console("full1", "dd if=/dev/zero of=/dev/vda bs=1M count=40 conv=fsync; echo written-$?\n", "dd if=")
        wait_until("the guest stands still for want of space", lambda: self.reason("full1") == ("paused", "no-space"), 60)
        listed = home.run("--format", "json", "list").json["vms"][0]
        self.assertEqual((listed["state"], listed["reason"]), ("paused", "no-space"))
        told = home.run("resume", "full1", exit=7)
        self.assertIn("free some space", told.err)
        self.assertEqual(self.reason("full1"), ("paused", "no-space"))

        # A new supervisor learns the reason from QEMU: the record could not be written.
        noxsup_e2e.kill(home.daemon_pid())
        self.assertEqual(self.reason("full1"), ("paused", "no-space"))
        self.filler.unlink()
        home.run("resume", "full1")
        home.wait_console("full1", "^written-0", 60)
        self.assertEqual(self.reason("full1"), ("running", None))
        home.run("stop", "full1", "--timeout", "60s")
        self.check_disk("full1")

    def test_a_supervisor_on_a_full_disk_does_its_work(self):
        home = self.home
        self.create("full2")
        self.wait_ready("full2")
        self.fill(0)
        home.run("suspend", "full2", exit=7)
        self.assertEqual(self.reason("full2"), ("running", None))
        self.assertFalse((home.path / "vms/full2/ram-state").exists())
        # A record takes the space of the one before the last.
        home.run("set", "full2", "ram=96M")
        self.assertEqual(home.status("full2")["memory_bytes"], 96 * MIB)
        home.run("set", "full2", "ram=128M")
        home.run("create", "full3", *self.options(), exit=7)
        self.assertEqual([vm["name"] for vm in home.run("--format", "json", "list").json["vms"]], ["full2"])
        home.run("pause", "full2")
        noxsup_e2e.kill(home.daemon_pid())
        self.assertEqual(self.reason("full2"), ("paused", "user"))
        home.run("resume", "full2")
        home.run("stop", "full2", "--timeout", "60s")
        self.assertEqual(self.reason("full2"), ("stopped", "user"))

        # The state of before, readable; and all is well once there is space.
        home.run("daemon", "--stop")
        self.assertEqual(home.state("full2"), "stopped")
        self.filler.unlink()
        home.run("start", "full2", "--wait", "running")
        self.wait_ready("full2", 2)
        self.assertEqual(home.status("full2")["degraded"], [])
        home.run("stop", "full2", "--force")
        self.check_disk("full2")


if __name__ == "__main__":
    tiny_guest.main()
