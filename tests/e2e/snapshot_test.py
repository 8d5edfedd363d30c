"""Snapshots and clones with a guest that boots in seconds: live, with its memory, back again, and what is refused."""
import json
import re
import socket
import subprocess

import noxsup_e2e
from tiny_guest import TinyGuestTest
from tiny_guest_test import free_port


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

    def test_clones(self):
        home = self.home
        port = free_port(socket.SOCK_STREAM)
        self.create("source", "--publish", f"127.0.0.1:{port}:80", "--wait", "running")
        self.wait_ready("source")
        self.type_on_console("source", "mark first-state\n", "^NOXTEST: mark first-state")
        self.assertIn("noxsup stop source", home.run("clone", "source", "copy", exit=5).err)
        home.run("stop", "source", "--force")
        home.run("snapshot", "create", "source", "early")
        home.run("start", "source", "--wait", "running")
        self.wait_ready("source", 2)
        self.type_on_console("source", "mark other-state\n", "^NOXTEST: mark other-state")
        home.run("stop", "source", "--force")

        for arguments, code in ((("nobody", "copy"), 4), (("source", "source"), 5), (("source", "No"), 1),
                                (("source", "copy", "--snapshot", "nope"), 4)):
            home.run("clone", *arguments, exit=code)
        self.assertEqual([vm["name"] for vm in home.run("--format", "json", "list").json["vms"]], ["source"])

        told = home.run("clone", "source", "copy")
        self.assertIn("noxsup start copy", told.out)
        self.assertIn(f"does not publish 127.0.0.1:{port}", told.err)
        home.run("clone", "source", "again")
        home.run("clone", "source", "old", "--snapshot", "early")
        home.run("clone", "source", "whole", "--full")
        bases = {}
        for name in ("copy", "again", "old", "whole"):
            info = subprocess.run(["qemu-img", "info", "--output=json", str(home.path / "vms" / name / "disk.qcow2")],
                                  capture_output=True, text=True, check=True)
            bases[name] = json.loads(info.stdout).get("backing-filename")
            self.assertEqual(self.in_disk(name), 0, "snapshots stay with the source")
        self.assertEqual(bases["copy"], bases["again"], "what has not changed is frozen once")
        self.assertNotEqual(bases["copy"], bases["old"])
        self.assertRegex(bases["copy"], r"^\.\./\.\./images/sha256-[0-9a-f]{64}\.qcow2$")
        self.assertIsNone(bases["whole"])
        self.assertEqual([self.marked(name) for name in ("copy", "old", "whole")], ["other-state", "first-state", "other-state"])
        frozen = home.path / "vms/copy" / bases["copy"]
        self.assertEqual(frozen.stat().st_mode & 0o777, 0o444)
        home.run("image", "verify", timeout=60)

        # Each is somebody of its own.
        vms = [home.status(name) for name in ("source", "copy", "again", "old", "whole")]
        for key in (lambda vm: vm["uuid"], lambda vm: vm["networks"][0]["mac"],
                    lambda vm: (home.path / "vms" / vm["name"] / "known_hosts").read_text().split()[2],
                    lambda vm: (home.path / "vms" / vm["name"] / "meta-data").read_text()):
            self.assertEqual(len({key(vm) for vm in vms}), len(vms))
        home.run("delete", "source", "whole", "--yes")
        home.run("start", "copy", "--wait", "running")
        self.wait_ready("copy")
        self.type_on_console("copy", "marked\n", "^NOXTEST: marked other-state")
        self.assertIn("hostname copy", home.console_log("copy"))
        self.assertIn(f"mac={vms[1]['networks'][0]['mac']}", home.console_log("copy"))

        # What no VM stands on any more goes with a prune.
        home.run("delete", "again", "old", "--yes")
        home.run("image", "prune", "--yes")
        self.assertTrue(frozen.exists())
        home.run("delete", "copy", "--yes")
        home.run("image", "prune", "--yes")
        self.assertFalse(frozen.exists())


if __name__ == "__main__":
    noxsup_e2e.main()
