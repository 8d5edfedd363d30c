"""A Debian with KVM through the firmware on br0, in the system's scope: its whole life, its confinement, its adoption."""
import os
import pathlib
import re
import signal
import time

import on_target
from on_target import BOOT_SECONDS, COMMAND_SECONDS, EndToEndTest, SystemHome, alive, start_time, system, wait_until

NAME = "deb1"
KERNEL_STARTS = r"EFI stub: Booting Linux Kernel"
TIMEOUT = ("--timeout", f"{BOOT_SECONDS}s")


class Member:
    """An account of this machine that is in the group noxsup, with a key of its own."""
    name = "nxmember"

    def __init__(self):
        system("useradd", "--create-home", "--groups", "noxsup", self.name)
        self.run("mkdir -m 700 .ssh && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519")
        self.key = f"/home/{self.name}/.ssh/id_ed25519.pub"

    def run(self, command):
        return system("runuser", "--login", self.name, "--command", command)

    def close(self):
        system("userdel", "--remove", self.name, check=False)


def import_image(home):
    """Once. Returns what --os takes."""
    os_name = on_target.target_os()
    name = f"{os_name.replace(':', '-')}-arm64"
    if name not in home.run("--quiet", "image", "ls").out.split():
        home.run("image", "import", on_target.target_image(), "--name", name, "--os", os_name, "--arch", "arm64",
                 timeout=BOOT_SECONDS)
    return os_name


class Debian(EndToEndTest):
    """One VM for all: it is made by the first test that needs it, and each leaves it running."""
    shared = None

    @classmethod
    def setUpClass(cls):
        cls.shared = SystemHome()
        cls.shared.make_key()
        cls.member = Member()

    @classmethod
    def tearDownClass(cls):
        cls.shared.run("delete", NAME, "--yes", exit=None, timeout=COMMAND_SECONDS)
        cls.shared.close()
        cls.member.close()

    def setUp(self):
        super().setUp()
        self.home.close()
        self.home = self.shared
        if self.home.run("status", NAME, exit=None).exit == 4:
            self.create()
        self.vm = self.home.status(NAME)
        self.assertEqual(self.vm["state"], "running")

    def create(self):
        home = self.home
        os_name = import_image(home)
        created = home.run("create", NAME, "--os", os_name, "--cpus", "1", "--ram", "512", "--disk", "5",
                           "--boot", "firmware", "--ssh-key", self.member.key, *TIMEOUT,
                           timeout=BOOT_SECONDS + 60)
        print(created.out + created.err, flush=True)

    def ssh(self, *command, exit=0):
        return self.home.run("ssh", NAME, "--", *command, exit=exit, timeout=COMMAND_SECONDS).out.strip()

    def boot_id(self):
        return self.ssh("cat", "/proc/sys/kernel/random/boot_id")

    def test_1_create_to_ssh_on_br0(self):
        vm = self.vm
        self.assertEqual((vm["arch"], vm["accel"], vm["boot"]), ("arm64", "kvm", "firmware"))
        network = vm["networks"][0]
        self.assertEqual((network["mode"], network["bridge"]), ("bridge", "br0"))
        address = self.home.run("ip", NAME).out.strip()
        self.assertRegex(address, r"^10\.88\.0\.1\d\d$")
        self.assertIn(f"{network['mac']} {address}", on_target.LEASES.read_text())
        self.assertEqual(self.ssh("uname", "-m"), "aarch64")
        self.assertEqual(self.ssh("hostname"), NAME)
        self.assertIn(address, self.ssh("ip", "-4", "-o", "address", "show"))
        self.assertEqual(self.ssh("systemd-detect-virt"), "kvm")
        self.home.run("exec", NAME, "--", "sh", "-c", "exit 37", exit=37, timeout=COMMAND_SECONDS)

    def test_2_a_member_of_the_group_logs_in_with_a_key_of_their_own(self):
        self.assertEqual(self.member.run(f"noxsup ssh {NAME} -- id -un").strip(), "nox")
        self.assertEqual(self.member.run(f"noxsup ssh-config {NAME} > config && ssh -F config {NAME} hostname").strip(), NAME)

    def test_2_sandbox_with_kvm_and_tap(self):
        pid = self.vm["pid"]
        arguments = on_target.arguments_of(pid)
        self.assertEqual(arguments[arguments.index("-accel") + 1], "kvm")
        self.assertEqual(arguments[arguments.index("-sandbox") + 1], on_target.DENIED)
        self.assertIn("gic-version=host", arguments[arguments.index("-machine") + 1])
        self.assertEqual(arguments[arguments.index("-cpu") + 1], "host")
        states = [(status["Name"], status["Seccomp"], status["NoNewPrivs"]) for status in on_target.threads(pid)]
        self.assertTrue(any("KVM" in name for name, _, _ in states), states)
        self.assertEqual({(seccomp, privileges) for _, seccomp, privileges in states}, {("2", "1")}, states)
        taps = [info for target, info in on_target.descriptors_of(pid).values() if target == "/dev/net/tun"]
        self.assertEqual(len(taps), 1)
        self.assertRegex(taps[0], r"(?m)^iff:\s*nx")
        netdev = next(argument for argument in arguments if argument.startswith("tap,"))
        self.assertRegex(netdev, r"^tap,id=net0,fd=\d+,vhost=on,vhostfd=\d+$", "vhost-net is there")

    def test_2_uid_and_groups_with_kvm(self):
        confinement = self.vm["confinement"]
        uid, kvm = str(confinement["uid"]), str(os.stat("/dev/kvm").st_gid)
        self.assertIn(confinement["uid"], range(70000, 80000))
        for status in on_target.threads(self.vm["pid"]):
            self.assertEqual((status["Uid"].split(), status["Gid"].split()), ([uid] * 4, [uid] * 4), status)
            self.assertEqual(status["Groups"].split(), [kvm], status)
            self.assertEqual({status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}, {"0" * 16})

    def test_2_limits_by_cgroup(self):
        leaf = self.leaf()
        self.assertIn(f"0::{str(leaf).removeprefix('/sys/fs/cgroup')}\n",
                      pathlib.Path(f"/proc/{self.vm['pid']}/cgroup").read_text())
        self.assertGreater(int((leaf / "memory.max").read_text()), self.vm["memory_bytes"])
        self.assertGreater(int((leaf / "pids.max").read_text()), self.vm["cpus"])
        self.assertRegex((leaf / "cpu.max").read_text(), r"^\d+ 100000$")
        self.assertRegex(pathlib.Path(f"/proc/{self.home.daemon_pid()}/cgroup").read_text(), r"(?m)^0::/.*/supervisor$")

    def leaf(self):
        path = self.vm["confinement"]["cgroup"]
        self.assertTrue(path, "the unit has Delegate=yes")
        return pathlib.Path(path)

    def test_3_a_killed_supervisor_is_restarted_and_adopts(self):
        pid, started = self.vm["pid"], start_time(self.vm["pid"])
        boot = self.boot_id()
        daemon = self.home.daemon_pid()
        os.kill(daemon, signal.SIGKILL)
        wait_until("systemd starts another supervisor", lambda: self.home.daemon_pid() not in (None, daemon), 60)
        self.assertEqual((alive(pid), start_time(pid)), (True, started), "QEMU outlives its supervisor")
        self.assert_adopted(pid, started, boot)

    def test_4_the_vm_outlives_a_restart_of_the_unit(self):
        pid, started, boot = self.vm["pid"], start_time(self.vm["pid"]), self.boot_id()
        system("systemctl", "restart", on_target.UNIT)
        self.assert_adopted(pid, started, boot)

    def test_5_reset_and_restart(self):
        """A reset is the same QEMU, a restart another; the disk outlives both."""
        before, pid, mac = self.boot_id(), self.vm["pid"], self.vm["networks"][0]["mac"]
        self.ssh("echo kept | sudo tee /var/kept >/dev/null && sync")
        boots = self.boots()
        self.home.run("reset", NAME, timeout=COMMAND_SECONDS)
        self.home.wait_console(NAME, KERNEL_STARTS, BOOT_SECONDS, boots + 1)
        self.assertEqual(self.home.status(NAME)["pid"], pid)
        # A guest that has just begun to boot has no ear for its button yet.
        self.home.run("restart", NAME, "--force", *TIMEOUT, timeout=BOOT_SECONDS + COMMAND_SECONDS)
        self.assertFalse(alive(pid))
        self.assertNotEqual(self.boot_id(), before)
        self.assertEqual(self.ssh("cat", "/var/kept"), "kept")
        self.assertEqual(self.home.status(NAME)["networks"][0]["mac"], mac)

    def boots(self):
        return len(re.findall(KERNEL_STARTS, self.home.console_log(NAME)))

    def test_6_stop_and_start(self):
        """The last, so that nobody need wait for the guest to be up again."""
        pid = self.vm["pid"]
        stopped = self.home.run("stop", NAME, timeout=COMMAND_SECONDS)
        self.assertFalse(alive(pid))
        self.assertIn("button", stopped.out + stopped.err)
        vm = self.home.status(NAME)
        self.assertEqual((vm["state"], vm["reason"], vm["pid"]), ("stopped", "user", None))
        self.assertNotIn("noxsup:", system("ip", "-details", "link", "show"), "the TAP has gone with QEMU")
        boots = self.boots()
        self.home.run("start", NAME, "--wait", "running", timeout=COMMAND_SECONDS)
        self.home.wait_console(NAME, KERNEL_STARTS, BOOT_SECONDS, boots + 1)
        self.assertEqual(self.home.status(NAME)["state"], "running")

    def test_7_out_of_memory(self):
        """The kernel kills the guest that the limit is for, and nothing else; the limit is one put on again at adoption."""
        leaf, daemon = self.leaf(), self.home.daemon_pid()
        system("systemctl", "restart", on_target.UNIT)
        self.assertNotEqual(self.home.daemon_pid(), daemon)
        self.home.wait_console(NAME, KERNEL_STARTS, BOOT_SECONDS)
        wait_until("the limit is there again", lambda: (leaf / "memory.max").exists() and
                   (leaf / "memory.max").read_text().strip() != "max", 60)
        daemon = self.home.daemon_pid()
        (leaf / "memory.max").write_text(str(16 << 20))
        began = time.monotonic()
        vm = wait_until("its end is told", lambda: self.ended_vm(), 60)
        print(f"told {time.monotonic() - began:.1f} s after the limit", flush=True)
        self.assertEqual((vm["state"], vm["reason"]), ("failed", "oom"))
        self.assertEqual(self.home.daemon_pid(), daemon)
        self.home.run("start", NAME, "--wait", "running", timeout=COMMAND_SECONDS)

    def ended_vm(self):
        vm = self.home.status(NAME)
        return vm if vm["pid"] is None else None

    def assert_adopted(self, pid, started, boot):
        vm = wait_until("the VM is adopted", self.running_vm, 60)
        self.assertEqual((vm["pid"], start_time(vm["pid"])), (pid, started))
        wait_until("its address is known again", lambda: self.home.run("ip", NAME, exit=None).out.strip(), 60)
        self.assertEqual(self.boot_id(), boot)

    def running_vm(self):
        done = self.home.run("--format", "json", "status", NAME, exit=None)
        if done.exit != 0:
            return None
        vm = done.json["vms"][0]
        return vm if vm["state"] == "running" else None


class WithoutFirmware(EndToEndTest):
    """The same Debian by the kernel on its disk, as create does it where nobody says otherwise."""

    def setUp(self):
        super().setUp()
        self.home.close()
        self.home = SystemHome()
        self.home.make_key()
        self.addCleanup(self.home.run, "delete", "deb2", "--yes", exit=None, timeout=COMMAND_SECONDS)

    def test_create_to_ssh_on_br0_and_a_clean_stop(self):
        home = self.home
        created = home.run("create", "deb2", "--os", import_image(home), "--cpus", "1", "--ram", "512", "--disk", "5", *TIMEOUT,
                           timeout=BOOT_SECONDS + 60)
        print(created.out + created.err, flush=True)
        vm = home.status("deb2")
        self.assertEqual((vm["arch"], vm["accel"], vm["boot"]), ("arm64", "kvm", "kernel"))
        self.assertRegex(vm["kernel"], r"^/boot/vmlinuz-\d")
        self.assertEqual((vm["networks"][0]["mode"], vm["networks"][0]["bridge"]), ("bridge", "br0"))
        self.assertRegex(home.run("ip", "deb2").out.strip(), r"^10\.88\.0\.1\d\d$")
        self.assertIn("ID=debian", home.run("ssh", "deb2", "--", "cat", "/etc/os-release", timeout=COMMAND_SECONDS).out)
        states = {(status["Seccomp"], status["NoNewPrivs"]) for status in on_target.threads(vm["pid"])}
        self.assertEqual(states, {("2", "1")})
        self.assertNotEqual(os.stat(f"/proc/{vm['pid']}").st_uid, 0)
        stopped = home.run("stop", "deb2", "--timeout", "180s", timeout=COMMAND_SECONDS)
        self.assertIn("button", stopped.out + stopped.err)
        self.assertFalse(alive(vm["pid"]))
