"""The real noxsup in front of a supervisor of canned answers: exit codes, formats, errors, prompts, Ctrl-C, console.

The environment says what is tested: NOXSUP and FAKE_SUPERVISOR (programs).
"""
import csv
import io
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

SECONDS = 60  # more than any command here takes, also under a sanitizer on a busy machine


def vm(name, state="running", **members):
    made = {"name": name, "state": state, "reason": None, "degraded": [], "os": "debian:13", "arch": "amd64", "cpus": 1,
            "memory_bytes": 512 << 20, "disk": {"virtual_bytes": 5 << 30, "used_bytes": 1 << 20}, "autostart": True,
            "accel": "kvm", "networks": [{"mode": "bridge", "bridge": "br0", "mac": "52:54:00:00:00:01",
                                          "addresses": ["10.0.0.7"], "publish": []}],
            "ssh": {"user": "nox", "host": "10.0.0.7", "port": 22}, "pid": 7,
            "stages": [{"name": "image", "seconds": 0.1}, {"name": "ssh", "seconds": 9.5}]}
    made.update(members)
    return made


def error(code, message="it failed", **members):
    return [{"error": {"code": code, "message": message, **members}}]


def result(**members):
    return [{"result": members}]


class Run:
    def __init__(self, completed):
        self.exit = completed.returncode
        self.out = completed.stdout
        self.err = completed.stderr

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        return json.loads(self.err.splitlines()[-1])["error"]


class CliTest(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="nxcli-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.home = self.root / "home"
        self.home.mkdir()
        (self.root / "user/.ssh").mkdir(parents=True)
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("NOX_", "NO_COLOR"))}
        self.environment.update({"HOME": str(self.root / "user"), "NOX_HOME": str(self.home), "LC_ALL": "C.UTF-8",
                                 "TERM": "xterm", "TMPDIR": str(self.root)})
        self.replies({})
        self.fake = None

    def replies(self, replies):
        (self.home / "replies.json").write_text(json.dumps(replies))

    def start_fake(self):
        if self.fake:
            return
        readable, writable = os.pipe()
        self.fake = subprocess.Popen([os.environ["FAKE_SUPERVISOR"], str(self.home), "--ready-fd", str(writable)],
                                     pass_fds=[writable])
        os.close(writable)
        with os.fdopen(readable) as report:
            self.assertEqual(report.read(), "READY\n")
        self.addCleanup(self.end_fake)

    def end_fake(self):
        self.fake.kill()
        self.fake.wait()

    def noxsup(self, *arguments, exit=0, stdin=None, text=True):
        self.start_fake()
        done = subprocess.run([os.environ["NOXSUP"], *arguments], env=self.environment, capture_output=True, timeout=SECONDS,
                              text=text, **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}))
        self.assertEqual(done.returncode, exit, f"{arguments}\n{done.stdout}\n{done.stderr}")
        return Run(done)

    def calls(self, method=None):
        log = self.home / "calls.jsonl"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [call for call in calls if method in (None, call["method"])]

    def program(self, name, script):
        """A stand-in for ssh or scp on the PATH."""
        directory = self.root / "bin"
        directory.mkdir(exist_ok=True)
        path = directory / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        self.environment["PATH"] = f"{directory}:{os.environ['PATH']}"

    def on_terminal(self, *arguments):
        """noxsup with a pseudo-terminal; returns the process and the terminal's other end."""
        self.start_fake()
        leader, follower = os.openpty()
        process = subprocess.Popen([os.environ["NOXSUP"], *arguments], env=self.environment, stdin=follower, stdout=follower,
                                   stderr=follower, start_new_session=True,
                                   preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0))
        self.addCleanup(self.end, process)
        self.addCleanup(os.close, leader)
        self.addCleanup(os.close, follower)
        return process, leader

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()

    def read_until(self, leader, wanted):
        heard = b""
        deadline = time.monotonic() + SECONDS
        while wanted.encode() not in heard:
            ready, _, _ = select.select([leader], [], [], max(0, deadline - time.monotonic()))
            self.assertTrue(ready, f"{wanted!r} did not come; heard {heard!r}")
            heard += os.read(leader, 65536)
        return heard.decode(errors="replace")


class Formats(CliTest):
    def test_list_in_every_form(self):
        self.replies({"vm.list": result(vms=[vm("a"), vm("b", "stopped", networks=[], ssh={})])})
        self.assertEqual(self.noxsup("list").out.splitlines()[0].split(),
                         ["NAME", "STATE", "OS", "CPUS", "RAM", "DISK", "AUTOSTART", "IP"])
        self.assertIn("10.0.0.7", self.noxsup("ls").out)
        document = self.noxsup("--format", "json", "list").json
        self.assertEqual(document["version"], 1)
        self.assertEqual(document["vms"][0], vm("a"))
        self.assertEqual(self.noxsup("list", "-q", "--format", "json").out, "a\nb\n")
        rows = list(csv.DictReader(io.StringIO(self.noxsup("list", "--format", "csv").out)))
        self.assertEqual((rows[0]["name"], rows[0]["ram"], rows[1]["ip"]), ("a", str(512 << 20), ""))
        try:
            import yaml
        except ImportError:
            return
        self.assertEqual(yaml.safe_load(self.noxsup("list", "--format", "yaml").out), document)

    def test_an_empty_list(self):
        self.replies({"vm.list": result(vms=[])})
        self.assertIn("noxsup create", self.noxsup("list").out)
        self.assertEqual(self.noxsup("list", "--format", "json").json, {"version": 1, "vms": []})
        self.assertEqual(self.noxsup("list", "-q").out, "")

    def test_hostile_text_is_escaped(self):
        self.replies({"vm.list": result(vms=[vm("a", os="\x1b[2J\x07\u009b")]),
                      "vm.status": result(vm=vm("a", os="\x1b[2J"))})
        for command in (("list",), ("status", "a")):
            out = self.noxsup(*command).out
            self.assertNotIn("\x1b", out)
            self.assertNotIn("\u009b", out)
            self.assertIn("\\x1b[2J", out)

    def test_version_help_and_completion_need_no_supervisor(self):
        for command in (("version",), ("--version",), ("help", "create"), ("--help",), ("create", "--help"), (),
                        ("completion", "bash")):
            done = subprocess.run([os.environ["NOXSUP"], *command], env=self.environment, capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, timeout=SECONDS)
            self.assertEqual((done.returncode, done.stderr), (0, ""), command)
            self.assertTrue(done.stdout)
        self.assertFalse((self.home / "run").exists())

    def test_completions_are_valid_scripts(self):
        script = self.noxsup("completion", "bash").out
        for shell, name in (("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")):
            if shutil.which(shell):
                text = self.noxsup("completion", name).out
                subprocess.run([shell, "-n"], input=text, text=True, check=True, timeout=SECONDS)
        probe = script + "\nCOMP_WORDS=(noxsup st); COMP_CWORD=1; _noxsup; echo \"${COMPREPLY[@]}\"\n"
        done = subprocess.run(["bash", "--norc"], input=probe, text=True, capture_output=True, timeout=SECONDS, check=True)
        self.assertEqual(done.stdout.split(), ["start", "stop", "status"])


class Errors(CliTest):
    def test_exit_codes_are_those_of_the_codes(self):
        table = {"invalid-name": 1, "qemu-failed": 2, "vm-not-found": 4, "already-exists": 5, "timeout": 6, "no-space": 7,
                 "host-lacks-kvm": 8, "interrupted": 130}
        for code, exit in table.items():
            with self.subTest(code):
                self.replies({"vm.status": error(code, "what failed", hint="do this", stage="disk", evidence=["their words"])})
                text = self.noxsup("status", "a", exit=exit)
                self.assertEqual(text.out, "")
                self.assertIn("error: what failed (stage disk)\n  | their words\nhint: do this\n", text.err)
                told = self.noxsup("--format", "json", "status", "a", exit=exit)
                self.assertEqual(told.out, "")
                self.assertEqual(len(told.err.splitlines()), 1)
                self.assertEqual((told.error["code"], told.error["exit"], told.error["stage"], told.error["hint"]),
                                 (code, exit, "disk", "do this"))

    def test_bad_lines_end_with_1_and_never_reach_the_supervisor(self):
        for command in (("nope",), ("create",), ("create", "Bad_Name"), ("create", "a", "--timeout", "soon"),
                        ("create", "a", "--ssh-key", "/nonexistent"), ("create", "a", "--cloud-init", "/nonexistent"),
                        ("create", "a", "--image", "/nonexistent"), ("stop",), ("wait", "a"), ("cp", "a", "b")):
            with self.subTest(command):
                done = self.noxsup("--format", "json", *command, exit=1)
                self.assertEqual((done.out, done.error["exit"]), ("", 1))
        self.assertEqual(self.calls(), [])

    def test_several_names_go_on_after_an_error(self):
        self.replies({"vm.stop": result(vm=vm("x", "stopped"), how="power-button"), "vm.stop b": error("vm-not-found", "no b")})
        done = self.noxsup("stop", "a", "b", "c", exit=4)
        self.assertEqual(len(self.calls("vm.stop")), 3)
        self.assertIn("a is stopped (by the power button)", done.out)
        self.assertIn("no b", done.err)
        told = self.noxsup("--format", "json", "stop", "a", "b", exit=4)
        self.assertEqual(told.error["vm"], "b")
        self.assertEqual(told.json["how"], {"a": "power-button"})

    def test_nobody_to_talk_to(self):
        (self.home / "run").mkdir()
        (self.home / "run/control.sock").write_text("no socket")
        self.environment["NOX_HOME"] = "/proc/nonexistent"
        done = self.noxsup("--format", "json", "list", exit=2)
        self.assertIn("error", done.err)

    def test_another_protocol_ends_with_3(self):
        import socket
        import threading
        (self.home / "run").mkdir()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.home / "run/control.sock"))
        listener.listen()

        def answer():
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b'{"jsonrpc":"2.0","id":1,"result":{"protocol":2,"pid":99}}\n')
                peer.recv(4096)
        thread = threading.Thread(target=answer)
        thread.start()
        done = subprocess.run([os.environ["NOXSUP"], "--format", "json", "list"], env=self.environment, capture_output=True,
                              text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
        thread.join()
        listener.close()
        self.assertEqual(done.returncode, 3, done.stderr)
        told = json.loads(done.stderr)["error"]
        self.assertEqual(told["code"], "protocol-mismatch")
        self.assertIn("kill 99", told["hint"])


class Lifecycle(CliTest):
    def test_create_sends_what_was_asked_for(self):
        (self.root / "user/.ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA me\n")
        (self.root / "user/.ssh/id_x-cert.pub").write_text("ssh-ed25519-cert BBBB me\n")
        key = self.root / "other.pub"
        key.write_text("ssh-rsa CCCC other\n")
        document = self.root / "user-data"
        document.write_text("#cloud-config\npackages: []\n")
        image = self.root / "disk.qcow2"
        image.write_text("the image's bytes")
        self.replies({"vm.create": [{"progress": {"stage": "disk", "done": 1, "total": 2, "unit": "bytes"}}, {"sleep": 0.2},
                                    {"ended": ["disk", 0.25]}, {"note": "slow host"}, *result(vm=vm("a"), notes=["slow host"])]})
        done = self.noxsup("create", "a", "--image", str(image), "--cpus", "2", "--ram", "1.5G", "--disk", "50%", "--ssh-key",
                           str(key), "--cloud-init", str(document), "--cloud-init", "-", "--timeout", "90s", "--no-autostart",
                           "--publish", "8080:80", "--wait", "ip", stdin="#!/bin/sh\n")
        call = self.calls("vm.create")[0]
        self.assertEqual(call["fds"], ["the image's bytes"])
        self.assertEqual(call["params"], {
            "name": "a", "image_fd": 0, "image_source": "disk.qcow2", "cpus": "2", "ram": "1.5G", "disk": "50%",
            "timeout_seconds": 90, "autostart": False,
            "publish": ["8080:80"], "wait": "ip", "allow_build": True, "ssh_keys": ["ssh-ed25519 AAAA me", "ssh-rsa CCCC other"],
            "cloud_init": [{"name": str(document), "text": "#cloud-config\npackages: []\n"},
                           {"name": "standard input", "text": "#!/bin/sh\n"}]})
        self.assertIn("a is running\n", done.out)
        self.assertIn("10.0.0.7", done.out)
        self.assertIn("noxsup ssh a", done.out)
        self.assertIn("image 0.1 s, ssh 9.5 s", done.out)
        self.assertEqual(done.err, "disk ...\ndisk 0.2 s\nslow host\n")

    def test_what_is_not_started_is_not_waited_for(self):
        self.replies({"vm.create": result(vm=vm("a", "stopped", networks=[], ssh={}))})
        done = self.noxsup("create", "a", "--no-start", "--wait", "running")
        self.assertIn("a is made\n", done.out)
        self.assertNotIn("noxsup ssh", done.out)
        params = self.calls("vm.create")[0]["params"]
        self.assertEqual((params["start"], "wait" in params), (False, False))

    def test_progress_in_every_form(self):
        self.replies({"vm.create": [{"progress": {"stage": "disk", "done": 1, "total": 2, "unit": "bytes"}}, {"sleep": 0.2},
                                    {"ended": ["disk", 0.25]}, {"note": "slow\x1b"}, *result(vm=vm("a"))]})
        self.assertEqual(self.noxsup("--format", "json", "create", "a").err, "")
        self.assertEqual(self.noxsup("-q", "create", "a").err, "")
        self.assertEqual(self.noxsup("--progress", "none", "create", "a").err, "")
        lines = [json.loads(line) for line in self.noxsup("--progress", "json", "create", "a").err.splitlines()]
        self.assertEqual([line["event"] for line in lines], ["progress", "progress", "note"])
        self.assertEqual((lines[0]["done"], lines[1]["seconds"], lines[2]["text"]), (1, 0.25, "slow\x1b"))
        process, leader = self.on_terminal("create", "a")
        heard = self.read_until(leader, "stages:")
        self.assertIn("disk 50% of 2 B", heard)
        self.assertNotIn("slow\x1b", heard)
        self.assertEqual(process.wait(SECONDS), 0)

    def test_names_and_all(self):
        self.replies({"vm.list": result(vms=[vm("a"), vm("b"), vm("c", "foreign"), vm("d", "damaged"), vm("e", "stopped")]),
                      "vm.start": result(vm=vm("x")), "vm.restart": result(vm=vm("x"), how="quit")})
        self.noxsup("start", "a", "b", "a", "--wait", "running", "--timeout", "1m")
        self.assertEqual(sorted(call["params"]["name"] for call in self.calls("vm.start")), ["a", "b"])
        self.assertEqual(self.calls("vm.start")[0]["params"]["timeout_seconds"], 60)
        self.noxsup("start", "a", "--timeout", "0", exit=1)
        self.replies({"vm.list": result(vms=[vm("a"), vm("b")]), "vm.stop": result(vm=vm("x", "stopped"), how="quit"),
                      "vm.restart": result(vm=vm("x"), how="quit")})
        self.noxsup("stop", "a", "--timeout", "0")
        self.assertEqual(self.calls("vm.stop")[0]["params"], {"name": "a", "force": False, "timeout_seconds": 0})
        self.noxsup("restart", "--all", "--force")
        self.assertEqual(sorted(call["params"]["name"] for call in self.calls("vm.restart")), ["a", "b"])
        self.assertTrue(self.calls("vm.restart")[0]["params"]["force"])

    def test_autostart(self):
        def rule(mode, order=100, delay=0):
            return result(vm=vm("x", autostart=mode != "off", autostart_mode=mode, autostart_order=order,
                                autostart_delay_seconds=delay))
        self.replies({"vm.list": result(vms=[vm("a"), vm("b")]), "vm.autostart": rule("last", 5, 30)})
        done = self.noxsup("autostart", "a", "last", "--order", "5", "--delay", "29500ms")
        self.assertEqual(self.calls("vm.autostart")[0]["params"], {"name": "a", "mode": "last", "order": 5, "delay_seconds": 30})
        self.assertEqual(done.out, "a starts with the host, order 5, then a pause of 30 s; if it ran when the host went down\n")
        self.replies({"vm.list": result(vms=[vm("a"), vm("b")]), "vm.autostart": rule("off")})
        self.assertEqual(self.noxsup("autostart", "--all", "off").out,
                         "a does not start with the host\nb does not start with the host\n")
        self.noxsup("autostart", "a", "on", "--delay", "soon", exit=1)

    def test_delete_asks_on_a_terminal_and_wants_yes_without(self):
        self.replies({"vm.delete": result()})
        self.assertIn("--yes", self.noxsup("delete", "a", exit=1).err)
        self.assertEqual(self.calls("vm.delete"), [])
        self.assertEqual(self.noxsup("delete", "a", "--yes", "-q").out, "a\n")
        deleted = json.loads(self.noxsup("--format", "json", "delete", "a", "--yes").out)
        self.assertEqual(deleted, {"version": 1, "vms": [], "done": ["a"]})
        for answer, exit, count in (("n\n", 130, 2), ("\n", 130, 2), ("maybe\ny\n", 0, 3)):
            process, leader = self.on_terminal("rm", "b")
            self.read_until(leader, "[y/N]")
            os.write(leader, answer.encode())
            self.assertEqual(process.wait(SECONDS), exit)
            self.assertEqual(len(self.calls("vm.delete")), count)

    def test_an_unreachable_vendor_is_offered_the_build_on_a_terminal(self):
        self.replies({"vm.create": error("vendor-unreachable", "cannot reach the vendor")})
        for answer, allowed in (("n\n", [False]), ("\n", [False, True])):
            before = len(self.calls("vm.create"))
            process, leader = self.on_terminal("create", "a")
            self.read_until(leader, "[Y/n]")
            os.write(leader, answer.encode())
            self.assertEqual(process.wait(SECONDS), 2)
            self.assertEqual([call["params"]["allow_build"] for call in self.calls("vm.create")[before:]], allowed)
        before = len(self.calls("vm.create"))
        process, leader = self.on_terminal("create", "a", "--yes")
        self.assertEqual(process.wait(SECONDS), 2)
        self.assertEqual([call["params"]["allow_build"] for call in self.calls("vm.create")[before:]], [True])

    def test_ctrl_c_cancels_and_waits_for_the_answer(self):
        self.replies({"vm.create": [{"sleep": 600}], "vm.stop": [{"sleep": 600}]})
        for command in (("create", "a"), ("stop", "a", "b", "c")):
            with self.subTest(command):
                before = len(self.calls())
                self.start_fake()
                process = subprocess.Popen([os.environ["NOXSUP"], "--format", "json", *command], env=self.environment, text=True,
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.addCleanup(self.end, process)
                deadline = time.monotonic() + SECONDS
                while len(self.calls()) - before < len(command) - 1 and time.monotonic() < deadline:
                    time.sleep(0.02)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=SECONDS)
                self.assertEqual((process.returncode, out), (130, ""))
                self.assertEqual(json.loads(err.splitlines()[-1])["error"]["code"], "interrupted")

    def test_a_supervisor_that_dies_in_the_middle_is_told(self):
        self.replies({"vm.create": [{"sleep": 600}]})
        self.start_fake()
        process = subprocess.Popen([os.environ["NOXSUP"], "create", "a"], env=self.environment, text=True, stderr=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL)
        self.addCleanup(self.end, process)
        while not self.calls():
            time.sleep(0.02)
        self.fake.kill()
        _, err = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 3, err)

    def test_status_wait_and_ip(self):
        self.replies({"vm.status": result(vm=vm("a")), "vm.wait": result(vm=vm("a")),
                      "vm.status u": result(vm=vm("u", networks=[{"mode": "user", "mac": "x", "addresses": ["10.0.2.15"]}],
                                                  ssh={"user": "nox", "host": "127.0.0.1", "port": 40022})),
                      "vm.status off": result(vm=vm("off", "stopped", networks=[], ssh={"host": None, "port": None}))})
        self.assertIn("nox@10.0.0.7 port 22", self.noxsup("info", "a").out)
        self.noxsup("wait", "a", "--for", "ssh", "--timeout", "5m")
        self.assertEqual(self.calls("vm.wait")[0]["params"], {"name": "a", "for": "ssh", "timeout_seconds": 300})
        self.assertEqual(self.noxsup("ip", "a").out, "10.0.0.7\n")
        self.assertEqual(self.noxsup("ip", "u").out, "127.0.0.1\n")
        self.assertIn("--for ip", self.noxsup("ip", "off", exit=5).err)


class Access(CliTest):
    def setUp(self):
        super().setUp()
        (self.root / "key").write_text("private")
        self.replies({"vm.list": result(vms=[vm("a"), vm("b")]),
                      "vm.ssh": result(user="nox", host="127.0.0.1", port=40022, host_key_alias="noxsup-1",
                                       identity_path=str(self.root / "key"), known_hosts_path=str(self.root / "known hosts")),
                      "vm.ssh gone": error("vm-not-found"), "vm.console": [{"console": "login: "}, *result()],
                      "vm.log": [{"file": "one\r\ntwo\x1b[2J\nthree"}, *result()]})

    def test_ssh_passes_words_and_the_exit_code(self):
        self.program("ssh", 'for word; do printf "%s\\n" "$word"; done; exit 37\n')
        words = self.noxsup("ssh", "a", "--", "uname", "-a", exit=37).out.splitlines()
        self.assertEqual(words[-4:], ["--", "a", "uname", "-a"])
        self.assertEqual(words[:2], ["-F", "none"])
        self.assertIn(f'UserKnownHostsFile="{self.root}/known hosts"', words)
        self.assertIn("BatchMode=yes", words)
        self.assertNotIn("-t", words)
        words = self.noxsup("exec", "a", "--", "sh", "-c", "exit 37", "", exit=37).out.splitlines()
        self.assertEqual(words[-1], "sh -c 'exit 37' ''")

    def test_our_own_failures_are_255(self):
        self.assertIn("vm-not-found", self.noxsup("--format", "json", "ssh", "gone", exit=255).err)
        self.noxsup("exec", "gone", "--", "true", exit=255)
        self.noxsup("exec", "a", exit=255)
        self.environment["PATH"] = "/nonexistent"
        self.assertIn("openssh-client", self.noxsup("ssh", "a", exit=255).err)

    def test_ssh_config(self):
        out = self.noxsup("ssh-config").out
        self.assertEqual(out.count("Host "), 2)
        self.assertIn("  HostKeyAlias noxsup-1\n", out)
        done = subprocess.run(["ssh", "-G", "-F", "/dev/stdin", "a"], input=out, text=True, capture_output=True, timeout=SECONDS)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("port 40022", done.stdout)
        self.assertIn(f"userknownhostsfile {self.root}/known hosts", done.stdout.replace('"', ""))

    def test_cp_runs_scp_with_a_configuration_that_it_removes(self):
        self.program("scp", 'cp "$2" "$HOME/config"; for word; do printf "%s\\n" "$word"; done >"$HOME/words"; exit ${RESULT:-0}\n')
        self.noxsup("cp", "-r", "-local", "a:there/x y", exit=1)
        self.noxsup("cp", "-r", "Odd:name/x", "./-local", "a:there/x y")
        words = (self.root / "user/words").read_text().splitlines()
        self.assertEqual(words[2:], ["-r", "--", "./Odd:name/x", "././-local", "a:there/x y"])
        self.assertFalse(os.path.exists(words[1]))
        self.assertIn("Host a\n", (self.root / "user/config").read_text())
        self.noxsup("cp", "a:x", "b:y")
        self.assertIn("-3", (self.root / "user/words").read_text().splitlines())
        self.environment["RESULT"] = "1"
        self.noxsup("cp", "a:x", "y", exit=2)
        self.assertEqual([path.name for path in self.root.iterdir() if path.name.startswith("noxsup-ssh")], [])

    def test_logs(self):
        self.assertEqual(self.noxsup("logs", "a", text=False).out, b"one\r\ntwo\x1b[2J\nthree")
        self.assertEqual(self.calls("vm.log")[0]["params"], {"name": "a", "log": "console"})
        self.assertEqual(self.noxsup("logs", "a", "--qemu", "-n", "2", text=False).out, b"two\x1b[2J\nthree")
        self.assertEqual(self.noxsup("logs", "a", "-n", "0").out, "")
        self.assertEqual(self.noxsup("logs", "a", "-n", "99", text=False).out, b"one\r\ntwo\x1b[2J\nthree")
        process, leader = self.on_terminal("logs", "a")
        heard = self.read_until(leader, "three")
        self.assertIn("two\\x1b[2J", heard)
        self.assertEqual(process.wait(SECONDS), 0)

    def test_logs_follow_until_ctrl_c(self):
        self.start_fake()
        process = subprocess.Popen([os.environ["NOXSUP"], "logs", "-f", "a"], env=self.environment, stdout=subprocess.PIPE,
                                   stdin=subprocess.DEVNULL)
        self.addCleanup(self.end, process)
        self.assertEqual(process.stdout.readline(), b"one\r\n")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        self.assertIn(process.wait(SECONDS), (130, -signal.SIGINT))
        process.stdout.close()

    def test_console_on_a_terminal(self):
        import termios
        process, leader = self.on_terminal("console", "a")
        before = termios.tcgetattr(leader)
        self.read_until(leader, "login: ")
        os.write(leader, b"root\r")
        self.read_until(leader, "[root\r]")  # raw: the return key is no newline, and nothing is echoed twice
        os.write(leader, b"\x03")
        self.read_until(leader, "[\x03]")  # Ctrl-C is the guest's
        os.write(leader, b"bye\x1dnot sent")
        self.assertEqual(process.wait(SECONDS), 0)
        self.assertEqual(termios.tcgetattr(leader)[3], before[3])

    def test_a_console_that_ends_puts_the_terminal_back(self):
        import termios
        for text, kill, exit in ((b"quit", None, 0), (b"x", signal.SIGTERM, -signal.SIGTERM)):
            process, leader = self.on_terminal("console", "a")
            before = termios.tcgetattr(leader)
            self.read_until(leader, "login: ")
            os.write(leader, text)
            self.read_until(leader, "[" + text.decode())
            if kill:
                process.send_signal(kill)
            self.assertEqual(process.wait(SECONDS), exit)
            self.assertEqual(termios.tcgetattr(leader)[3], before[3])

    def test_console_without_a_terminal(self):
        done = self.noxsup("console", "a", stdin="echo quit\n")
        self.assertEqual(done.out, "login: [echo quit\n]")


class Host(CliTest):
    def test_images(self):
        image = {"name": "debian-13-arm64", "os": "debian", "release": "13", "arch": "arm64", "origin": "vendor",
                 "virtual_bytes": 3 << 30, "file_bytes": 300 << 20, "used_by": ["a", "b"], "digest": "sha256:" + "0" * 64}
        self.replies({"image.list": result(images=[image]), "image.pull": result(image=image), "image.build": result(image=image),
                      "image.import": result(image=image), "image.remove": result(), "image.remove x": error("image-in-use")})
        self.assertIn("debian-13-arm64  debian:13  arm64  vendor  3 GiB", self.noxsup("image", "ls").out)
        self.assertEqual(self.noxsup("-q", "image", "ls").out, "debian-13-arm64\n")
        self.assertIn("debian-13-arm64 is here", self.noxsup("image", "pull", "debian", "--arch", "arm64").out)
        self.assertEqual(self.calls("image.pull")[0]["params"], {"os": "debian", "arch": "arm64"})
        self.noxsup("image", "build", "debian")
        path = self.root / "x.img"
        path.write_text("bytes")
        self.noxsup("image", "import", str(path), "--name", "n", "--os", "debian:12")
        call = self.calls("image.import")[0]
        self.assertEqual(call, {"method": "image.import", "fds": ["bytes"],
                                "params": {"fd": 0, "source": "x.img", "raw": False, "name": "n", "os": "debian:12"}})
        os.mkfifo(self.root / "fifo.img")
        self.noxsup("image", "import", str(self.root / "fifo.img"), exit=1)
        self.assertEqual(self.noxsup("image", "rm", "a", "x", exit=5).out, "a is removed\n")

    def test_images_that_can_be_had(self):
        entry = {"os": "alpine:3.24", "names": ["alpine:3.24", "alpine"], "arch": "arm64", "name": "alpine-3.24-arm64",
                 "title": "Alpine Linux 3.24 arm64", "url": "https://x/", "catalog": "built-in", "here": None}
        here = {**entry, "arch": "amd64", "name": "alpine-3.24-amd64", "here": {"digest": "sha256:00"}}
        self.replies({"image.available": result(images=[entry, here])})
        self.assertEqual(self.noxsup("image", "available").out.splitlines(),
                         ["OS                   ARCH   HERE  NAME               TITLE",
                          "alpine:3.24, alpine  arm64  no    alpine-3.24-arm64  Alpine Linux 3.24 arm64",
                          "alpine:3.24, alpine  amd64  yes   alpine-3.24-amd64  Alpine Linux 3.24 arm64"])
        self.assertEqual(self.noxsup("--format", "json", "image", "available").json, {"version": 1, "images": [entry, here]})
        self.assertEqual(self.noxsup("-q", "image", "available").out, "alpine-3.24-arm64\nalpine-3.24-amd64\n")

    def test_images_are_verified_and_pruned(self):
        images = [{"name": name, "digest": digest} for name, digest in (("a", "sha256:00"), ("b", "sha256:11"), ("nox", None))]
        removed = [{"file": "sha256-22.qcow2", "bytes": 1 << 20}, {"file": "a.part", "bytes": 0}]
        self.replies({"image.list": result(images=images), "image.verify": result(image=images[0]),
                      "image.verify b": error("digest-mismatch", "image b: the digest does not match"),
                      "image.prune": result(removed=removed, freed_bytes=1 << 20)})
        done = self.noxsup("--format", "json", "image", "verify", exit=2)
        self.assertEqual(done.json["verified"], [{"name": "a", "good": True}, {"name": "b", "good": False}])
        self.assertEqual(done.error["code"], "digest-mismatch")
        self.assertEqual(self.noxsup("image", "verify", "a", "a").out, "a is as it was recorded\n")
        plan = self.noxsup("image", "prune", "--dry-run").out
        self.assertEqual(plan, "sha256-22.qcow2 would be removed (1 MiB)\na.part would be removed (0 B)\n")
        self.assertEqual([call["params"] for call in self.calls("image.prune")], [{"dry_run": True}])
        self.assertIn("--yes", self.noxsup("image", "prune", exit=1).err)
        self.assertIn("sha256-22.qcow2 is removed", self.noxsup("image", "prune", "--yes").out)

    def test_doctor(self):
        checks = [{"id": "kvm", "status": "warning", "text": "no KVM", "fix": "modprobe kvm"},
                  {"id": "qemu", "status": "ok", "text": "QEMU 7.2", "fix": None}]
        self.replies({"host.doctor": result(checks=checks)})
        self.assertEqual(self.noxsup("doctor").out, "warning  no KVM\n         fix: modprobe kvm\nok       QEMU 7.2\n")
        self.assertEqual(self.noxsup("doctor", "--format", "json").json, {"version": 1, "checks": checks})
        checks[1]["status"] = "error"
        self.replies({"host.doctor": result(checks=checks)})
        self.noxsup("doctor", exit=8)

    def test_daemon_stop_guests(self):
        self.replies({"host.stop_guests": result(vms=[{"name": "b", "how": "power-button"}, {"name": "a", "how": "kill"}])})
        done = self.noxsup("daemon", "--stop-guests", "--timeout", "2m")
        self.assertEqual(self.calls("host.stop_guests")[0]["params"], {"timeout_seconds": 120})
        self.assertEqual(done.out, "b is stopped (by the power button)\na is stopped (QEMU was killed)\n")
        self.assertEqual(self.noxsup("-q", "daemon", "--stop-guests").out, "b\na\n")
        failed = {"name": "c", "error": {"code": "timeout", "message": "c has not stopped in time", "hint": ""}}
        self.replies({"host.stop_guests": result(vms=[{"name": "b", "how": "quit"}, failed])})
        done = self.noxsup("daemon", "--stop-guests", exit=6)
        self.assertIn("b is stopped", done.out)
        self.assertIn("c has not stopped in time", done.err)
        self.replies({"host.stop_guests": result(vms=[])})
        self.assertEqual(self.noxsup("daemon", "--stop-guests").out, "no VM was running\n")
        self.noxsup("daemon", "--stop-guests", "--timeout", "0", exit=1)

    def test_daemon_stop(self):
        self.noxsup("daemon", "--stop")
        self.assertEqual(self.fake.wait(SECONDS), 0)
        done = subprocess.run([os.environ["NOXSUP"], "daemon", "--stop"], env=self.environment, capture_output=True,
                              timeout=SECONDS, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 3, "what does not run is not started to be stopped")


if __name__ == "__main__":
    unittest.main()
