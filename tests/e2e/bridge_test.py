"""A VM on br0: default network, address from the guest's DHCP, its TAP gone with it. All inside a network namespace."""
import fcntl
import ipaddress
import json
import pathlib
import re
import subprocess
import tempfile

import noxsup_e2e
from namespaces import BridgeNamespace, needs_bridge_tools, needs_root
from noxsup_e2e import EndToEndTest, alive, guest_image, wait_until
from tiny_guest import BOOT_SECONDS, TinyGuestTest


@needs_root
@needs_bridge_tools
class Bridged(EndToEndTest):
    def setUp(self):
        super().setUp()
        guest = guest_image("tiny-amd64")
        self.namespace = BridgeNamespace(self.home.root)
        self.addCleanup(self.namespace.close)
        # The supervisor and all that it starts live in the namespace. Cleanups run in reverse: home first.
        self.addCleanup(self.home.close)
        self.run_through(self.namespace.prefix)
        self.home.configure({"kernel": {"amd64": {"kernel": str(guest / "vmlinuz"), "initrd": str(guest / "initrd.img"),
                                                  "cmdline": "console=ttyS0"}}})
        disk = self.home.root / "tiny.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "16M"], check=True)
        self.home.run("image", "import", str(disk), "--name", "tiny", "--arch", "amd64")

    def test_the_address_is_known_and_the_tap_goes_with_the_vm(self):
        home = self.home
        bridge = self.namespace.links()["br0"]
        home.run("create", "bridged", "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "1", "--ram", "128",
                 "--disk", "64M", "--wait", "ip", timeout=BOOT_SECONDS)
        vm = home.status("bridged")
        network = vm["networks"][0]
        self.assertEqual((network["mode"], network["bridge"]), ("bridge", "br0"), "br0 is there, so it is the default")
        self.assertRegex(network["addresses"][0], r"^10\.77\.0\.1[0-5][0-9]$")
        self.assertEqual(home.run("ip", "bridged").out.strip(), network["addresses"][0])
        events = [json.loads(line) for line in home.run("--format", "json", "events", "bridged").out.splitlines()]
        self.assertIn({"mac": network["mac"], "addresses": network["addresses"]},
                      [event["data"] for event in events if event["kind"] == "addresses"])
        home.wait_console("bridged", f"ip={network['addresses'][0]}|{network['addresses'][0]}", BOOT_SECONDS)

        taps = {name: link for name, link in self.namespace.links().items() if name.startswith("nx")}
        self.assertEqual(len(taps), 1)
        tap = next(iter(taps.values()))
        self.assertEqual(tap["master"], "br0")
        self.assertTrue(tap["address"].startswith("fe:"))
        self.assertEqual(tap["ifalias"], f"noxsup:{vm['uuid']}")
        self.assertEqual(self.namespace.links()["br0"]["address"], bridge["address"], "br0 keeps its MAC")

        # A new supervisor knows the address again, and QEMU never noticed.
        noxsup_e2e.kill(home.daemon_pid())
        again = wait_until("the address is known after adoption",
                           lambda: self.addressed(home.status("bridged"), network["addresses"][0]), 30)
        self.assertEqual(again["pid"], vm["pid"])

        home.run("stop", "bridged", "--force")
        self.assertFalse(alive(vm["pid"]))
        self.assertEqual(list(self.namespace.links()), ["br0"], "the TAP has gone with QEMU")
        home.run("start", "bridged", "--wait", "ip", timeout=BOOT_SECONDS)
        self.assertEqual(home.status("bridged")["networks"][0]["mac"], network["mac"])
        home.run("delete", "bridged", "--yes")
        self.assertEqual(list(self.namespace.links()), ["br0"])
        self.assertNotIn("not watched any more", (home.path / "daemon.log").read_text(), "an end that was asked for is no fault")

    def test_only_its_own_address_passes_and_the_rules_go_with_it(self):
        home = self.home
        home.run("create", "bridged", "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "2", "--ram", "128",
                 "--disk", "64M", "--wait", "ip", timeout=BOOT_SECONDS)
        vm = home.status("bridged")
        address = vm["networks"][0]["addresses"][0]
        self.assertEqual(vm["degraded"], [])
        table = next(iter(self.tables()))
        self.assertEqual(self.tables(), {table})
        # Its set is of numbers, for nftables 1.1 adds what is at a place of a packet to no other.
        self.assertIn(hex(int(ipaddress.ip_address(address))), self.namespace.run("nft", "list", "table", "bridge", table),
                      "learned from the DHCP server's reply")
        self.assertTrue(self.answers(address))
        home.wait_console("bridged", r"^NOXTEST: ready", BOOT_SECONDS)
        TinyGuestTest.type_on_console(self, "bridged", "ip addr add 10.77.0.66/24 dev eth0 && echo has$((60+6))\n", "has66")
        self.assertFalse(self.answers("10.77.0.66"), "nobody gave it that address")
        self.assertTrue(self.answers(address))

        # One that goes on has its lease still, and asks for none.
        home.run("suspend", "bridged", timeout=BOOT_SECONDS)
        home.run("start", "bridged", "--wait", "running", timeout=BOOT_SECONDS)
        vm = home.status("bridged")
        self.assertEqual(vm["networks"][0]["addresses"][0], address, "known at once")
        self.assertFalse(self.answers("10.77.0.66"))
        wait_until("the guest that goes on answers", lambda: self.answers(address), 30)

        self.refuse_addresses(address)

        # A firewall that is loaded anew flushes everything; the next supervisor puts it back, as the heartbeat does.
        self.namespace.run("nft", "flush", "ruleset")
        noxsup_e2e.kill(home.daemon_pid())
        home.run("list")
        wait_until("the rules are back", lambda: self.tables() == {table}, 30)
        wait_until("the address is known after adoption", lambda: self.addressed(home.status("bridged"), address), 30)
        self.assertTrue(self.answers(address))
        self.assertFalse(self.answers("10.77.0.66"), "what it claims for itself is not let in again")

        # Neither it nor its supervisor is there to take the rules away.
        noxsup_e2e.kill(home.daemon_pid())
        noxsup_e2e.kill(vm["pid"])
        self.assertEqual(self.tables(), {table})
        home.run("list")
        wait_until("they are swept", lambda: not self.tables(), 30)
        home.run("start", "bridged", "--wait", "running", timeout=BOOT_SECONDS)
        self.assertEqual(self.tables(), {table})
        home.run("delete", "bridged", "--yes")
        self.assertEqual(self.tables(), set())

    def test_a_guest_that_says_nothing_is_asked_for_its_fixed_address(self):
        """It takes the address without a word, and has nobody to talk to."""
        home = self.home
        guest = guest_image("tiny-amd64")
        home.configure({"kernel": {"amd64": {"kernel": str(guest / "vmlinuz"), "initrd": str(guest / "initrd.img"),
                                             "cmdline": "console=ttyS0 noxtest.nonet"}}})
        home.run("daemon", "--stop")
        wait_until("the supervisor has ended", lambda: home.daemon_pid() is None, 20)
        home.run("create", "silent", "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "1", "--ram", "128",
                 "--disk", "64M", "--ip", "10.77.0.66/24", "--wait", "running", timeout=BOOT_SECONDS)
        home.wait_console("silent", r"^NOXTEST: ready", BOOT_SECONDS)
        self.assertEqual(home.status("silent")["networks"][0]["addresses"], [])
        TinyGuestTest.type_on_console(self, "silent", "ip addr add 10.77.0.66/24 dev eth0 && echo has$((60+6))\n", "has66")
        home.run("wait", "silent", "--for", "ip", "--timeout", "60s")
        self.assertEqual(wait_until("it is known", lambda: home.status("silent")["networks"][0]["addresses"], 10),
                         ["10.77.0.66"])
        self.assertEqual(home.run("ip", "silent").out.strip(), "10.77.0.66")
        home.run("delete", "silent", "--yes")

    def test_several_cards_live_and_go_together(self):
        home = self.home
        create = ("create", "several", "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "1", "--ram", "128",
                  "--disk", "64M")
        cards = ("--network", "bridge", "--network", "bridge=br1,isolated,mac=52:54:00:00:77:01", "--network", "user")
        refused = home.run(*create, *cards, exit=8)
        self.assertIn("br1", refused.err, "the bridge of the second card is not there")
        self.assertEqual((home.run("list", "--quiet").out, self.tables()), ("", set()))

        self.namespace.run("ip", "link", "add", "br1", "type", "bridge")
        self.namespace.run("ip", "link", "set", "br1", "up")
        home.run(*create, *cards, "--wait", "ip", timeout=BOOT_SECONDS)
        vm = home.status("several")
        first, second, third = vm["networks"]
        self.assertEqual([(card["mode"], card["bridge"]) for card in vm["networks"]], [("bridge", "br0"), ("bridge", "br1"), ("user", None)])
        self.assertEqual((second["mac"], second["isolated"], first["isolated"]), ("52:54:00:00:77:01", True, False))
        self.assertEqual((vm["ssh"]["host"], vm["ssh"]["port"]), (first["addresses"][0], 22), "the first card leads to ssh")
        self.assertEqual(len({first["mac"], second["mac"], third["mac"]}), 3)
        taps = {name: link["master"] for name, link in self.namespace.links().items() if name.startswith("nx")}
        self.assertEqual(sorted(taps.values()), ["br0", "br1"])
        self.assertEqual(self.tables(), {f"noxsup_{name}" for name in taps})
        home.wait_console("several", r"^NOXTEST: ready", BOOT_SECONDS)
        TinyGuestTest.type_on_console(self, "several", "echo cards=$(ls /sys/class/net | grep -c eth)\n", "cards=3")

        self.namespace.run("nft", "flush", "ruleset")
        noxsup_e2e.kill(home.daemon_pid())
        again = wait_until("the address is known after adoption", lambda: self.addressed(home.status("several"), first["addresses"][0]), 30)
        self.assertEqual(again["pid"], vm["pid"])
        wait_until("the rules of both are back", lambda: self.tables() == {f"noxsup_{name}" for name in taps}, 30)

        home.run("stop", "several", "--force")
        self.assertEqual((sorted(self.namespace.links()), self.tables()), (["br0", "br1"], set()))
        self.namespace.run("ip", "link", "del", "br1")
        self.assertIn("br1", home.run("start", "several", exit=8).err)
        self.assertEqual((list(self.namespace.links()), self.tables()), (["br0"], set()), "the TAP of the first card has gone again")
        home.run("delete", "several", "--yes")

    def test_a_card_comes_and_goes_while_the_vm_runs(self):
        home = self.home
        home.run("create", "plugged", "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "2", "--ram", "128",
                 "--disk", "64M", "--network", "bridge", "--wait", "ip", timeout=BOOT_SECONDS)
        home.wait_console("plugged", r"^NOXTEST: ready", BOOT_SECONDS)
        vm = home.status("plugged")
        mac = "52:54:00:00:77:02"
        for network, exit in (("bridge=br9", 8), (f"bridge,mac={vm['networks'][0]['mac']}", 5), ("bridge,vlan=9999", 1), ("", 1)):
            home.run("network", "attach", "plugged", network, exit=exit)
        self.assertEqual(home.status("plugged")["networks"], vm["networks"])
        attached = home.run("network", "attach", "plugged", f"bridge,mac={mac}")
        self.assertIn(f"plugged has network card 1 ({mac})", attached.out)
        self.assertIn("network 1:", home.run("status", "plugged").out)
        again = home.status("plugged")
        self.assertEqual((again["pid"], again["networks"][1]["slot"], again["networks"][1]["bridge"]), (vm["pid"], 1, "br0"))
        taps = sorted(name for name in self.namespace.links() if name.startswith("nx"))
        self.assertEqual((len(taps), taps[1]), (2, taps[0] + "1"))
        self.assertEqual(self.tables(), {f"noxsup_{name}" for name in taps})
        place = self.place_in_guest("plugged", "came", "77:02")
        TinyGuestTest.type_on_console(self, "plugged", "ip link set eth1 up; udhcpc -i eth1 -n -q -S -t 5 -T 2 -s /bin/lease; echo got$((40+2))\n", "got42")
        address = wait_until("its address is known", lambda: home.status("plugged")["networks"][1]["addresses"], 30)[0]
        events = [json.loads(line) for line in home.run("--format", "json", "events", "plugged").out.splitlines()]
        self.assertIn({"mac": mac, "addresses": [address]}, [event["data"] for event in events if event["kind"] == "addresses"])
        refused = home.run("network", "detach", "plugged", "0", exit=5)
        self.assertIn("noxsup stop plugged", refused.err, "what was there from the start is not let go of")

        # Another supervisor, another life of QEMU: the card is where it was, and goes.
        noxsup_e2e.kill(home.daemon_pid())
        wait_until("both are watched again", lambda: address in home.status("plugged")["networks"][1]["addresses"], 60)
        home.run("suspend", "plugged", timeout=BOOT_SECONDS)
        home.run("network", "attach", "plugged", "bridge", exit=5)
        home.run("network", "detach", "plugged", "1", exit=5)
        home.run("start", "plugged", "--wait", "running", timeout=BOOT_SECONDS)
        self.assertEqual(self.place_in_guest("plugged", "woke", "77:02"), place)
        self.assertEqual(sorted(name for name in self.namespace.links() if name.startswith("nx")), taps)
        home.run("restart", "plugged", "--force", "--wait", "ip", timeout=BOOT_SECONDS)
        home.wait_console("plugged", r"^NOXTEST: ready", BOOT_SECONDS, 2)
        self.assertEqual(self.place_in_guest("plugged", "booted", "77:02"), place)

        home.run("network", "detach", "plugged", mac.upper(), timeout=BOOT_SECONDS)
        self.assertEqual([card["slot"] for card in home.status("plugged")["networks"]], [0])
        self.assertEqual(([name for name in self.namespace.links() if name.startswith("nx")], self.tables()),
                         (taps[:1], {f"noxsup_{taps[0]}"}))
        TinyGuestTest.type_on_console(self, "plugged", "echo left=$(ls /sys/class/net | grep -c eth)\n", "left=1")
        refused = home.run("network", "detach", "plugged", "0", exit=5)
        self.assertIn("the only one", refused.err)

        # Stopped, cards are for the next start; the place that is free is taken.
        home.run("stop", "plugged", "--force")
        home.run("network", "attach", "plugged", "user")
        home.run("network", "detach", "plugged", "0")
        home.run("network", "attach", "plugged", "bridge")
        self.assertEqual([(card["slot"], card["mode"]) for card in home.status("plugged")["networks"]], [(1, "user"), (0, "bridge")])
        home.run("start", "plugged", "--wait", "running", timeout=BOOT_SECONDS)
        self.assertEqual([name for name in self.namespace.links() if name.startswith("nx")], taps[:1])
        home.run("delete", "plugged", "--yes")
        self.assertEqual((list(self.namespace.links()), self.tables()), (["br0"], set()))

    def place_in_guest(self, name, word, mac_end):
        """The PCI address that the card has in the guest, whatever it is called there; a word of its own for each call."""
        look = f"for n in /sys/class/net/eth*; do grep -q {mac_end} $n/address && echo {word}=$(basename $(readlink -f $n/device/..)); done"
        TinyGuestTest.type_on_console(self, name, look + "\n", f"{word}=0000:")
        return re.search(rf"{word}=(0000:[0-9a-f:.]+)", self.home.console_log(name)).group(1)

    def test_a_published_port_is_served_while_a_supervisor_runs(self):
        home = self.home
        create = ["create", "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "1", "--ram", "128", "--disk", "64M",
                  "--network", "bridge", "--publish", "8022:22"]
        home.run(*create, "bridged", "--wait", "ip", timeout=BOOT_SECONDS)
        network = home.status("bridged")["networks"][0]
        self.assertEqual(network["publish"], [{"host_address": "127.0.0.1", "host_port": 8022, "guest_port": 22, "protocol": "tcp",
                                               "by": "supervisor"}])
        self.assertIn("while this supervisor runs", home.run("status", "bridged").out)
        home.wait_console("bridged", r"^NOXTEST: ready", BOOT_SECONDS)
        self.assertEqual(self.banner(8022), "SSH-")
        refused = home.run("--format", "json", "create", "other", *create[1:], "--no-start", exit=5)
        self.assertEqual(json.loads(refused.err)["error"]["code"], "port-taken", refused)

        noxsup_e2e.kill(home.daemon_pid())
        self.assertEqual(self.banner(8022), "ConnectionRefusedError")
        home.run("list")
        wait_until("the next supervisor serves it", lambda: self.banner(8022) == "SSH-", 30)
        home.run("stop", "bridged", "--force")
        self.assertEqual(self.banner(8022), "ConnectionRefusedError")

    def test_a_macvtap_on_a_card_is_removed_with_its_vm(self):
        home = self.home
        self.lock_macvtap_nodes()
        # The card's other end is on the bridge, as on a switch with a DHCP server.
        for line in ("link add eth0 type veth peer name cable", "link set cable master br0 up", "link set eth0 up"):
            self.namespace.run("ip", *line.split())
        before = set(self.namespace.links())
        created = home.run("create", "wired", "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--cpus", "2", "--ram", "128",
                           "--disk", "64M", "--network", "eth0", timeout=BOOT_SECONDS)
        self.assertIn("do not reach each other", created.err)
        vm = home.status("wired")
        network = vm["networks"][0]
        self.assertEqual((network["mode"], network["bridge"]), ("macvtap", "eth0"))
        address = network["addresses"][0]
        self.assertRegex(address, r"^10\.77\.0\.1[0-5][0-9]$")
        device = self.only_device()
        self.assertEqual((device["linkinfo"]["info_kind"], device["address"]), ("macvtap", network["mac"]))
        self.assertEqual(device["ifalias"], f"noxsup:{vm['uuid']}")
        self.assertTrue(self.answers(address), "by the wire")
        home.run("ssh", "wired", "--", "true", exit=255)
        for flags in (("--network", "br0"), ("--network", "cable"), ("--network", "eth7"), ("--network", "bridge", "--vlan", "20")):
            home.run("create", "wrong", "--image", "tiny", "--arch", "amd64", "--no-start", *flags, exit=8)

        noxsup_e2e.kill(home.daemon_pid())
        wait_until("the address is known after adoption", lambda: self.addressed(home.status("wired"), address), 30)
        home.run("stop", "wired", "--force")
        self.assertEqual(set(self.namespace.links()), before)

        home.run("start", "wired", "--wait", "running", timeout=BOOT_SECONDS)
        pid = home.status("wired")["pid"]
        noxsup_e2e.kill(home.daemon_pid())
        noxsup_e2e.kill(pid)
        self.only_device()
        home.run("list")
        wait_until("it is swept", lambda: set(self.namespace.links()) == before, 30)
        home.run("start", "wired", "--wait", "running", timeout=BOOT_SECONDS)
        self.only_device()
        home.run("delete", "wired", "--yes")
        self.assertEqual(set(self.namespace.links()), before)

    def lock_macvtap_nodes(self):
        """Alone, or skipped: /dev/tapN is named after an index that other namespaces give as well."""
        lock = open(pathlib.Path(tempfile.gettempdir()) / "noxsup-test-macvtap.lock", "w")
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.namespace.run("ip", "link", "add", "probe", "type", "veth", "peer", "name", "robe")
        made = subprocess.run([*self.namespace.prefix, "ip", "link", "add", "link", "probe", "name", "tapped", "type", "macvtap"],
                              capture_output=True, text=True)
        self.namespace.run("ip", "link", "del", "probe")
        if made.returncode != 0:
            self.skipTest(f"no macvtap can be had here: {made.stderr.strip()}")

    def only_device(self):
        devices = [link for name, link in self.namespace.links().items() if name.startswith("nx")]
        self.assertEqual(len(devices), 1, devices)
        return devices[0]

    def banner(self, port):
        return self.namespace.banner("127.0.0.1", port)

    def refuse_addresses(self, in_use):
        """Fixed addresses that a second VM cannot have, `in_use` by a guest's DHCP; and one that it can."""
        for address, code, exit in ((in_use, "address-taken", 5), ("10.77.0.1", "address-taken", 5), ("10.99.0.5", "invalid-argument", 1)):
            refused = self.home.run("--format", "json", "create", "fixed", "--image", "tiny", "--arch", "amd64", "--no-start",
                                    "--ip", f"{address}/24", exit=exit)
            self.assertEqual(json.loads(refused.err)["error"]["code"], code, refused)
        for name, exit in (("fixed", 0), ("second", 5)):
            self.home.run("create", name, "--image", "tiny", "--arch", "amd64", "--boot", "kernel", "--no-start", "--disk", "64M",
                          "--ip", "10.77.0.66/24", "--gateway", "10.77.0.1", exit=exit)
        self.home.run("delete", "fixed", "--yes")

    def tables(self):
        return set(re.findall(r"noxsup_\w+", self.namespace.run("nft", "list", "tables", "bridge")))

    def answers(self, address):
        """Whether a ping from the host comes back; the host asks for the MAC address anew."""
        self.namespace.run("ip", "neigh", "flush", "dev", "br0")
        done = subprocess.run([*self.namespace.prefix, "busybox", "ping", "-c", "1", "-W", "5", address], capture_output=True)
        return done.returncode == 0

    @staticmethod
    def addressed(vm, address):
        return vm if vm["state"] == "running" and address in vm["networks"][0]["addresses"] else None


if __name__ == "__main__":
    noxsup_e2e.main()
