"""The wall clock jumps by decades: deadlines, adoption and state do not care."""
import glob
import time
import unittest

import noxsup_e2e
import tiny_guest
from tiny_guest import TinyGuestTest

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)


@unittest.skipUnless(LIBRARY, "libfaketime is not installed")
class ClockJumps(TinyGuestTest):
    """noxsup sees a wall clock of the test's own; the machine's is left alone, and so is the monotonic one."""

    def setUp(self):
        super().setUp()
        self.home.run("daemon", "--stop")
        self.clock = self.home.root / "clock"
        self.jump("+0d")
        self.home.environment.update({"LD_PRELOAD": LIBRARY, "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                                      "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"})

    def jump(self, offset):
        self.clock.write_text(offset + "\n")

    def ends_within(self, process, begin, least, most):
        """The deadlines hold within 5 %, and what a busy machine adds."""
        process.communicate(timeout=most + 30)
        seconds = time.monotonic() - begin
        self.assertGreater(seconds, least * 0.95)
        self.assertLess(seconds, most)

    def test_deadlines_and_adoption(self):
        home = self.home
        self.create("clock1")
        self.wait_ready("clock1")
        self.type_on_console("clock1", "hold\n", r"^NOXTEST: hold")
        for offset in ("-50y", "+10y"):
            begin = time.monotonic()
            waiting = home.start("wait", "clock1", "--for", "stopped", "--timeout", "4s")
            time.sleep(1)
            self.jump(offset)
            self.ends_within(waiting, begin, 4, 9)
            self.assertEqual(waiting.returncode, 6)

            # Another supervisor under the other clock: the same QEMU.
            pid = home.status("clock1")["pid"]
            noxsup_e2e.kill(home.daemon_pid())
            vm = home.status("clock1")
            self.assertEqual((vm["state"], vm["pid"]), ("running", pid))
            self.jump("+0d")

        # The clock that noxsup saw did jump.
        self.jump("+10y")
        self.create("clock2", "--no-start")
        year = int(home.status("clock2")["created_at"][:4])
        self.assertGreaterEqual(year, time.gmtime().tm_year + 9)

        begin = time.monotonic()
        stopping = home.start("stop", "clock1", "--timeout", "5s")
        time.sleep(1)
        self.jump("-50y")
        time.sleep(1)
        self.jump("+10y")
        self.ends_within(stopping, begin, 5, 5 + 10.5)
        vm = home.status("clock1")
        self.assertEqual((vm["state"], vm["reason"]), ("stopped", "user"))


if __name__ == "__main__":
    tiny_guest.main()
