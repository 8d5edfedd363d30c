"""The supervisor under a service manager: what it tells it by the protocol of sd_notify(3), and what it does not."""
import os
import signal
import socket
import subprocess

import noxsup_e2e
from noxsup_e2e import EndToEndTest

SECONDS = 30
WATCHDOG_SECONDS = 180  # of noxsup.service


class ServiceManager(EndToEndTest):
    def setUp(self):
        super().setUp()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.listener.close)
        path = self.home.root / "notify"
        self.listener.bind(str(path))
        self.home.environment["NOTIFY_SOCKET"] = str(path)

    def next_message(self, seconds=SECONDS):
        self.listener.settimeout(seconds)
        return self.listener.recv(4096).decode()

    def serve(self):
        daemon = subprocess.Popen([noxsup_e2e.program(), "daemon"], env=self.home.environment, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        return daemon

    def test_ready_when_it_serves_and_stopping_when_it_ends(self):
        daemon = self.serve()
        self.assertEqual(self.next_message(), "READY=1")
        self.assertEqual(self.home.daemon_pid(), daemon.pid)
        self.home.run("list")
        daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.next_message(), "STOPPING=1")
        self.assertEqual(daemon.wait(SECONDS), 0)

    def test_one_that_a_command_starts_tells_that_command_s_service_nothing(self):
        self.home.run("list")
        self.home.run("daemon", "--stop")
        with self.assertRaises(TimeoutError):
            self.next_message(1)

    def test_a_sign_of_life_comes_in_time(self):
        if not os.environ.get("NOXSUP_LONG"):
            self.skipTest("it comes once a minute: NOXSUP_LONG=1")
        self.serve()
        self.assertEqual(self.next_message(), "READY=1")
        for _ in range(2):
            self.assertEqual(self.next_message(WATCHDOG_SECONDS / 2), "WATCHDOG=1")


if __name__ == "__main__":
    noxsup_e2e.main()
