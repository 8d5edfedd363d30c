"""Guests and QEMUs in trouble: what is said, with which exit code, and what is kept. And calls that are cut off."""
import json
import os
import signal
import time

import noxsup_e2e
import tiny_guest
from noxsup_e2e import alive, wait_until
from tiny_guest import BOOT_SECONDS, TinyGuestTest


def failure(result):
    return json.loads(result.err.strip().splitlines()[-1])["error"]


class TroubledGuest(TinyGuestTest):
    arch = "amd64"
    cmdline = "panic=0"

    def refused(self, *arguments, code, exit, timeout=BOOT_SECONDS):
        error = failure(self.home.run("--format", "json", *arguments, exit=exit, timeout=timeout))
        self.assertEqual((error["code"], error["exit"]), (code, exit), error)
        return error

    def interrupt(self, process, seconds=30):
        """Ctrl-C: the command ends with 130 in time; returns what it said."""
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=seconds)
        self.assertEqual(process.returncode, 130, errors)
        self.assertLess(time.monotonic() - begin, seconds)
        return errors

    def test_a_guest_that_panics_is_told_and_kept(self):
        self.create("vm1")
        self.wait_ready("vm1")
        self.type_on_console("vm1", "panic\n", r"Kernel panic - not syncing")
        error = self.refused("wait", "vm1", "--for", "ssh", code="guest-failed", exit=2)
        self.assertIn("panicked", error["message"])
        self.assertIn("console: ", "\n".join(error["evidence"]))
        self.assertIn("noxsup logs vm1", error["hint"])
        self.assertIn(self.home.state("vm1"), ("running", "paused"), "kept for inspection")
        self.home.run("reset", "vm1")
        self.wait_ready("vm1", 2)
        self.assertEqual(self.home.state("vm1"), "running")
        self.home.run("wait", "vm1", "--for", "running")

    def test_a_guest_that_says_nothing_ends_the_wait_and_is_kept(self):
        self.set_kernel("noxtest.silent quiet loglevel=0")
        error = self.refused("create", "vm1", *self.options(), "--wait", "ssh", "--timeout", "8s", code="timeout", exit=6)
        self.assertIn(error["stage"], ("kernel", "network"))
        self.assertIn("noxsup wait vm1", error["hint"])
        self.assertEqual(self.home.state("vm1"), "running")

    def test_a_qemu_that_does_not_start_is_quoted(self):
        broken = self.home.root / "no-kernel"
        broken.write_bytes(b"this is no kernel\n" * 400)
        self.set_kernel("", kernel=broken)
        error = self.refused("create", "vm1", *self.options(), code="qemu-failed", exit=2)
        self.assertEqual(error["stage"], "launch")
        self.assertIn("kernel", error["message"] + "".join(error["evidence"]))
        vm = self.home.status("vm1")
        self.assertEqual((vm["state"], vm["reason"], vm["pid"]), ("failed", "qemu-exit", None))
        self.assertEqual(self.home.processes("qemu"), [])
        self.assertIn("kernel", self.home.run("logs", "vm1", "--qemu").out)
        self.home.run("delete", "vm1", "--yes")

    def test_a_stop_right_after_the_supervisor_was_killed_presses_the_button(self):
        self.create("vm1")
        self.wait_ready("vm1")
        self.home.status("vm1")
        noxsup_e2e.kill(self.home.daemon_pid())
        stopped = self.home.run("stop", "vm1", "--timeout", "60s")
        self.assertIn("button", stopped.out + stopped.err)
        self.assertIn("power button pressed", self.home.console_log("vm1"))

    def test_a_qemu_that_hangs_is_unresponsive_and_holds_nobody_up(self):
        for name in ("vm1", "vm2"):
            self.create(name)
        pid = self.home.status("vm1")["pid"]
        os.kill(pid, signal.SIGSTOP)
        vm = self.home.status("vm1")
        self.assertEqual((vm["state"], vm["reason"]), ("unresponsive", "timeout"))
        listed = self.home.run("list")
        self.assertLess(listed.seconds, 5)
        self.assertIn("unresponsive", listed.out)
        self.assertEqual(self.home.state("vm2"), "running")
        # A new supervisor finds it as it is, and a stop ends it all the same.
        noxsup_e2e.kill(self.home.daemon_pid())
        self.assertEqual(self.home.state("vm1"), "unresponsive")
        stopped = self.home.run("stop", "vm1", "--force", timeout=60)
        self.assertRegex(stopped.out + stopped.err, r"(?i)kill")
        self.assertFalse(alive(pid))
        self.assertEqual(self.home.state("vm1"), "stopped")

    def test_ctrl_c_ends_a_create_that_waits(self):
        # With accel auto the KVM probe has run before, on another thread.
        self.home.run("daemon", "--stop")
        self.home.configure({**self.configuration(), "accel": "auto"})
        create = self.home.start("create", "vm1", *self.options(), "--wait", "ssh")
        wait_until("the guest runs", lambda: self.listed_state("vm1") == "running", BOOT_SECONDS)
        self.interrupt(create)
        self.assertEqual(self.home.state("vm1"), "running", "what runs goes on")

    def test_ctrl_c_takes_a_stop_back(self):
        self.create("vm1")
        self.wait_ready("vm1")
        self.type_on_console("vm1", "hold\n", r"^NOXTEST: hold")
        stop = self.home.start("stop", "vm1", "--timeout", "100s")
        wait_until("the guest is asked", lambda: self.listed_state("vm1") == "stopping", 30)
        self.interrupt(stop)
        self.assertEqual(self.home.state("vm1"), "running")

    def test_a_start_without_what_it_needs_leaves_the_vm_as_it_was(self):
        self.create("vm1", "--no-start")
        disk = self.home.path / "vms/vm1/disk.qcow2"
        disk.rename(disk.with_suffix(".away"))
        error = self.refused("start", "vm1", code="io-error", exit=2)
        self.assertIn("disk.qcow2", error["message"])
        self.assertEqual(self.home.state("vm1"), "stopped")
        disk.with_suffix(".away").rename(disk)
        self.home.run("start", "vm1", "--wait", "running")

    def listed_state(self, name):
        vms = self.home.run("--format", "json", "list").json["vms"]
        return next((vm["state"] for vm in vms if vm["name"] == name), None)


if __name__ == "__main__":
    tiny_guest.main()
