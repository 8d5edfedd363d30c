"""Wrong input on the command line: one clear error, the right exit code, and nothing left behind."""
import json
import os
import pathlib
import struct
import subprocess

import noxsup_e2e
from noxsup_e2e import EndToEndTest


class BadInput(EndToEndTest):
    def tree(self):
        """Every file below vms and images with its bytes, to compare before and after (empty lock files may stay)."""
        return {str(path.relative_to(self.home.path)): path.read_bytes()
                for folder in ("vms", "images") for path in (self.home.path / folder).rglob("*")
                if path.is_file() and ".locks" not in path.parts}

    def refused(self, *arguments, code, exit, stdin=None):
        """The command fails with that stable code, in JSON on stderr, and changes nothing."""
        before = self.tree()
        result = self.home.run("--format", "json", *arguments, exit=exit, stdin=stdin)
        self.assertEqual(result.out, "", result)
        error = json.loads(result.err.strip().splitlines()[-1])["error"]
        self.assertEqual((error["code"], error["exit"]), (code, exit), result)
        self.assertTrue(error["message"])
        self.assertEqual(self.tree(), before)
        plain = self.home.run(*arguments, exit=exit, stdin=stdin)
        self.assertIn(error["message"].splitlines()[0][:60], plain.err)

    def test_names(self):
        for name in ("Big", "a_b", "-a", "a-", "a.b", "a/b", "..", "é", "", "a" * 64, "a b"):
            with self.subTest(name=name):
                self.refused("create", "--", name, code="invalid-name", exit=1)
        self.refused("status", "nobody", code="vm-not-found", exit=4)

    def test_numbers(self):
        self.import_image()
        base = ("create", "vm1", "--image", "small", "--no-start")
        for cpus in ("0", "-1", "100000", "1.0", "x", "", "1e9", "0%", "101%"):
            with self.subTest(cpus=cpus):
                result = self.home.run("--format", "json", *base, f"--cpus={cpus}", exit=1)
                self.assertIn(json.loads(result.err.splitlines()[-1])["error"]["code"],
                              ("cpus-out-of-range", "invalid-size", "invalid-argument"))
        for option in ("--ram", "--disk"):
            for size in ("0", "-1", "abc", "1Q", "", "99999999999999999999", "1.2.3G", "nan"):
                with self.subTest(option=option, size=size):
                    result = self.home.run("--format", "json", *base, f"{option}={size}", exit=1)
                    self.assertIn(json.loads(result.err.splitlines()[-1])["error"]["code"],
                                  ("invalid-size", "disk-too-small", "invalid-argument"))
        self.refused(*base, "--disk", "32M", code="disk-too-small", exit=1)
        self.refused(*base, "--cpus", "1.0", code="cpus-out-of-range", exit=1)
        self.assertEqual(self.home.run("-q", "list").out, "")

    def test_what_exists_already(self):
        self.import_image()
        self.home.run("create", "vm1", "--image", "small", "--no-start")
        self.refused("create", "vm1", "--image", "small", "--no-start", code="already-exists", exit=5)
        self.refused("image", "rm", "small", code="image-in-use", exit=5)
        self.home.run("delete", "vm1", "--yes")
        self.home.run("image", "rm", "small")
        self.refused("image", "rm", "small", code="image-not-found", exit=4)

    def test_images(self):
        root = self.home.root
        (root / "text.img").write_text("<html>not found</html>\n" * 40)
        self.refused("image", "import", str(root / "text.img"), "--name", "x", code="image-invalid", exit=2)
        self.refused("image", "import", str(root / "absent"), "--name", "x", code="unreadable-file", exit=1)
        self.refused("image", "import", str(root), "--name", "x", code="unreadable-file", exit=1)
        os.mkfifo(root / "fifo")
        self.refused("image", "import", str(root / "fifo"), "--name", "x", code="unreadable-file", exit=1)
        secret = root / "secret"
        secret.write_text("secret\n" * 100)
        backed = root / "backed.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(secret), "-F", "raw", str(backed)], check=True)
        self.refused("image", "import", str(backed), "--name", "x", code="image-hostile", exit=2)
        with_data = root / "data.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={root / 'data.raw'}",
                        str(with_data), "1M"], check=True)
        self.refused("image", "import", str(with_data), "--name", "x", code="image-hostile", exit=2)
        odd = bytearray(self.disk_image(name="odd.qcow2").read_bytes())
        odd[72:80] = struct.pack(">Q", 1 << 40)  # an incompatible feature that nobody knows
        (root / "odd.qcow2").write_bytes(odd)
        self.refused("image", "import", str(root / "odd.qcow2"), "--name", "x", code="image-hostile", exit=2)
        self.refused("create", "vm1", "--image", "absent", code="image-not-found", exit=4)

    def test_options(self):
        self.import_image()
        base = ("create", "vm1", "--image", "small", "--no-start")
        self.refused(*base, "--ssh-key", str(self.home.root / "absent.pub"), code="unreadable-file", exit=1)
        self.refused(*base, "--cloud-init", str(self.home.root / "absent.yaml"), code="unreadable-file", exit=1)
        self.refused(*base, "--network", "bridge=nxe2e0", code="host-lacks-bridge", exit=8)
        self.refused(*base, "--arch", "mips", code="invalid-argument", exit=1)
        self.refused(*base, "--no-such-option", code="invalid-argument", exit=1)
        self.refused("no-such-command", code="invalid-argument", exit=1)

    def test_a_second_daemon(self):
        self.home.run("list")  # starts the first
        first = self.home.daemon_pid()
        self.assertIsNotNone(first)
        self.home.run("daemon", exit=5, timeout=30)
        self.assertEqual(self.home.daemon_pid(), first)

    def test_no_supervisor_program_of_another_home_is_needed(self):
        self.assertIn("noxsup", self.home.run("version").out)
        self.home.run("--help")
        self.assertIsNone(self.home.daemon_pid(), "neither needs a supervisor")

    def test_a_damaged_vm_is_quarantined_alone(self):
        self.import_image()
        for name in ("good", "bad"):
            self.home.run("create", name, "--image", "small", "--no-start")
        noxsup_e2e.kill(self.home.daemon_pid())
        directory = self.home.path / "vms/bad"
        for meta in directory.glob("meta.json*"):
            meta.write_text("{ \"name\": \"bad\", ")
        states = {vm["name"]: vm["state"] for vm in self.home.run("--format", "json", "list").json["vms"]}
        self.assertEqual(states, {"good": "stopped", "bad": "damaged"})
        self.refused("start", "bad", code="vm-damaged", exit=5)
        self.home.run("status", "good")

    def test_a_home_of_nox_is_a_guests_house(self):
        home = self.home.path
        theirs = home / "vms/theirs"
        theirs.mkdir(parents=True)
        meta = {"name": "theirs", "os": "debian", "cpus": 1, "ram": 512, "disk": 5, "network": "br0", "mac": "52:54:00:11:22:33",
                "created": "2024-05-01T10:00:00", "ip": "192.168.1.50"}
        (theirs / "meta.json").write_text(json.dumps(meta, indent=2))
        (home / "images").mkdir(exist_ok=True)
        image = home / "images/debian-13-arm64.qcow2"
        image.write_bytes(b"not ours\n")
        before = {path: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in (theirs / "meta.json", image)}
        states = {vm["name"]: vm["state"] for vm in self.home.run("--format", "json", "list").json["vms"]}
        self.assertEqual(states, {"theirs": "foreign"})
        for command in (("start", "theirs"), ("stop", "theirs"), ("delete", "theirs", "--yes"), ("reset", "theirs")):
            self.refused(*command, code="vm-foreign", exit=5)
        after = {path: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns) for path in before}
        self.assertEqual(after, before)
        self.assertEqual(sorted(pathlib.Path(theirs).iterdir()), [theirs / "meta.json"])


if __name__ == "__main__":
    noxsup_e2e.main()
