"""Promises P12 and P13: start and stop leave nothing behind, however often; and stop always ends."""
import os
import signal
import unittest

from promises import LONG, Bridge, Clock, PromiseTest, can_make_bridge, length, noxsup_e2e


class NoLeaks(PromiseTest):
    def files(self):
        """Every file of the home with what holds still: names, and sizes of what does not grow by nature."""
        grows = {"daemon.log", "console.log", "qemu.log", "meta.json", "meta.json.prev"}
        found = {}
        for path in sorted(self.home.path.rglob("*")):
            name = str(path.relative_to(self.home.path))
            found[name] = None if path.name in grows or not path.is_file() else path.stat().st_size
        return found

    def cycle(self, names):
        self.home.run("start", "--wait", "running", *names)
        self.home.run("stop", "--force", *names)

    def test_cycles_of_start_and_stop(self):
        names = ["user"]
        bridge = None
        self.create("user")
        if can_make_bridge():
            bridge = Bridge()
            self.addCleanup(bridge.close)
            self.home.run("daemon", "--stop")
            self.run_through(bridge.prefix)
            self.create("bridged", network="bridge")
            names.append("bridged")
        for _ in range(5):  # until all that is made once is made
            self.cycle(names)
        files, descriptors, resident = self.files(), self.descriptors(), self.resident_bytes()
        cycles = length(100, 1000)
        clock = Clock()
        for _ in range(cycles):
            self.cycle(names)
        self.settled_descriptors(descriptors, f"descriptors after {cycles} cycles")
        self.assertEqual(self.files(), files)
        self.assertEqual(self.leftovers(self.listed()), [])
        self.assertEqual(self.zombies(), [])
        self.assertEqual(self.qemus(), {})
        if bridge:
            self.assertEqual((bridge.taps(), bridge.filtered()), ([], []))
        growth = self.resident_bytes() - resident
        print(f"{cycles} cycles of {len(names)} VMs in {clock.seconds:.0f} s: the supervisor grew by {growth >> 10} KiB")
        if LONG:
            self.assertLess(growth, 1 << 20)


class StopEnds(PromiseTest):
    """The idle guest has its interrupts off: no button reaches it."""

    def setUp(self):
        super().setUp()
        self.create("deaf")

    def test_of_a_guest_that_ignores_the_button(self):
        self.home.run("start", "deaf", "--wait", "running")
        clock = Clock()
        stopped = self.home.run("stop", "deaf", "--timeout", "3s")
        print(f"stop --timeout 3s took {clock.seconds:.1f} s")
        self.assertLess(clock.seconds, 3 + 10.5)
        self.assertGreaterEqual(clock.seconds, 3)
        self.assertIn("quit", stopped.out)
        self.assertEqual(self.qemus(), {})

    def test_of_a_qemu_that_hangs(self):
        self.home.run("start", "deaf", "--wait", "running")
        pid = self.home.status("deaf")["pid"]
        os.kill(pid, signal.SIGSTOP)
        clock = Clock()
        stopped = self.home.run("stop", "deaf", "--timeout", "3s")
        print(f"stop --timeout 3s of a QEMU that hangs took {clock.seconds:.1f} s")
        self.assertLess(clock.seconds, 3 + 15.5)
        self.assertIn("killed", stopped.out)
        self.assertEqual(self.qemus(), {})
        self.assertEqual(self.home.state("deaf"), "stopped")

    def test_of_twenty_at_once(self):
        if not LONG:
            raise unittest.SkipTest("20 guests that ignore the button are stopped in the long run")
        names = ["deaf", *(f"deaf{number}" for number in range(19))]
        for name in names[1:]:
            self.create(name)
        self.home.run("start", "--wait", "running", *names, timeout=300)
        clock = Clock()
        self.home.run("stop", "--all", "--timeout", "3s", timeout=120)
        print(f"stop --all of 20 such guests took {clock.seconds:.1f} s")
        self.assertLess(clock.seconds, 3 + 15.5)
        self.assertEqual(self.qemus(), {})


if __name__ == "__main__":
    noxsup_e2e.main()
