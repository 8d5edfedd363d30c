"""The life of a VM with a guest that boots in seconds: create, list, stop by button, start, reset, crash, adoption, delete."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import noxsup_e2e
import tiny_guest
from noxsup_e2e import alive, start_time, wait_until
from tiny_guest import BOOT_SECONDS, TinyGuestTest


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_ticks(pid):
    """User and system time of a process, in ticks of 10 ms."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Follower:
    """`events --follow` beside a test."""

    def __init__(self, test):
        self.path = test.home.root / "events.jsonl"
        with self.path.open("w") as output:
            self.process = subprocess.Popen([noxsup_e2e.program(), "--format", "json", "events", "--follow"], stdout=output,
                                            env=test.home.environment, stdin=subprocess.DEVNULL)
        test.addCleanup(self.process.wait)
        test.addCleanup(self.process.kill)
        self.wait("the supervisor's beginning", lambda event: event["kind"] == "supervisor")

    def heard(self):
        return [json.loads(line) for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait(self, what, wanted):
        return wait_until(f"an event: {what}", lambda: [event for event in self.heard() if wanted(event)], 60)

    def end(self):
        """Ctrl-C; returns all that was heard."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=20)
        if code != 130:
            raise AssertionError(f"events --follow ended with {code}")
        return self.heard()

    @staticmethod
    def states(events):
        return [(event["state"], event["reason"]) for event in events if event["kind"] == "state"]


class TinyGuest(TinyGuestTest):
    def test_life_of_a_vm(self):
        home = self.home
        follower = Follower(self)
        self.create("tiny1")
        self.wait_ready("tiny1")
        usage, = self.home.run("--format", "json", "top", "--once").json["vms"]
        self.assertEqual((usage["name"], usage["ram_bytes"]), ("tiny1", 128 << 20))
        self.assertTrue(0 < usage["guest_bytes"] <= 128 << 20, usage)
        self.assertEqual(usage["guest_bytes"] + usage["overhead_bytes"], usage["memory_bytes"])
        self.assertGreaterEqual(usage["cpu_percent"], 0)
        vm = home.status("tiny1")
        self.assertEqual((vm["state"], vm["reason"]), ("running", None))
        self.assertEqual((vm["arch"], vm["accel"], vm["cpus"]), (self.arch, "tcg", 1))
        self.assertEqual(vm["memory_bytes"], 128 << 20)
        self.assertEqual(vm["disk"]["virtual_bytes"], 64 << 20)
        first_pid = vm["pid"]
        self.assertTrue(alive(first_pid))

        # What the guest saw is what was asked for.
        log = home.console_log("tiny1")
        self.assertIn(f"disk vda bytes={64 << 20} ro=0", log)
        self.assertIn(f"mac={vm['networks'][0]['mac']}", log)
        self.assertIn("hostname tiny1", log)
        self.assertRegex(log, r"seed dev=\w+ label=cidata")
        for name in ("meta-data", "user-data", "network-config"):
            self.assertIn(f"seed file {name} ", log)

        listed = home.run("--format", "json", "list").json
        self.assertEqual([(item["name"], item["state"]) for item in listed["vms"]], [("tiny1", "running")])
        self.assertEqual(home.run("-q", "list").out, "tiny1\n")
        self.assertIn("tiny1", home.run("ls").out)

        stopped = home.run("stop", "tiny1", "--timeout", "60s")
        self.assertFalse(alive(first_pid), "stopped is said only when QEMU is gone")
        self.assertIn("power button pressed", home.console_log("tiny1"))
        self.assertIn("button", stopped.out + stopped.err)
        vm = home.status("tiny1")
        self.assertEqual((vm["state"], vm["pid"]), ("stopped", None))
        home.run("stop", "tiny1")  # it is what was asked for already

        home.run("start", "tiny1", "--wait", "running")
        self.wait_ready("tiny1", 2)
        second_pid = home.status("tiny1")["pid"]
        self.assertNotEqual(first_pid, second_pid)

        home.run("reset", "tiny1")
        self.wait_ready("tiny1", 3)
        self.assertEqual(home.status("tiny1")["pid"], second_pid, "a reset keeps QEMU")

        home.run("restart", "tiny1", "--wait", "running", timeout=BOOT_SECONDS)
        self.wait_ready("tiny1", 4)
        self.assertNotEqual(home.status("tiny1")["pid"], second_pid, "a restart is another QEMU")

        home.run("delete", "tiny1", "--yes")
        self.assertFalse((home.path / "vms/tiny1").exists())
        self.assertEqual(home.run("--format", "json", "list").json["vms"], [])
        home.run("status", "tiny1", exit=4)
        home.run("delete", "tiny1", "--yes", exit=4)
        self.assertEqual(home.processes("qemu"), [])

        follower.wait("the VM is deleted", lambda event: event["kind"] == "deleted")
        events = follower.end()
        up = [("starting", None), ("running", None)]
        down = [("stopping", "user"), ("stopped", "user")]
        self.assertEqual(follower.states(events),
                         [("creating", None), ("stopped", "user"), *up, *down, *up, *down, *up, *down])
        self.assertEqual([event["seq"] for event in events], list(range(1, len(events) + 1)), "none is missing")
        self.assertEqual({(event["vm"], event["uuid"]) for event in events[1:]}, {("tiny1", vm["uuid"])})
        said = {event["event"] for event in events if event["kind"] == "qmp"}
        self.assertLessEqual({"RESUME", "POWERDOWN", "SHUTDOWN", "RESET"}, said)
        shutdown = next(event for event in events if event["event"] == "SHUTDOWN")
        self.assertEqual((shutdown["state"], shutdown["data"]["reason"]), ("stopping", "guest-shutdown"))
        # Who comes later gets the same.
        kept = home.run("--format", "json", "events", "tiny1").out
        self.assertEqual([json.loads(line) for line in kept.splitlines()], events[1:])
        self.assertIn("stopped: user (was stopping)", home.run("events", "tiny1").out)

    def test_qemu_that_is_killed_is_told(self):
        home = self.home
        self.create("tiny2")
        self.wait_ready("tiny2")
        noxsup_e2e.kill(home.status("tiny2")["pid"])
        vm = wait_until("the death of QEMU is seen", lambda: self.gone(home.status("tiny2")), 10)
        self.assertEqual((vm["state"], vm["reason"]), ("failed", "killed"))
        last = home.run("--format", "json", "events", "-n", "1").json
        self.assertEqual((last["state"], last["reason"], last["previous"]), ("failed", "killed", "running"))
        home.run("start", "tiny2", "--wait", "running")
        self.wait_ready("tiny2", 2)
        self.assertEqual(home.state("tiny2"), "running")

    @staticmethod
    def gone(vm):
        return vm if vm["state"] not in ("running", "unresponsive", "stopping") else None

    def test_a_new_supervisor_adopts_what_runs(self):
        home = self.home
        self.create("tiny3")
        self.wait_ready("tiny3")
        pid = home.status("tiny3")["pid"]
        started = start_time(pid)
        daemon = home.daemon_pid()
        self.assertIsNotNone(daemon)
        follower = Follower(self)
        noxsup_e2e.kill(daemon)
        self.assertTrue(alive(pid), "QEMU outlives its supervisor")

        vm = wait_until("the VM is adopted", lambda: self.running(home.status("tiny3")), 30)
        self.assertEqual((vm["pid"], start_time(vm["pid"])), (pid, started))
        self.assertNotEqual(home.daemon_pid(), daemon)
        self.assertEqual(len(home.processes("qemu")), 1)

        home.run("stop", "tiny3", "--timeout", "60s")
        self.assertFalse(alive(pid))
        self.assertIn("power button pressed", home.console_log("tiny3"))
        follower.wait("the VM is stopped", lambda event: event["state"] == "stopped" and event["previous"] == "stopping")
        events = follower.end()
        began = [index for index, event in enumerate(events) if event["kind"] == "supervisor"]
        self.assertEqual(len(began), 2, "it goes on with the next supervisor")
        self.assertEqual(follower.states(events[began[1]:]), [("stopping", "user"), ("stopped", "user")])

    @staticmethod
    def running(vm):
        return vm if vm["state"] == "running" else None

    def test_a_guest_stands_still_and_goes_on(self):
        home = self.home
        self.create("tiny6", "--no-start")
        home.run("pause", "tiny6", exit=5)
        home.run("start", "tiny6", "--paused")
        vm = home.status("tiny6")
        self.assertEqual((vm["state"], vm["reason"], home.console_log("tiny6")), ("paused", "user", ""))
        home.run("start", "tiny6", "--paused")  # it is what was asked for already
        home.run("start", "tiny6", "--paused", "--wait", "ssh", exit=1)

        # Whoever supervises it: nobody lets it go on but its user.
        noxsup_e2e.kill(home.daemon_pid())
        vm = home.status("tiny6")
        self.assertEqual((vm["state"], vm["reason"], vm["degraded"]), ("paused", "user", []))
        home.run("resume", "tiny6")
        self.wait_ready("tiny6")
        self.assertEqual(home.state("tiny6"), "running")
        home.run("start", "tiny6", "--paused", exit=5)

        home.run("pause", "--all")
        before = (cpu_ticks(vm["pid"]), len(home.console_log("tiny6")))
        self.assertEqual(home.run("wait", "tiny6", "--for", "running", "--timeout", "2s", exit=5).out, "")
        self.assertLess(cpu_ticks(vm["pid"]) - before[0], 20, "vCPUs that stand still take no time")
        self.assertEqual(len(home.console_log("tiny6")), before[1])
        self.assertIn("goes on", home.run("resume", "--all").out)
        self.type_on_console("tiny6", "echo still-$((40+2))\n", r"^still-42")
        home.run("pause", "tiny6")
        self.assertIn("power button", home.run("stop", "tiny6", "--timeout", "60s").out)
        home.run("resume", "tiny6", exit=5)

    def test_a_qemu_that_hangs_is_told_and_its_return_noticed(self):
        home = self.home
        self.create("hung")
        self.create("well")
        pid = home.status("hung")["pid"]
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(noxsup_e2e.kill, pid)
        vm = home.status("hung")
        self.assertEqual((vm["state"], vm["reason"], vm["pid"]), ("unresponsive", "timeout", pid))
        self.assertLess(home.run("list").seconds, 1)
        home.run("pause", "well")
        home.run("pause", "hung", exit=5)
        os.kill(pid, signal.SIGCONT)

        def listed():
            return {vm["name"]: vm["state"] for vm in home.run("--format", "json", "list").json["vms"]}
        wait_until("it is listed as running, though nobody asked for it", lambda: listed() == {"hung": "running", "well": "paused"}, 10)
        home.run("stop", "hung", "well", "--force")

    def test_a_guest_is_suspended_to_disk_and_goes_on(self):
        home = self.home
        self.create("tiny9")
        self.wait_ready("tiny9")
        self.type_on_console("tiny9", "kept=41\n", r"kept=41")
        home.run("suspend", "tiny9")
        vm = home.status("tiny9")
        self.assertEqual((vm["state"], vm["reason"], vm["pid"]), ("suspended", "user", None))
        self.assertEqual(home.processes("qemu"), [])
        saved = home.path / "vms/tiny9/ram-state"
        self.assertEqual(saved.stat().st_mode & 0o777, 0o600)
        home.run("suspend", "tiny9")  # it is what was asked for already
        home.run("pause", "tiny9", exit=5)

        # Another supervisor knows it, another machine is refused, and nothing is lost by it.
        home.run("daemon", "--stop")
        home.run("set", "tiny9", "ram=160M")
        told = home.run("start", "tiny9", "--wait", "running", exit=5)
        self.assertIn("memory 134217728", told.err)
        self.assertIn("--cold", told.err)
        home.run("set", "tiny9", "ram=128M")
        home.run("start", "tiny9", "--wait", "running")
        self.assertFalse(saved.exists(), "a guest that runs has left what was saved behind")
        self.type_on_console("tiny9", "echo kept-$((kept+1))\n", r"^kept-42")
        self.assertEqual(len(re.findall("^NOXTEST: ready", home.console_log("tiny9"), re.MULTILINE)), 1, "it did not boot")

        home.run("suspend", "--all")
        home.run("start", "tiny9", "--paused")
        self.assertTrue(saved.exists())
        noxsup_e2e.kill(home.status("tiny9")["pid"])
        wait_until("a QEMU that had not run is gone", lambda: home.state("tiny9") == "suspended", 10)
        home.run("start", "tiny9", "--cold", "--wait", "running")
        self.wait_ready("tiny9", 2)
        self.assertFalse(saved.exists())
        home.run("stop", "tiny9", "--force")

    def test_another_name_and_other_settings(self):
        home = self.home
        self.create("tiny7")
        home.run("rename", "tiny7", "tiny8", exit=5)
        told = home.run("set", "tiny7", "cpus=2", "ram=160M")
        self.assertIn("after noxsup restart tiny7", told.out)
        vm = home.status("tiny7")
        self.assertEqual((vm["cpus"], vm["memory_bytes"], vm["degraded"]), (2, 160 << 20, ["restart-needed: cpus, ram"]))
        for wrong in ("cpus=0", "ram=1", "colour=red", "cpus", "restart=perhaps"):
            home.run("set", "tiny7", wrong, exit=1)
        home.run("set", "tiny7", "ram=64M", "cpus=many", exit=1)
        self.assertEqual(home.status("tiny7")["memory_bytes"], 160 << 20, "all or nothing")
        self.assertEqual(home.run("set", "tiny7", "restart=on-failure").out, "tiny7 is changed; its QEMU has it after noxsup restart tiny7\n")
        home.run("restart", "tiny7", "--force", "--wait", "running")
        vm = home.status("tiny7")
        self.assertEqual((vm["degraded"], vm["restart"]), ([], "on-failure"))
        self.assertIn(b"160M", pathlib.Path(f"/proc/{vm['pid']}/cmdline").read_bytes())

        home.run("stop", "tiny7", "--force")
        self.create("taken", "--no-start")
        home.run("rename", "tiny7", "taken", exit=5)
        home.run("rename", "tiny7", "No", exit=1)
        home.run("rename", "tiny7", "tiny8")
        home.run("status", "tiny7", exit=4)
        self.assertFalse((home.path / "vms/tiny7").exists())
        self.assertTrue((home.path / "vms/tiny8/tiny8.qcow2").samefile(home.path / "vms/tiny8/disk.qcow2"))
        home.run("start", "tiny8", "--wait", "running")
        noxsup_e2e.kill(home.daemon_pid())
        self.assertEqual(home.state("tiny8"), "running")
        home.run("delete", "tiny8", "taken", "--yes")

    def test_a_guest_that_powers_off_and_one_that_ignores_the_button(self):
        home = self.home
        self.create("tiny4")
        self.wait_ready("tiny4")
        self.type_on_console("tiny4", "hold\n", r"^NOXTEST: hold")
        pid = home.status("tiny4")["pid"]
        stopped = home.run("stop", "tiny4", "--timeout", "3s", timeout=60)
        self.assertFalse(alive(pid))
        self.assertIn("power button ignored", home.console_log("tiny4"))
        self.assertLess(stopped.seconds, 3 + 10.5 + 5)

        home.run("start", "tiny4", "--wait", "running")
        self.wait_ready("tiny4", 2)
        self.type_on_console("tiny4", "/bin/poweroff\n", r"^NOXTEST: poweroff")
        home.run("wait", "tiny4", "--for", "stopped", "--timeout", "60s")
        vm = home.status("tiny4")
        self.assertEqual((vm["state"], vm["reason"]), ("stopped", "guest-shutdown"))
        self.assertIn("NOXTEST: ready", home.run("logs", "tiny4", "--console").out)

    def test_published_ports_reach_the_guest(self):
        home = self.home
        tcp, udp = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM)
        self.create("tiny5", "--publish", f"127.0.0.1:{tcp}:22", "--publish", f"127.0.0.1:{udp}:7/udp", "--wait", "running")
        self.wait_ready("tiny5")
        with socket.create_connection(("127.0.0.1", tcp), timeout=60) as peer:
            self.assertEqual(peer.makefile("rb").readline(), b"SSH-2.0-noxtest\r\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, self.assertRaises(OSError):
            other.bind(("127.0.0.1", udp))
        rules = [(rule["host_port"], rule["guest_port"], rule["protocol"])
                 for rule in home.status("tiny5")["networks"][0]["publish"]]
        self.assertEqual(rules, [(tcp, 22, "tcp"), (udp, 7, "udp")])
        home.run("delete", "tiny5", "--yes")

    def test_several_at_once(self):
        home = self.home
        for name in ("many1", "many2", "many3"):
            self.create(name, "--no-start")
            self.assertEqual(home.state(name), "stopped")
        home.run("start", "many1", "many2", "many3", "--wait", "running", timeout=BOOT_SECONDS)
        states = {vm["name"]: vm["state"] for vm in home.run("--format", "json", "list").json["vms"]}
        self.assertEqual(states, {"many1": "running", "many2": "running", "many3": "running"})
        self.assertEqual(len(home.processes("qemu")), 3)
        home.run("stop", "--all", "--force", timeout=60)
        self.assertEqual(home.processes("qemu"), [])
        home.run("delete", "--all", "--yes")
        self.assertEqual(sorted(path.name for path in (home.path / "vms").glob("*")), [])


if __name__ == "__main__":
    tiny_guest.main()
