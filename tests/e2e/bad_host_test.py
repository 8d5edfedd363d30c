"""A host that lacks something: one clear error with the fix, the right exit code, and nothing left behind."""
import json
import os
import socket
import subprocess

import noxsup_e2e
from namespaces import BridgeNamespace, MountNamespace, needs_bridge_tools, needs_root
from noxsup_e2e import EndToEndTest, HOST_ARCH

QEMU = {"amd64": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}[HOST_ARCH]
NOBODY = 65534


class BadHost(EndToEndTest):
    """What the tests of this file share."""

    def refused(self, *arguments, code, exit, hint=""):
        """Fails with that stable code, and with a hint that tells what to do; returns the error."""
        result = self.home.run("--format", "json", *arguments, exit=exit)
        error = json.loads(result.err.strip().splitlines()[-1])["error"]
        self.assertEqual((error["code"], error["exit"]), (code, exit), result)
        self.assertIn(hint, error["hint"] or "", result)
        self.assertTrue(error["hint"], "an error names the next step")
        return error

    def no_vm_is_left(self):
        self.assertEqual(self.home.run("--format", "json", "list").json["vms"], [])
        self.assertEqual([path.name for path in (self.home.path / "vms").iterdir() if path.name != ".locks"], [])


class BadPorts(BadHost):
    def test_a_port_that_is_taken(self):
        self.import_image()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.refused("create", "vm1", "--image", "small", "--no-start", "--network", "user",
                         "--publish", f"127.0.0.1:{port}:80", code="port-taken", exit=5)
        self.no_vm_is_left()


@needs_root
class BadMounts(BadHost):
    """What the host offers is taken away in a mount namespace of the test's own."""

    def setUp(self):
        super().setUp()
        self.namespace = MountNamespace()
        self.addCleanup(self.namespace.close)
        self.addCleanup(self.home.close)
        self.run_through(self.namespace.prefix)

    def hide(self, program):
        """Something that is no program stands in its place."""
        self.namespace.run("mount", "--bind", "/dev/null", f"/usr/bin/{program}")

    def small_file_system(self, directory, size):
        path = self.home.path / directory
        path.mkdir(mode=0o700, exist_ok=True)
        self.namespace.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(path))

    def test_no_qemu(self):
        self.import_image()
        self.hide(QEMU)
        error = self.refused("create", "vm1", "--image", "small", "--network", "user", code="host-lacks-qemu", exit=8,
                             hint="apt install qemu-system")
        self.assertIn(QEMU, error["message"])
        self.no_vm_is_left()
        doctor = self.home.run("--format", "json", "doctor", exit=None)
        lines = {check["id"]: check for check in doctor.json["checks"]}
        self.assertEqual(lines[f"qemu-{HOST_ARCH}"]["status"], "error")
        self.assertIn("qemu-system", lines[f"qemu-{HOST_ARCH}"]["fix"])

    def test_no_qemu_for_a_vm_that_is_there(self):
        self.import_image()
        self.home.run("create", "vm1", "--image", "small", "--no-start", "--network", "user")
        noxsup_e2e.kill(self.home.daemon_pid())
        self.hide(QEMU)
        self.refused("start", "vm1", code="host-lacks-qemu", exit=8, hint="apt install qemu-system")
        self.assertIn(self.home.state("vm1"), ("stopped", "failed"))

    def test_no_qemu_img(self):
        self.import_image()
        self.hide("qemu-img")
        self.refused("create", "vm1", "--image", "small", "--no-start", "--network", "user", code="host-lacks-tool",
                     exit=8, hint="qemu-utils")
        self.no_vm_is_left()

    def test_no_space_for_a_vm(self):
        self.import_image()
        noxsup_e2e.kill(self.home.daemon_pid())
        self.small_file_system("vms", "16m")
        self.refused("create", "vm1", "--image", "small", "--no-start", "--network", "user", code="no-space", exit=7)
        self.no_vm_is_left()

    def test_no_space_for_an_image(self):
        self.small_file_system("images", "8m")
        disk = self.disk_image()
        subprocess.run(["qemu-io", "-c", "write -P 7 0 24M", str(disk)], check=True, stdout=subprocess.DEVNULL)
        self.refused("image", "import", str(disk), "--name", "large", code="no-space", exit=7)
        left = self.namespace.run("find", str(self.home.path / "images"), "-type", "f", "-size", "+0")
        self.assertEqual(left, "")
        self.assertEqual(self.home.run("--format", "json", "image", "ls").json["images"], [])
        # What fits is still taken: nothing of the failure is in the way.
        self.home.run("image", "import", str(self.disk_image("tiny.qcow2", "1M")), "--name", "tiny")


@needs_root
@needs_bridge_tools
class BadRights(BadHost):
    """A user without rights in a namespace that has a bridge."""

    def setUp(self):
        super().setUp()
        self.namespace = BridgeNamespace(self.home.root)
        self.addCleanup(self.namespace.close)
        self.addCleanup(self.home.close)
        self.run_through([*self.namespace.prefix, "setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"])
        self.disk_image()
        for path in [self.home.root, *self.home.root.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        self.home.run("image", "import", str(self.home.root / "small.qcow2"), "--name", "small")

    def test_no_rights_on_br0(self):
        self.refused("create", "vm1", "--image", "small", "--no-start", "--network", "bridge", code="host-lacks-right", exit=8)
        self.no_vm_is_left()
        # Not asked for, a bridge that may not be used is no reason to fail.
        self.home.run("create", "vm1", "--image", "small", "--no-start")
        self.assertEqual(self.home.status("vm1")["networks"][0]["mode"], "user")

    def test_files_that_the_caller_may_not_read(self):
        secret = self.home.root / "secret"
        secret.write_text("#cloud-config\n{}\n")
        secret.chmod(0)
        for arguments in (("create", "vm1", "--image", "small", "--ssh-key", str(secret)),
                          ("create", "vm1", "--image", "small", "--cloud-init", str(secret)),
                          ("image", "import", str(secret), "--name", "x")):
            error = self.refused(*arguments, code="unreadable-file", exit=1)
            self.assertIn("Permission denied", error["message"])
        self.no_vm_is_left()


if __name__ == "__main__":
    noxsup_e2e.main()
