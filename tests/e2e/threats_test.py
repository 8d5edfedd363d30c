"""The threat table of the design, row by row: what an attacker on this host tries, and that it is refused."""
import json
import os
import pathlib
import re
import select
import socket
import stat
import subprocess
import zlib

import noxsup_e2e
from namespaces import needs_root
from noxsup_e2e import EndToEndTest, alive, start_time, wait_until

NOBODY = 65534
SECRET = "s3cret-Vx9-marker"
CONNECTIONS = 1000


def as_nobody(*command):
    return subprocess.run(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", *command],
                          capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def threads(pid):
    """Each thread's /proc status as {key: value}."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        yield {key: " ".join(value.split())
               for key, value in re.findall(r"^(\w+):[ \t]*(.*)$", (task / "status").read_text(), re.MULTILINE)}


def resident_kib(pid):
    return int(re.search(r"VmRSS:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


class Threats(EndToEndTest):
    """VMs whose disk is empty: their firmware finds nothing to boot, and their QEMU is a real one."""

    def create(self, name, *arguments, wait="running"):
        return self.home.run("create", name, "--image", "small", "--network", "user", "--ram", "64", "--wait", wait,
                             *arguments)

    def vm_path(self, name, file=""):
        return self.home.path / "vms" / name / file

    def runtime(self, name):
        """run/ID of a VM; its id is in its record."""
        record = json.loads(self.vm_path(name, "meta.json").read_text())
        return self.home.path / "run" / record["body"]["spec"]["id"]


class Guests(Threats):
    """A hostile guest that has taken its QEMU over."""

    def setUp(self):
        super().setUp()
        self.import_image()

    def test_every_thread_is_without_rights(self):
        self.create("vm1")
        vm = self.home.status("vm1")
        seen = list(threads(vm["pid"]))
        self.assertGreaterEqual(len(seen), 3)
        none = "0" * 16
        for status in seen:
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"), status)
            self.assertEqual((status["CapInh"], status["CapPrm"], status["CapEff"], status["CapAmb"]), (none,) * 4)
            if os.geteuid() == 0:
                uid = str(vm["confinement"]["uid"])
                self.assertEqual(status["CapBnd"], none)
                self.assertEqual((status["Uid"].split(), status["Gid"].split()), ([uid] * 4, [uid] * 4))
                # /dev/kvm's group and no other, and that only with KVM.
                groups = [str(os.stat("/dev/kvm").st_gid)] if vm["accel"] == "kvm" else []
                self.assertEqual(status["Groups"].split(), groups)
        command = pathlib.Path(f"/proc/{vm['pid']}/cmdline").read_bytes().decode().split("\0")
        self.assertIn("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", command)

    @needs_root
    def test_each_vm_has_a_uid_of_its_own_and_keeps_it(self):
        self.create("vm1")
        self.create("vm2", "--no-start", wait="running")
        first = self.home.status("vm1")
        self.assertIn(first["confinement"]["uid"], range(70000, 80000))
        self.home.run("start", "vm2", "--wait", "running")
        second = self.home.status("vm2")
        self.assertIn(second["confinement"]["uid"], range(70000, 80000))
        self.assertNotEqual(first["confinement"]["uid"], second["confinement"]["uid"])
        for vm in (first, second):
            self.assertEqual(os.stat(f"/proc/{vm['pid']}").st_uid, vm["confinement"]["uid"])
            # What it may write it has by descriptor; nothing in the home is its own.
            self.assertEqual(self.vm_path(vm["name"], "disk.qcow2").stat().st_uid, 0)
        # The other one's files are out of its reach, and so are its own.
        for name in ("vm1", "vm2"):
            uid = str(first["confinement"]["uid"])
            seen = subprocess.run(["setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "cat",
                                   str(self.vm_path(name, "disk.qcow2"))], capture_output=True, text=True)
            self.assertIn("Permission denied", seen.stderr)
        self.home.run("restart", "vm1", "--force", "--wait", "running")
        self.assertEqual(self.home.status("vm1")["confinement"]["uid"], first["confinement"]["uid"])

        # A new supervisor finds them all the same, and can end them.
        noxsup_e2e.kill(self.home.daemon_pid())
        adopted = wait_until("vm2 is adopted", lambda: self.running("vm2"), 30)
        self.assertEqual((adopted["pid"], start_time(adopted["pid"])), (second["pid"], start_time(second["pid"])))
        self.assertEqual(adopted["confinement"], second["confinement"])
        self.home.run("stop", "vm2", "--force")
        self.assertFalse(alive(second["pid"]))

    def running(self, name):
        vm = self.home.status(name)
        return vm if vm["state"] == "running" else None

    @needs_root
    def test_a_range_that_is_used_up_is_told(self):
        self.home.run("daemon", "--stop", exit=None)
        self.home.configure({"vm_uids": "75000-75001"})
        self.create("vm1", "--no-start")
        self.create("vm2", "--no-start")
        refused = self.home.run("--format", "json", "create", "vm3", "--image", "small", "--no-start", exit=7)
        error = json.loads(refused.err.strip().splitlines()[-1])["error"]
        self.assertIn("75000-75001", error["message"])
        self.assertIn("vm_uids", error["hint"])
        self.assertFalse(self.vm_path("vm3").exists())
        self.home.run("delete", "vm1", "--yes")
        self.create("vm3", "--no-start")

    @needs_root
    def test_a_vm_without_a_uid_gets_one_at_its_next_start(self):
        """As after an upgrade; and one whose uid has become another's gets a new one."""
        self.create("vm1")
        uid = self.home.status("vm1")["confinement"]["uid"]
        self.home.run("stop", "vm1", "--force")
        self.home.run("daemon", "--stop")
        path = self.vm_path("vm1", "meta.json")
        body = json.loads(path.read_text())["body"]
        del body["uid"]
        body["stages"] = []
        checksum = zlib.crc32(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
        path.write_text(json.dumps({"noxsup_vm": 1, "checksum": f"crc32:{checksum:08x}", "body": body}))
        self.home.run("start", "vm1", "--wait", "running")
        self.assertEqual(self.home.status("vm1")["confinement"]["uid"], uid, "its id leads to the same one")
        self.home.run("stop", "vm1", "--force")
        squatter = subprocess.Popen(["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "sleep", "300"])
        try:
            wait_until("the squatter has the uid", lambda: os.stat(f"/proc/{squatter.pid}").st_uid == uid, 10)
            self.home.run("start", "vm1", "--wait", "running")
            other = self.home.status("vm1")["confinement"]["uid"]
            self.assertNotEqual(other, uid)
            self.assertIn(other, range(70000, 80000))
        finally:
            squatter.kill()
            squatter.wait()

    def test_nothing_listens_but_published_ports_on_loopback(self):
        self.create("vm1")
        pid = self.home.status("vm1")["pid"]
        inodes = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}
        port = self.home.status("vm1")["ssh"]["port"]
        found = []
        for protocol in ("tcp", "tcp6", "udp", "udp6"):
            for line in pathlib.Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]:
                fields = line.split()
                if f"socket:[{fields[9]}]" in inodes:
                    address, number = fields[1].split(":")
                    found.append((protocol, address, int(number, 16)))
        self.assertEqual(found, [("tcp", "0100007F", port)])

    def test_what_qemu_says_is_harmless_on_a_terminal(self):
        self.create("vm1", "--no-start")
        evil = "\x1b]0;owned\x07\x1b[2Jred \x9b31m\n"
        for file in ("qemu.log", "console.log"):
            with open(self.vm_path("vm1", file), "a", encoding="latin-1") as log:
                log.write(evil)
        for which in ("--qemu", "--console"):
            leader, follower = os.openpty()
            with subprocess.Popen([noxsup_e2e.program(), "logs", "vm1", which], env=self.home.environment,
                                  stdin=subprocess.DEVNULL, stdout=follower, stderr=follower) as logs:
                os.close(follower)
                shown = b""
                while select.select([leader], [], [], 10)[0]:
                    try:
                        piece = os.read(leader, 65536)
                    except OSError:
                        break
                    if not piece:
                        break
                    shown += piece
                self.assertEqual(logs.wait(timeout=20), 0)
            os.close(leader)
            self.assertIn(b"owned", shown)
            self.assertIn(b"\\x1b", shown)
            for sign in (b"\x1b", b"\x07", b"\x9b"):
                self.assertNotIn(sign, shown)


class Neighbours(Threats):
    """Another user of this host."""

    def setUp(self):
        super().setUp()
        self.import_image()

    def test_secrets_are_in_no_place_that_others_see(self):
        document = self.home.root / "user-data"
        document.write_text(f"#cloud-config\nwrite_files:\n- path: /x\n  content: {SECRET}\n")
        created = self.home.run("--format", "json", "create", "vm1", "--image", "small", "--network", "user", "--ram", "64",
                                "--wait", "running", "--password", "--cloud-init", str(document))
        password = created.json["password"]
        document.unlink()
        for pid in [*self.home.processes(), self.home.status("vm1")["pid"]]:
            for file in ("cmdline", "environ"):
                text = pathlib.Path(f"/proc/{pid}/{file}").read_bytes()
                for secret in (SECRET, password):
                    self.assertNotIn(secret.encode(), text, f"{file} of {pid}")
        for path in self.home.path.rglob("*"):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                self.assertNotIn(password.encode(), content, f"{path}: only its hash is kept")
                if path.suffix == ".log":
                    self.assertNotIn(SECRET.encode(), content)
        private = [self.vm_path("vm1", name) for name in ("user-data", "meta-data", "network-config", "meta.json", "disk.qcow2",
                                                          "efivars.fd", "qemu.log", "console.log", "lock")]
        for path in (*private, self.home.path / "ssh/id_ed25519", self.home.path / "daemon.log"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)
        self.assertEqual(stat.S_IMODE(self.vm_path("vm1", "cloud-init.iso").stat().st_mode), 0o400)

    @needs_root
    def test_directories_and_sockets_are_closed(self):
        self.create("vm1")
        for path in (self.home.path, self.vm_path("vm1"), self.runtime("vm1")):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)
        # Even where the home itself is open, what is in it is not.
        for path in (self.home.root, self.home.path):
            path.chmod(0o755)
        for path in (self.runtime("vm1") / "qmp", self.vm_path("vm1", "disk.qcow2"), self.home.path / "run/control.sock"):
            self.assertIn("Permission denied", as_nobody("stat", str(path)).stderr)
            self.assertTrue(path.exists())
        listing = as_nobody("env", f"NOX_HOME={self.home.path}", noxsup_e2e.program(), "list")
        self.assertNotEqual(listing.returncode, 0)
        self.assertNotIn("vm1", listing.stdout)

    @needs_root
    def test_a_stranger_on_the_socket_is_refused_and_logged(self):
        self.home.run("list")
        self.open_the_socket()
        done = as_nobody("python3", "-c", "import socket,sys\ns=socket.socket(socket.AF_UNIX)\n"
                         f"s.connect({str(self.home.path / 'run/control.sock')!r})\n"
                         "s.settimeout(20)\nsys.stdout.write(s.recv(4096).decode())")
        self.assertIn("host-lacks-right", done.stdout, done.stderr)
        self.assertRegex((self.home.path / "daemon.log").read_text(), rf"uid {NOBODY} pid \d+ refused")

    def test_who_changes_something_is_logged(self):
        self.create("vm1", "--no-start")
        self.home.run("list")
        log = (self.home.path / "daemon.log").read_text()
        self.assertRegex(log, rf"vm\.create by uid {os.geteuid()} pid \d+")
        self.assertNotIn("vm.list", log)

    @needs_root
    def test_a_qemu_of_the_same_user_does_not_control_its_supervisor(self):
        """In user scope QEMU has the user's uid: the supervisor knows its own QEMUs by their process."""
        self.home.run("daemon", "--stop")
        # A user without the right to KVM.
        self.home.configure({"accel": "tcg"})
        for path in [self.home.root, *self.home.root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        self.run_through(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"])
        self.create("vm1")
        vm = self.home.status("vm1")
        self.assertIsNone(vm["confinement"]["uid"])
        self.assertEqual(os.stat(f"/proc/{vm['pid']}").st_uid, NOBODY)
        noxsup_e2e.kill(self.home.daemon_pid())
        with socket.socket(socket.AF_UNIX) as monitor:
            # One client at a time: the next supervisor has to do without the monitor.
            monitor.connect(str(self.runtime("vm1") / "qmp"))
            lines = monitor.makefile("rw")
            self.assertIn("QMP", lines.readline())
            wait_until("a supervisor is there", lambda: self.home.run("list", exit=None).exit == 0, 60)
            wait_until("it knows the VM's process", lambda: self.home.status("vm1")["pid"] == vm["pid"], 60)
            target = {"type": "unix", "data": {"path": str(self.home.path / "run/control.sock")}}
            backend = {"type": "socket", "data": {"addr": target, "server": False}}
            for command in ({"execute": "qmp_capabilities"},
                            {"execute": "chardev-add", "arguments": {"id": "x", "backend": backend}}):
                lines.write(json.dumps(command) + "\n")
                lines.flush()
                self.assertIn("return", json.loads(lines.readline()))
            wait_until("it is refused", lambda: re.search(
                rf"uid {NOBODY} pid {vm['pid']} refused", (self.home.path / "daemon.log").read_text()), 20)

    def open_the_socket(self):
        """What the modes keep out comes through, so that the next control is seen."""
        for path in (self.home.root, self.home.path, self.home.path / "run"):
            path.chmod(0o711)
        (self.home.path / "run/control.sock").chmod(0o666)

    def test_a_flood_of_connections(self):
        self.home.run("list")
        daemon = self.home.daemon_pid()
        before = resident_kib(daemon)
        held = []
        address = str(self.home.path / "run/control.sock")
        try:
            for _ in range(CONNECTIONS):
                held.append(socket.socket(socket.AF_UNIX))
                held[-1].connect(address)
            wait_until("silent connections are dropped", lambda: self.home.run("list", exit=None).exit == 0, 30)
            self.home.run("list", timeout=20)
            self.assertLess(resident_kib(daemon) - before, 8 << 10)
        finally:
            for one in held:
                one.close()
        self.assertEqual(self.home.daemon_pid(), daemon)

    @needs_root
    def test_a_flood_of_strangers(self):
        self.home.run("list")
        daemon = self.home.daemon_pid()
        before = resident_kib(daemon)
        self.open_the_socket()
        flood = subprocess.Popen(
            ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "python3", "-c",
             "import socket\nheld = []\n"
             f"for _ in range({CONNECTIONS}):\n    s = socket.socket(socket.AF_UNIX)\n"
             f"    s.connect({str(self.home.path / 'run/control.sock')!r})\n    held.append(s)\n"
             "print('there', flush=True)\ninput()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.assertEqual(flood.stdout.readline().strip(), "there")
            self.home.run("list", timeout=20)
            self.assertLess(resident_kib(daemon) - before, 8 << 10)
        finally:
            flood.communicate("\n", timeout=20)
        self.assertEqual(self.home.daemon_pid(), daemon)


class Links(Threats):
    """A link planted where the supervisor opens or makes a file leads nowhere."""

    def setUp(self):
        super().setUp()
        self.import_image()
        self.create("vm1", "--no-start")
        self.prize = self.home.root / "prize"
        self.treasury = self.home.root / "treasury"
        self.treasury.mkdir(mode=0o755)
        self.prize.write_text("untouched\n")
        self.prize.chmod(0o644)

    def plant(self, path, target):
        """The link stands where the file or directory was."""
        kept = path.with_name(path.name + ".kept")
        if path.exists():
            path.rename(kept)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.symlink_to(target)
        return kept

    def restore(self, path, kept):
        if path.is_symlink():
            path.unlink()
        if kept.exists():
            if path.exists():
                path.unlink()
            kept.rename(path)

    def test_links_are_not_followed(self):
        vm, run = self.vm_path("vm1"), self.home.path / "run"
        base = next(path for path in (self.home.path / "images").glob("sha256-*.qcow2"))
        refused = [vm / "disk.qcow2", vm / "cloud-init.iso", vm / "efivars.fd", vm / "qemu.log", vm / "console.log",
                   vm / "lock", base]
        replaced = [self.runtime("vm1") / name for name in ("qmp", "console", "agent")]
        for path in refused + replaced:
            with self.subTest(path=path.name):
                kept = self.plant(path, self.prize)
                done = self.home.run("start", "vm1", "--wait", "running", exit=None)
                if path in refused:
                    self.assertNotEqual(done.exit, 0, done)
                else:
                    self.assertEqual(done.exit, 0, done)
                    self.assertTrue(stat.S_ISSOCK(path.lstat().st_mode))
                self.home.run("stop", "vm1", "--force")
                self.restore(path, kept)
                self.assert_untouched()
        with self.subTest(path="run/ID"):
            kept = self.plant(self.runtime("vm1"), self.treasury)
            self.home.run("start", "vm1", "--wait", "running", exit=8)
            self.restore(self.runtime("vm1"), kept)
            self.assert_untouched()
        with self.subTest(path="meta.json"):
            kept = self.plant(vm / "meta.json.prev", self.prize)
            self.home.run("start", "vm1", "--wait", "running")
            self.home.run("stop", "vm1", "--force")
            self.assertFalse((vm / "meta.json.prev").is_symlink())
            self.assert_untouched()
        self.home.run("daemon", "--stop")
        for path in (run / "daemon.lock", self.home.path / "daemon.log"):
            with self.subTest(path=path.name):
                kept = self.plant(path, self.prize)
                self.assertNotEqual(self.home.run("list", exit=None).exit, 0)
                self.restore(path, kept)
                self.assert_untouched()
        with self.subTest(path="control.sock"):
            self.plant(run / "control.sock", self.prize)
            self.home.run("list")
            self.assertTrue(stat.S_ISSOCK((run / "control.sock").lstat().st_mode))
            self.assert_untouched()

    def assert_untouched(self):
        self.assertEqual(self.prize.read_text(), "untouched\n")
        self.assertEqual(stat.S_IMODE(self.prize.stat().st_mode), 0o644)
        self.assertEqual(list(self.treasury.iterdir()), [])


if __name__ == "__main__":
    noxsup_e2e.main()
