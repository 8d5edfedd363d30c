"""Snapshots with a guest that boots in seconds: live, with its memory, back again, and what is refused."""
import json
import re
import subprocess

import noxsup_e2e
from tiny_guest import TinyGuestTest


class Snapshots(TinyGuestTest):
    arch = "amd64"

    def listed(self, *names):
        return self.home.run("--format", "json", "snapshot", "ls", *names).json["snapshots"]

    def boots(self, name):
        return len(re.findall("^NOXTEST: ready", self.home.console_log(name), re.MULTILINE))

    def in_disk(self, name):
        """What the disk's own table says, which nobody has open now."""
        disk = self.home.path / "vms" / name / "disk.qcow2"
        check = subprocess.run(["qemu-img", "check", str(disk)], capture_output=True, text=True)
        self.assertIn("No errors were found", check.stdout + check.stderr)
        info = subprocess.run(["qemu-img", "info", "--output=json", str(disk)], capture_output=True, text=True, check=True)
        return len(json.loads(info.stdout).get("snapshots", []))

    def marked(self, name):
        """What `mark` wrote in the guest; nobody has the disk open now."""
        disk, raw = self.home.path / "vms" / name / "disk.qcow2", self.home.root / "raw"
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(disk), str(raw)], check=True, capture_output=True)
        with raw.open("rb") as file:
            file.seek(63 << 20)
            return file.readline().decode(errors="replace").strip()

    def test_there_and_back(self):
        home = self.home
        self.create("tiny")
        self.wait_ready("tiny")
        self.type_on_console("tiny", "kept=41\n", r"kept=41")
        self.type_on_console("tiny", "mark first-state\n", "^NOXTEST: mark first-state")

        # With its memory; it goes on at once.
        told = home.run("snapshot", "create", "tiny", "awake", "--ram", "--comment", "a b")
        self.assertIn("with the guest's memory", told.out)
        self.assertEqual(home.state("tiny"), "running")
        self.type_on_console("tiny", "kept=1; mark other-state\n", "^NOXTEST: mark other-state")
        # The disk alone, of a guest without an agent: said, and the guest runs on.
        told = home.run("snapshot", "create", "tiny")
        self.assertIn("qemu-guest-agent", told.err)
        self.type_on_console("tiny", "echo alive-$((40+2))\n", r"^alive-42")

        snapshots = self.listed("tiny")
        self.assertEqual([(s["vm"], s["name"], s["state"], s["ram"], s["consistency"], s["comment"]) for s in snapshots],
                         [("tiny", "awake", "running", True, "ram", "a b"), ("tiny", "snap1", "running", False, "crash", None)])
        self.assertEqual(home.run("-q", "snapshot", "ls").out, "awake\nsnap1\n")
        self.assertRegex(home.run("snapshot", "ls").out, r"tiny +awake +\S+ +running +yes +\S+ \S+ +a b")

        # What is refused, and with which code.
        self.assertIn("noxsup stop tiny", home.run("snapshot", "restore", "tiny", "awake", exit=5).err)
        home.run("snapshot", "restore", "tiny", "nope", exit=4)
        home.run("snapshot", "restore", "tiny", "nope", "--force", exit=4)
        home.run("snapshot", "rm", "tiny", "nope", exit=4)
        home.run("snapshot", "create", "tiny", "awake", exit=5)
        home.run("snapshot", "create", "tiny", "a/b", exit=1)
        home.run("snapshot", "ls", "nobody", exit=4)
        self.assertEqual(home.state("tiny"), "running", "nothing of this stopped it")

        # Back, with another supervisor, and it is as it was: memory and disk.
        noxsup_e2e.kill(home.daemon_pid())
        told = home.run("snapshot", "restore", "tiny", "awake", "--force")
        self.assertIn("goes on with noxsup start tiny", told.out)
        self.assertEqual(home.state("tiny"), "suspended")
        home.run("start", "tiny", "--wait", "running")
        self.type_on_console("tiny", "echo kept-$((kept+1))\n", r"^kept-42")
        self.type_on_console("tiny", "marked\n", "^NOXTEST: marked first-state")
        self.assertEqual(self.boots("tiny"), 1, "it did not boot")

        # Stopped: the disk alone comes back, and the memory once more after it.
        home.run("stop", "tiny", "--force")
        home.run("snapshot", "restore", "tiny", "snap1")
        self.assertEqual(home.state("tiny"), "stopped")
        self.assertEqual(self.marked("tiny"), "other-state")
        self.assertEqual(self.in_disk("tiny"), 2)
        home.run("set", "tiny", "ram=160M")
        home.run("snapshot", "restore", "tiny", "awake")
        vm = home.status("tiny")
        self.assertEqual((vm["state"], vm["memory_bytes"]), ("suspended", 128 << 20), "RAM and CPUs belong to it")

        home.run("snapshot", "rm", "tiny", "awake", "snap1")
        self.assertEqual(self.listed(), [])
        self.assertEqual(self.in_disk("tiny"), 0)
        self.assertEqual(list((home.path / "vms/tiny/snapshots").iterdir()), [])
        home.run("delete", "tiny", "--yes")


if __name__ == "__main__":
    noxsup_e2e.main()
