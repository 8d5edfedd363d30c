"""What the on-target tests share: the system scope's home, and facts of this machine. Python's standard library alone.

They run as root in a machine with systemd, a real KVM, a br0 with DHCP and noxsup's package installed
(scripts/arm64-host gives one); scripts/test-on-target brings them there. The environment names the guests:
NOXSUP_TARGET_IMAGE (a Debian cloud image, qcow2), NOXSUP_TARGET_OS (debian:12), NOXSUP_TARGET_TINY (a directory).
"""
import os
import pathlib
import re
import subprocess
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[1] / folder) for folder in ("e2e", "promises")]
import noxsup_e2e  # noqa: E402
from noxsup_e2e import EndToEndTest, Home, alive, arguments_of, start_time, wait_until  # noqa: E402,F401

UNIT = "noxsup.service"
BOOT_SECONDS = 900  # a guest inside a host that is itself emulated; alone it is 80 to 140
COMMAND_SECONDS = 240
LEASES = pathlib.Path("/run/br0-dhcp.leases")
DENIED = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def system(*command, check=True):
    """The output of a command of this machine."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def unit_property(name):
    return system("systemctl", "show", "--property", name, "--value", UNIT).strip()


def target_image():
    return os.environ["NOXSUP_TARGET_IMAGE"]


def target_os():
    return os.environ.get("NOXSUP_TARGET_OS", "debian:12")


class SystemHome(Home):
    """The system scope: /var/lib/noxsup, served by the unit. Its caller has a ~/.ssh of its own."""

    def __init__(self):
        super().__init__()
        self.path = pathlib.Path("/var/lib/noxsup")
        del self.environment["NOX_HOME"]
        self.environment["NO_COLOR"] = "1"

    def daemon_pid(self):
        pid = int(unit_property("MainPID") or 0)
        return pid or None

    def evidence(self):
        journal = system("journalctl", "--no-pager", "--unit", UNIT, "--lines", "60", check=False)
        return super().evidence() + f"\n=== journal of {UNIT}\n{journal}"


def threads(pid):
    """Each thread's status as {key: value}."""
    for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir()):
        yield dict(re.findall(r"^(\w+):\s*(.*)$", (task / "status").read_text(), re.MULTILINE))


def descriptors_of(pid):
    """{number: (what it points to, fdinfo)}"""
    found = {}
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = (os.readlink(entry), pathlib.Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text())
        except OSError:
            continue
    return found
