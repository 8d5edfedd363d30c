"""The life of a VM with a guest that boots in seconds: create, list, stop by button, start, reset, crash, adoption, delete."""
import socket

import noxsup_e2e
import tiny_guest
from noxsup_e2e import alive, start_time, wait_until
from tiny_guest import BOOT_SECONDS, TinyGuestTest


def free_port(kind):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TinyGuest(TinyGuestTest):
    def test_life_of_a_vm(self):
        home = self.home
        self.create("tiny1")
        self.wait_ready("tiny1")
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

    def test_qemu_that_is_killed_is_told(self):
        home = self.home
        self.create("tiny2")
        self.wait_ready("tiny2")
        noxsup_e2e.kill(home.status("tiny2")["pid"])
        vm = wait_until("the death of QEMU is seen", lambda: self.gone(home.status("tiny2")), 10)
        self.assertEqual((vm["state"], vm["reason"]), ("failed", "killed"))
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
        noxsup_e2e.kill(daemon)
        self.assertTrue(alive(pid), "QEMU outlives its supervisor")

        vm = wait_until("the VM is adopted", lambda: self.running(home.status("tiny3")), 30)
        self.assertEqual((vm["pid"], start_time(vm["pid"])), (pid, started))
        self.assertNotEqual(home.daemon_pid(), daemon)
        self.assertEqual(len(home.processes("qemu")), 1)

        home.run("stop", "tiny3", "--timeout", "60s")
        self.assertFalse(alive(pid))
        self.assertIn("power button pressed", home.console_log("tiny3"))

    @staticmethod
    def running(vm):
        return vm if vm["state"] == "running" else None

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
