"""Tests with the tiny guest: a kernel with an initramfs that boots in seconds and tells what it sees on its console."""
import os
import signal
import subprocess
import sys

import noxsup_e2e
from noxsup_e2e import EndToEndTest, guest_image

BOOT_SECONDS = 180  # seconds where nothing else runs; minutes on a machine that compiles beside it


class TinyGuestTest(EndToEndTest):
    """A home with the tiny guest's image and kernel; `cmdline` is added to the kernel's command line."""
    arch = "arm64"
    cmdline = "panic=5"

    def setUp(self):
        super().setUp()
        self.guest = guest_image(f"tiny-{self.arch}")
        self.set_kernel(self.cmdline)
        disk = self.home.root / "tiny.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
        self.home.run("image", "import", str(disk), "--name", "tiny", "--arch", self.arch)

    def configuration(self, cmdline=None, kernel=None):
        console = {"arm64": "ttyAMA0", "amd64": "ttyS0"}[self.arch]
        return {"kernel": {self.arch: {"kernel": str(kernel or self.guest / "vmlinuz"),
                                       "initrd": str(self.guest / "initrd.img"),
                                       "cmdline": f"console={console} {self.cmdline if cmdline is None else cmdline}"}}}

    def set_kernel(self, cmdline, kernel=None):
        """What VMs made from here on boot; a supervisor reads its configuration when it starts."""
        if self.home.daemon_pid() is not None:
            self.home.run("daemon", "--stop")
        self.home.configure(self.configuration(cmdline, kernel))

    def options(self):
        """What `create` is told of every tiny guest."""
        return ("--image", "tiny", "--arch", self.arch, "--boot", "kernel", "--cpus", "1", "--ram", "128", "--disk", "64M",
                "--network", "user")

    def create(self, name, *arguments):
        return self.home.run("create", name, *self.options(), *(arguments or ("--wait", "running")), timeout=BOOT_SECONDS)

    def wait_ready(self, name, count=1):
        self.home.wait_console(name, r"^NOXTEST: ready", BOOT_SECONDS, count)

    def type_on_console(self, name, text, answer):
        """Types as a user of `noxsup console` does, on a pseudo-terminal, and leaves with Ctrl-]."""
        leader, follower = os.openpty()
        console = subprocess.Popen([noxsup_e2e.program(), "console", name], env=self.home.environment,
                                   stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
        os.close(follower)
        try:
            # A shell that has just started may drop what was typed before its prompt: then it is typed again.
            for seconds in (15, 15, 30, 60):
                os.write(leader, text.encode())
                try:
                    self.home.wait_console(name, answer, seconds)
                    break
                except AssertionError:
                    if seconds == 60:
                        raise
            os.write(leader, b"\x1d")
            drain(leader)
            self.assertEqual(console.wait(timeout=20), 0)
        finally:
            if console.poll() is None:
                console.send_signal(signal.SIGKILL)
                console.wait()
            os.close(leader)


def drain(descriptor):
    """Reads what a terminal still shows, so that its writer never waits."""
    os.set_blocking(descriptor, False)
    try:
        while os.read(descriptor, 65536):
            pass
    except (BlockingIOError, OSError):
        pass


def main():
    """Runs the file's tests for the architecture that the command line names."""
    if len(sys.argv) > 1 and sys.argv[1] in ("arm64", "amd64"):
        TinyGuestTest.arch = sys.argv.pop(1)
    noxsup_e2e.main()
