"""A warm template of a real Debian: made once, then VMs that begin with it and are nobody but themselves."""
import json

import noxsup_e2e
from noxsup_e2e import EndToEndTest, HOST_ARCH, alive, digest, guest_image

BOOT_SECONDS = 900  # TCG on two busy cores; alone it is 70 to 120
COMMAND_SECONDS = 240
SHAPE = ("--os", "debian", "--cpus", "1", "--ram", "512", "--disk", "5", "--network", "user")


class TemplateTest(EndToEndTest):
    def setUp(self):
        super().setUp()
        image = guest_image(f"debian-13-{HOST_ARCH}")
        self.home.make_key()
        self.home.run("image", "import", str(image), "--name", f"debian-13-{HOST_ARCH}", "--os", "debian:13", "--arch",
                      HOST_ARCH, timeout=300)

    def ssh(self, name, command):
        return self.home.run("ssh", name, "--", command, timeout=COMMAND_SECONDS).out

    def test_vms_begin_with_it(self):
        self.make()
        frozen = self.frozen_files()
        self.copies_are_themselves()
        self.what_gave_way_to_the_first_login_does_so_no_more()
        self.what_is_free_is_not_kept()
        self.memory_is_shared_and_unchanged(frozen)
        self.what_needs_a_boot_boots()
        self.a_copy_boots_again()
        self.a_copy_is_a_vm_like_others()
        self.in_use_it_stays(frozen)

    def test_one_that_is_made_unasked_goes_with_its_supervisor(self):
        """`auto` makes one at the second create of a kind; the next supervisor takes away what this one left half made."""
        home = self.home
        home.configure({"templates": "auto"})
        home.run("daemon", "--stop")
        noxsup_e2e.wait_until("the supervisor has ended", lambda: home.daemon_pid() is None, COMMAND_SECONDS)
        for name in ("first", "second"):
            home.run("create", name, *SHAPE, "--wait", "running", timeout=COMMAND_SECONDS)
        vm = noxsup_e2e.wait_until("its guest boots", self.guest_of_template, COMMAND_SECONDS)
        self.assertEqual(home.status(vm["name"])["template"], vm["name"].removeprefix("template-"))
        noxsup_e2e.kill(home.daemon_pid())
        self.assertTrue(alive(vm["pid"]))
        noxsup_e2e.wait_until("it is taken away", lambda: home.run("-q", "list").out.split() == ["first", "second"],
                              COMMAND_SECONDS)
        self.assertFalse(alive(vm["pid"]))
        self.assertEqual(home.run("-q", "template", "ls").out, "")
        self.assertEqual(list((home.path / "templates").iterdir()), [])
        for name in ("first", "second"):
            self.assertEqual(home.state(name), "running")

    def guest_of_template(self):
        for vm in self.home.run("--format", "json", "list").json["vms"]:
            if vm["name"].startswith("template-") and vm["state"] == "running":
                return vm
        return None

    def make(self):
        home = self.home
        made = home.run("template", "create", "debian", *SHAPE[2:], timeout=BOOT_SECONDS)
        listed = home.run("--format", "json", "template", "ls").json["templates"]
        self.assertEqual(len(listed), 1)
        self.template = listed[0]
        self.assertIn(self.template["id"], made.out)
        self.assertEqual((self.template["memory_bytes"], self.template["of_no_use"], self.template["used_by"]),
                         (512 << 20, None, []))
        self.assertEqual(home.run("-q", "list").out, "", "the VM that it was is gone")
        self.assertEqual(home.processes("qemu"), [])

    def frozen_files(self):
        directory = self.home.path / "templates" / self.template["id"]
        record = json.loads((directory / "template.json").read_text())["body"]
        disk = self.home.path / "images" / f"sha256-{record['disk_digest']}.qcow2"
        return {path: digest(path) for path in (directory / "ram", directory / "devices", disk)}

    def copies_are_themselves(self):
        """Two at once; what makes a VM one of its kind differs, between them and from the template."""
        home = self.home
        running = [home.start("create", name, *SHAPE, "--timeout", f"{BOOT_SECONDS}s") for name in ("one", "two")]
        for process in running:
            out, err = process.communicate(timeout=BOOT_SECONDS)
            self.assertEqual(process.returncode, 0, out + err)
            self.assertRegex(out + err, r"identity \d")
        facts = {}
        for name in ("one", "two"):
            vm = home.status(name)
            self.assertEqual((vm["state"], vm["template"]), ("running", self.template["id"]))
            # The clock is the host's, and a template's guest has never been up for so short a time.
            facts[name] = self.ssh(name, "hostname; cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; "
                                         "cat /sys/class/net/e*/address; head -c 32 /dev/urandom | base64; "
                                         "sudo cat /var/lib/cloud/data/instance-id; grep 127.0.1.1 /etc/hosts").split("\n")
            self.assertEqual(facts[name][0], name)
            self.assertEqual(facts[name][3], vm["networks"][0]["mac"])
            self.assertLess(abs(float(self.ssh(name, "date +%s.%N")) - noxsup_e2e.time.time()), 60)
            self.assertEqual(self.ssh(name, "systemctl --failed --no-legend --plain"), "")
            self.assertIn("status: done", self.ssh(name, "cloud-init status"))
        for one, two in list(zip(facts["one"], facts["two"]))[:-1]:
            self.assertNotEqual(one, two)
        template = json.loads((home.path / "templates" / self.template["id"] / "template.json").read_text())
        self.assertNotIn(template["body"]["spec"]["networks"][0]["mac"], facts["one"] + facts["two"])

    def what_gave_way_to_the_first_login_does_so_no_more(self):
        """Neither do the priorities of a template's services stay, nor what waited in it."""
        self.ssh("two", """
            for second in $(seq 60); do
              pids=$(systemctl show -P MainPID systemd-resolved systemd-udevd systemd-timesyncd)
              [ "$(for pid in $pids; do sed 's/.*) //' /proc/$pid/stat; done | cut -d ' ' -f 17 | sort -u)" != 0 ] || exit 0
              sleep 1
            done
            exit 1""")
        self.assertEqual(self.ssh("two", "cd /run/noxsup; ls identity later 2>/dev/null || true"), "")

    def what_is_free_is_not_kept(self):
        """A guest's free pages were in use when it booted; of a template they are holes."""
        kept = (self.home.path / "templates" / self.template["id"] / "ram").stat().st_blocks * 512
        free = int(self.ssh("two", "awk '/^MemFree:/ {print $2}' /proc/meminfo")) << 10
        self.assertLess(kept + free, self.template["memory_bytes"] + (80 << 20))

    def memory_is_shared_and_unchanged(self, frozen):
        """A guest that writes to all the memory it can get, and gives it back, changes its own copy alone."""
        self.ssh("one", "dd if=/dev/urandom of=/dev/shm/filled bs=1M count=150 status=none; rm /dev/shm/filled; "
                        "sync; echo 3 | sudo tee /proc/sys/vm/drop_caches >/dev/null")
        self.assertEqual(self.frozen_files(), frozen)
        self.assertEqual(self.ssh("two", "hostname").strip(), "two")

    def what_needs_a_boot_boots(self):
        """It is said why, in one line; the VM of another kind is only launched here."""
        home = self.home
        other = [*SHAPE, "--wait", "running", "--timeout", f"{BOOT_SECONDS}s"]
        other[other.index("512")] = "400"
        said = home.run("create", "bigger", *other, timeout=COMMAND_SECONDS)
        self.assertRegex(said.out + said.err, r"it boots, for the template is of another kind: there was memory \d+")
        self.is_none_of_a_template("bigger")
        document = home.root / "user-data"
        document.write_text("#cloud-config\nruncmd: [true]\n")
        said = home.run("create", "own-data", *SHAPE, "--wait", "running", "--cloud-init", str(document),
                        timeout=COMMAND_SECONDS)
        self.assertIn("it boots, for cloud-init's documents are for a boot", said.out + said.err)
        self.is_none_of_a_template("own-data")
        said = home.run("create", "cold", *SHAPE, "--wait", "running", "--cold", timeout=COMMAND_SECONDS)
        self.assertNotIn("it boots", said.out + said.err)
        self.is_none_of_a_template("cold")
        home.run("create", "later", *SHAPE, "--no-start", timeout=COMMAND_SECONDS)
        record = json.loads((home.path / "vms" / "later" / "meta.json").read_text())["body"]
        self.assertTrue(record["boot_mark"], "a new disk holds what its image does, which was looked at")
        home.run("delete", "later", "--yes", timeout=COMMAND_SECONDS)

    def is_none_of_a_template(self, name):
        """And goes: its guest needs not boot."""
        self.assertIsNone(self.home.status(name)["template"])
        self.home.run("delete", name, "--yes", timeout=COMMAND_SECONDS)

    def a_copy_boots_again(self):
        """Its QEMU came without a kernel: another one takes its place, which has one."""
        home = self.home
        pid = home.status("two")["pid"]
        self.assertNotIn(b"-kernel", noxsup_e2e.command_line(pid))
        home.run("pause", "two")
        home.run("reset", "two", timeout=COMMAND_SECONDS)
        vm = home.status("two")
        self.assertEqual(vm["state"], "running", "a reset lets it go on")
        self.assertFalse(alive(pid))
        self.assertIn(b"-kernel", noxsup_e2e.command_line(vm["pid"]))
        home.wait_console("two", "^two login:", BOOT_SECONDS)
        home.run("stop", "--force", "two", timeout=COMMAND_SECONDS)

    def a_copy_is_a_vm_like_others(self):
        """It goes on from its own memory, and boots like any VM."""
        home = self.home
        self.ssh("one", "echo kept >/dev/shm/in-memory")
        home.run("suspend", "one", timeout=COMMAND_SECONDS)
        home.run("start", "one", "--timeout", f"{BOOT_SECONDS}s", timeout=BOOT_SECONDS)
        self.assertEqual(self.ssh("one", "cat /dev/shm/in-memory"), "kept\n")
        machine_id = self.ssh("one", "cat /etc/machine-id")
        pid = home.status("one")["pid"]
        self.assertIn("button", home.run("stop", "one", timeout=COMMAND_SECONDS).out)
        self.assertFalse(alive(pid))
        home.run("start", "one", "--timeout", f"{BOOT_SECONDS}s", timeout=BOOT_SECONDS)
        self.assertEqual(self.ssh("one", "hostname; cat /etc/machine-id"), "one\n" + machine_id)

    def in_use_it_stays(self, frozen):
        home = self.home
        refused = home.run("template", "rm", self.template["id"], exit=None)
        self.assertNotEqual(refused.exit, 0)
        self.assertIn("in use by one, two", refused.err)
        # An image that a template needs is no leftover.
        home.run("delete", "one", "two", "--yes", timeout=COMMAND_SECONDS)
        home.run("image", "prune", "--yes")
        self.assertEqual(self.frozen_files(), frozen)
        home.run("template", "rm", self.template["id"])
        self.assertEqual(list((home.path / "templates").iterdir()), [])
        home.run("template", "rm", self.template["id"], exit=4)
        home.run("image", "prune", "--yes")
        self.assertFalse(any(path.exists() for path in frozen))


if __name__ == "__main__":
    noxsup_e2e.main()
