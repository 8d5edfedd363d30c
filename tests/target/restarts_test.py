"""Five VMs with KVM outlive fifty restarts of the unit that serves them, in their own cgroups, with their limits."""
import json
import pathlib
import time

import on_target
from on_target import COMMAND_SECONDS, EndToEndTest, SystemHome, start_time, system, unit_property
from promises import idle_kernel

VMS = [f"idle{number}" for number in range(1, 6)]
RESTARTS = 50
CONFIG = pathlib.Path("/etc/noxsup/config.json")  # of the system's scope


class Restarts(EndToEndTest):
    def setUp(self):
        super().setUp()
        self.home.close()
        self.home = SystemHome()
        self.addCleanup(self.clean_up)
        kernel = self.home.path / "idle-kernel"
        kernel.write_bytes(idle_kernel())
        CONFIG.write_text(json.dumps({"accel": "kvm", "kernel": {"arm64": {"kernel": str(kernel), "cmdline": "idle"}}}))
        system("systemctl", "restart", on_target.UNIT)
        self.home.run("image", "import", str(self.disk_image()), "--name", "small", "--arch", "arm64", timeout=COMMAND_SECONDS)
        for name in VMS:
            self.home.run("create", name, "--image", "small", "--boot", "kernel", "--cpus", "1", "--ram", "32", "--disk", "64M",
                          "--wait", "running", timeout=COMMAND_SECONDS)

    def clean_up(self):
        for name in VMS:
            self.home.run("delete", name, "--yes", exit=None, timeout=COMMAND_SECONDS)
        self.home.run("image", "rm", "small", exit=None, timeout=COMMAND_SECONDS)
        for file in (CONFIG, self.home.path / "idle-kernel"):
            file.unlink(missing_ok=True)
        system("systemctl", "restart", on_target.UNIT)
        self.home.close()

    def listed(self):
        """What each VM is to a user: its state, its QEMU by pid and start time, and the memory limit that it has."""
        vms = self.home.run("--format", "json", "status", *VMS, timeout=COMMAND_SECONDS).json["vms"]
        return {vm["name"]: (vm["state"], vm["accel"], vm["pid"], start_time(vm["pid"]),
                             pathlib.Path(vm["confinement"]["cgroup"], "memory.max").read_text()) for vm in vms}

    def test_the_unit_is_restarted_fifty_times(self):
        before = self.listed()
        self.assertEqual({(state, accel) for state, accel, *_ in before.values()}, {("running", "kvm")}, before)
        self.assertNotIn("max\n", [limit for *_, limit in before.values()])
        supervisors, longest, began = {self.home.daemon_pid()}, 0.0, time.monotonic()
        for count in range(1, RESTARTS + 1):
            restart = time.monotonic()
            system("systemctl", "restart", on_target.UNIT)
            self.assertEqual(self.listed(), before, f"restart {count}")
            longest = max(longest, time.monotonic() - restart)
            supervisors.add(self.home.daemon_pid())
        print(f"{RESTARTS} restarts in {time.monotonic() - began:.0f} s; the longest to the status of all: {longest:.1f} s",
              flush=True)
        self.assertEqual(len(supervisors), RESTARTS + 1)
        self.assertEqual(unit_property("NRestarts"), "0", "systemd never had to start it by itself")
