"""VMs behind the managed NAT bridge, on a host without any bridge: a network namespace with one card."""
import json
import pathlib
import re
import subprocess

import noxsup_e2e
from namespaces import NetworkNamespace, needs_bridge_tools, needs_root
from noxsup_e2e import EndToEndTest, alive, guest_image, wait_until
from tiny_guest import BOOT_SECONDS, TinyGuestTest


@needs_root
@needs_bridge_tools
class BehindNat(EndToEndTest):
    def setUp(self):
        super().setUp()
        guest = guest_image("tiny-amd64")
        self.host = NetworkNamespace("nat")
        self.addCleanup(self.host.close)
        self.outside = NetworkNamespace("out")
        self.addCleanup(self.outside.close)
        self.host.connect(self.outside, "192.0.2.1/24", "192.0.2.2/24")
        # The supervisor and all that it starts live in the namespace. Cleanups run in reverse: home first.
        self.addCleanup(self.sweep)
        self.addCleanup(self.home.close)
        self.run_through(self.host.prefix)
        self.home.configure({"defaults": {"network": "nat"},
                             "kernel": {"amd64": {"kernel": str(guest / "vmlinuz"), "initrd": str(guest / "initrd.img"),
                                                  "cmdline": "console=ttyS0"}}})
        disk = self.home.root / "tiny.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
        self.home.run("image", "import", str(disk), "--name", "tiny", "--arch", "amd64")

    def sweep(self):
        """What a failed test left running."""
        for pid in self.servers():
            noxsup_e2e.kill(pid)

    def create(self, name, *more):
        self.home.run("create", name, "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "1", "--ram", "128",
                      "--disk", "64M", *more, timeout=BOOT_SECONDS)
        return self.home.status(name)

    def servers(self):
        """Processes of dnsmasq that serve this home."""
        mine = f"{self.home.path}/nat/leases"
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if f"--dhcp-leasefile={mine}".encode() in words:
                found.append(int(entry.parent.name))
        return found

    def tables(self):
        return re.findall(r"noxsup_\w+", self.host.run("nft", "list", "tables"))

    def gone(self):
        return list(self.host.links()) == ["eth0"] and not self.servers() and not self.tables()

    def says(self, name, command, answer):
        TinyGuestTest.type_on_console(self, name, command + "\n", answer)

    def test_a_vm_has_an_address_a_name_and_a_way_out(self):
        home = self.home
        web = self.create("web", "--wait", "ip", "--publish", "0.0.0.0:8022:22")
        network = web["networks"][0]
        self.assertEqual((network["mode"], network["bridge"]), ("nat", "noxbr0"))
        self.assertEqual(network["addresses"], ["10.213.77.2"])
        self.assertEqual(home.run("ip", "web").out.strip(), "10.213.77.2")
        self.assertEqual(web["degraded"], [])
        # The address is known before the guest's own client has set it.
        wait_until("the host reaches it", lambda: self.host.can("busybox", "ping", "-c", "1", "-W", "2", "10.213.77.2"), 60)
        server, = self.servers()
        status = pathlib.Path(f"/proc/{server}/status").read_text()
        self.assertNotIn(re.search(r"^Uid:\s+(\d+)", status, re.M)[1], "0", "dnsmasq is no root")

        db = self.create("db", "--wait", "ip")
        self.assertEqual(db["networks"][0]["addresses"], ["10.213.77.3"])
        for name in ("web", "db"):
            home.wait_console(name, r"^NOXTEST: ready", BOOT_SECONDS)
        self.says("db", "ping -c 1 -W 5 192.0.2.2 && echo out$((40+2))", "out42")
        self.says("db", "nslookup web.vm.internal 10.213.77.1; echo asked$((40+2))", "asked42")
        console = (home.path / "vms/db/console.log").read_text(errors="replace")
        self.assertRegex(console, r"Address.*10\.213\.77\.2\b")
        # Its port is checked as one on any bridge.
        self.says("db", "ip addr add 10.213.77.66/24 dev eth0 && echo has$((60+6))", "has66")
        self.assertFalse(self.host.can("busybox", "ping", "-c", "1", "-W", "2", "10.213.77.66"))

        self.assertEqual(network["publish"][0]["by"], "kernel")
        self.assertEqual(self.outside.banner("192.0.2.1", 8022), "SSH-")
        for address in ("127.0.0.1", "192.0.2.1"):
            self.assertEqual(self.host.banner(address, 8022), "SSH-", f"the host itself by {address}")
        self.assertEqual(self.outside.banner("192.0.2.1", 22), "ConnectionRefusedError")
        # By the supervisor, for the kernel does not send it back where it came from.
        self.says("web", "nc -w 20 192.0.2.1 8022; echo itself$((40+2))", r"SSH-[^\n]*\s+itself42")
        self.refused("port-taken", 5, "--publish", "8022:80")

        self.live_through_a_dead_supervisor(web, server)
        self.go_with_the_last_one()

    def live_through_a_dead_supervisor(self, web, server):
        noxsup_e2e.kill(self.home.daemon_pid())
        self.assertEqual(self.servers(), [server], "dnsmasq lives on")
        self.assertEqual(self.outside.banner("192.0.2.1", 8022), "SSH-", "so do published ports")
        again = wait_until("the address is known after adoption",
                           lambda: self.addressed(self.home.status("web"), "10.213.77.2"), 30)
        self.assertEqual(again["pid"], web["pid"])
        self.assertEqual(self.servers(), [server], "adopted")
        noxsup_e2e.kill(server)
        wait_until("dnsmasq is back", self.servers, 30)

    def go_with_the_last_one(self):
        home = self.home
        home.run("stop", "db", "--force")
        self.assertIn("noxbr0", self.host.links())
        home.run("stop", "web", "--force")
        self.assertEqual(self.outside.banner("192.0.2.1", 8022), "ConnectionRefusedError")
        wait_until("bridge, rules and dnsmasq are gone", self.gone, 30)
        home.run("start", "web", "--wait", "ip", timeout=BOOT_SECONDS)
        self.assertEqual(home.status("web")["networks"][0]["addresses"], ["10.213.77.2"], "it keeps its address")
        # Neither it nor its supervisor is there to take it down.
        pid = home.status("web")["pid"]
        noxsup_e2e.kill(home.daemon_pid())
        noxsup_e2e.kill(pid)
        self.assertFalse(alive(pid))
        self.assertTrue(self.servers())
        home.run("list")
        wait_until("it is swept", self.gone, 30)
        for name in ("web", "db"):
            home.run("delete", name, "--yes")

    def test_what_cannot_be_made_is_told_and_leaves_nothing(self):
        self.host.run("ip", "link", "add", "noxbr0", "type", "bridge")
        self.refused("already-exists", 5)
        self.host.run("ip", "link", "del", "noxbr0")
        self.refused("invalid-argument", 1, "--ip", "10.213.77.9/24")
        # A server for names on every address of the host.
        other = subprocess.Popen([*self.host.prefix, "busybox", "nc", "-l", "-p", "53"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            wait_until("port 53 is taken", lambda: ":53 " in self.host.run("ss", "-lnt"), 10)
            self.refused("port-taken", 5, start=True)
        finally:
            other.kill()
            other.wait()
        self.assertTrue(self.gone())
        self.home.run("start", "other", "--wait", "running", timeout=BOOT_SECONDS)
        self.home.run("delete", "other", "--yes")
        wait_until("nothing is left", self.gone, 30)

    def refused(self, code, exit, *more, start=False):
        refused = self.home.run("--format", "json", "create", "other", "--image", "tiny", "--arch", "amd64", "--boot", "kernel",
                                "--disk", "64M", "--ram", "128", *(() if start else ("--no-start",)), *more, exit=exit,
                                timeout=BOOT_SECONDS)
        self.assertEqual(json.loads(refused.err)["error"]["code"], code, refused)

    @staticmethod
    def addressed(vm, address):
        return vm if vm["state"] == "running" and address in vm["networks"][0]["addresses"] else None


if __name__ == "__main__":
    noxsup_e2e.main()
