"""VMs that are started without being asked: after their QEMU was killed, and with the host; and stopped with it."""
import os
import pathlib
import time

import noxsup_e2e
import tiny_guest
from noxsup_e2e import alive, wait_until
from tiny_guest import BOOT_SECONDS, TinyGuestTest


def cpu_seconds(pid):
    """User and system time of a process itself; its children are QEMUs."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:13]) / os.sysconf("SC_CLK_TCK")


class Policy(TinyGuestTest):
    def running_again(self, name, before):
        """The VM's new pid, once it runs with another than `before`."""
        def found():
            vm = self.home.status(name)
            return vm["pid"] if vm["state"] == "running" and vm["pid"] != before else None
        return wait_until(f"{name} runs again", found, BOOT_SECONDS)

    def boot_the_host(self):
        """What a boot of the host is to a supervisor: the one before is gone, and the boot has another id."""
        if self.home.daemon_pid() is not None:
            self.home.run("daemon", "--stop")
            wait_until("the supervisor has ended", lambda: self.home.daemon_pid() is None, 30)
        (self.home.path / "run/boot").write_text("another boot\n")

    def test_a_killed_qemu_comes_back_until_it_is_a_loop(self):
        home = self.home
        self.create("kept", "--restart", "on-failure", "--wait", "running")
        daemon = home.daemon_pid()
        begun, used = time.monotonic(), cpu_seconds(daemon)
        pid = home.status("kept")["pid"]
        for ends in range(1, 5):
            noxsup_e2e.kill(pid)
            if ends > 1:  # the first wait is a second, which may be over before anyone looks
                waiting = wait_until("the end is seen", lambda: self.not_running(home.status("kept")), 20)
                self.assertEqual((waiting["state"], waiting["reason"]), ("failed", "killed"))
                self.assertRegex(waiting["restart_at"], r"^\d{4}-\d\d-\d\dT")
            pid = self.running_again("kept", pid)
            self.assertIsNone(home.status("kept")["restart_at"])
        self.assertEqual(home.daemon_pid(), daemon)
        noxsup_e2e.kill(pid)
        vm = wait_until("it is given up", lambda: self.given_up(home.status("kept")), 20)
        self.assertIsNone(vm["restart_at"])
        elapsed, used = time.monotonic() - begun, cpu_seconds(daemon) - used
        print(f"five ends and four starts in {elapsed:.1f} s: {used:.2f} s of the processor, {100 * used / elapsed:.1f} %")
        self.assertGreater(elapsed, 1 + 2 + 4 + 8)
        home.run("start", "kept", "--wait", "running", timeout=BOOT_SECONDS)

    @staticmethod
    def not_running(vm):
        return vm if vm["state"] not in ("running", "unresponsive", "stopping") else None

    @staticmethod
    def given_up(vm):
        return vm if (vm["state"], vm["reason"]) == ("failed", "crash-loop") else None

    def test_always_and_a_stop_in_the_back_off(self):
        home = self.home
        self.create("always", "--restart", "always", "--wait", "running")
        self.wait_ready("always")
        pid = home.status("always")["pid"]
        self.type_on_console("always", "/bin/poweroff\n", r"^NOXTEST: poweroff")
        pid = self.running_again("always", pid)
        self.wait_ready("always", 2)
        home.run("stop", "always", "--timeout", "60s")
        vm = home.status("always")
        self.assertEqual((vm["state"], vm["reason"], vm["restart_at"]), ("stopped", "user", None))

        # The supervisor is gone when its QEMU dies; the next one carries the policy out.
        home.run("start", "always", "--wait", "running", timeout=BOOT_SECONDS)
        pid = home.status("always")["pid"]
        noxsup_e2e.kill(home.daemon_pid())
        noxsup_e2e.kill(pid)
        pid = self.running_again("always", pid)

        noxsup_e2e.kill(pid)
        wait_until("the end is seen", lambda: self.not_running(home.status("always")), 20)
        home.run("stop", "always", "--force")
        time.sleep(4)  # longer than the wait that the stop has ended
        self.assertIsNone(home.status("always")["restart_at"])
        self.assertEqual(home.processes("qemu"), [])

    def test_autostart_and_the_host_s_shutdown(self):
        home = self.home
        for name in ("one", "two", "off", "last"):
            self.create(name, "--no-start")
        home.run("autostart", "one", "on", "--order", "1", "--delay", "1s")
        home.run("autostart", "off", "off")
        home.run("autostart", "last", "last", "--order", "200")
        self.assertIn("last", home.run("list").out)
        self.assertEqual(home.run("--format", "json", "status", "last").json["vms"][0]["autostart_order"], 200)
        # Every supervisor of this boot begins without starting any.
        home.run("daemon", "--stop")
        self.assertEqual(self.states(), {name: "stopped" for name in ("one", "two", "off", "last")})

        self.boot_the_host()
        self.wait_states(one="running", two="running", off="stopped", last="stopped")
        home.run("start", "last", "--wait", "running", timeout=BOOT_SECONDS)
        for name in ("one", "two", "last"):
            self.wait_ready(name)
        pids = [home.status(name)["pid"] for name in ("one", "two", "last")]
        stopped = home.run("daemon", "--stop-guests", "--timeout", "120s", timeout=150)
        self.assertEqual(stopped.out.splitlines(), [f"{name} is stopped (by the power button)" for name in ("last", "two", "one")])
        self.assertFalse([pid for pid in pids if alive(pid)])
        self.assertEqual(home.status("last")["reason"], "host-shutdown")
        self.assertEqual(home.run("daemon", "--stop-guests").out, "no VM was running\n")

        self.boot_the_host()
        self.wait_states(one="running", two="running", off="stopped", last="running")
        home.run("stop", "last", "--force")
        home.run("stop", "one", "--force")
        # A host that loses its power: nobody stops anything, and the supervisor sees no end.
        pid = home.status("two")["pid"]
        noxsup_e2e.kill(home.daemon_pid())
        noxsup_e2e.kill(pid)
        self.boot_the_host()
        self.wait_states(one="running", two="running", off="stopped", last="stopped")

    def states(self):
        return {vm["name"]: vm["state"] for vm in self.home.run("--format", "json", "list").json["vms"]}

    def wait_states(self, **wanted):
        wait_until(f"the VMs are {wanted}", lambda: self.states() == wanted, BOOT_SECONDS)


if __name__ == "__main__":
    tiny_guest.main()
