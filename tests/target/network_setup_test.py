"""`noxsup network` on a host with systemd: networkd and, where its packages were brought along, NetworkManager.

The card is a veth pair whose other end is a LAN of its own: a network namespace with dnsmasq. The machine's own cards
are left alone, for ssh comes in through one of them.
"""
import json
import pathlib
import shutil
import subprocess
import time
import unittest

from on_target import EndToEndTest, SystemHome, system, wait_until

JOURNALS = pathlib.Path("/var/lib/noxsup/network")
NETWORKD = pathlib.Path("/etc/systemd/network")
PROFILES = pathlib.Path("/etc/NetworkManager/system-connections")
MAC = "02:00:5e:10:00:01"
SECONDS = 90  # everything is slow in a machine that is emulated


class Lan:
    """A card `nxcard` with a DHCP server at the other end of its wire."""

    def __init__(self):
        for line in ("netns add nxlan", f"link add nxcard address {MAC} type veth peer name nxwire",
                     "link set nxwire netns nxlan", "-n nxlan addr add 10.79.0.1/24 dev nxwire",
                     "-n nxlan link set nxwire up"):
            system("ip", *line.split())
        self.dnsmasq = subprocess.Popen(
            ["ip", "netns", "exec", "nxlan", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0",
             "--interface=nxwire", "--bind-interfaces", "--dhcp-range=10.79.0.100,10.79.0.150,255.255.255.0,1h",
             "--dhcp-authoritative", "--no-ping", "--leasefile-ro", "--pid-file=", "--user=root"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        self.dnsmasq.terminate()
        self.dnsmasq.wait(timeout=20)
        system("ip", "link", "del", "nxcard", check=False)
        system("ip", "netns", "del", "nxlan", check=False)


def links():
    return {link["ifname"]: link for link in json.loads(system("ip", "-json", "-details", "link"))}


def addresses(name):
    listed = json.loads(system("ip", "-json", "addr", "show", "dev", name, check=False) or "[]")
    return sorted(f"{a['local']}/{a['prefixlen']}" for link in listed for a in link.get("addr_info", [])
                  if a["scope"] == "global")


def contents(*directories):
    """Every file below: {path: (mode, owner, bytes)}"""
    found = {}
    for directory in directories:
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                state = path.stat()
                found[str(path)] = (state.st_mode, state.st_uid, state.st_gid, path.read_bytes())
    return found


class Setup(EndToEndTest):
    """What holds for each manager; begin() has it bring the card up."""

    manager = None
    watched = ()

    def setUp(self):
        super().setUp()
        if self.manager is None:
            raise unittest.SkipTest("only for the managers")
        self.home = SystemHome()
        self.addCleanup(self.home.close)
        self.lan = Lan()
        self.addCleanup(self.lan.close)
        self.addCleanup(self.clear)
        self.begin()
        self.before = wait_until("the card has an address", lambda: addresses("nxcard"), SECONDS)
        self.files = contents(*self.watched)

    def clear(self):
        # A test that failed in the middle leaves the next one nothing.
        self.home.run("network", "undo", "--bridge", "nxbr", "--force", exit=None, timeout=SECONDS * 4)

    def noxsup(self, *words, exit=0):
        return self.home.run("network", *words, exit=exit, timeout=SECONDS * 4)

    def make(self, timeout="10m"):
        return self.noxsup("setup", "nxcard", "--bridge", "nxbr", "--yes", "--timeout", timeout, "--format", "json").json

    def assert_bridge(self):
        wait_until("the bridge has the card's address", lambda: addresses("nxbr") == self.before, SECONDS)
        found = links()
        self.assertEqual(found["nxcard"]["master"], "nxbr")
        self.assertEqual(found["nxbr"]["address"], MAC)
        self.assertEqual(found["nxbr"]["linkinfo"]["info_data"]["stp_state"], 0)
        self.assertEqual(addresses("nxcard"), [])

    def assert_as_before(self):
        wait_until("the card has its address again",
                   lambda: "nxbr" not in links() and addresses("nxcard") == self.before, SECONDS * 2)
        wait_until("no journal is left", lambda: not list(JOURNALS.glob("nxbr.*")), SECONDS)
        self.assertEqual(contents(*self.watched), self.files)

    def test_1_setup_confirm_undo(self):
        shown = self.noxsup("setup", "nxcard", "--bridge", "nxbr", "--dry-run").out
        self.assertIn("nxbr", shown)
        self.assertEqual(contents(*self.watched), self.files)
        self.assertFalse(list(JOURNALS.glob("nxbr.*")))
        done = self.make()
        self.assertEqual((done["manager"], done["bridge"]), (self.manager, "nxbr"))
        self.assert_bridge()
        bridge = next(b for b in self.noxsup("ls", "--format", "json").json["bridges"] if b["name"] == "nxbr")
        self.assertEqual((bridge["ports"], bridge["usable"], bridge["setup"]["state"]), (["nxcard"], True, "pending"))
        self.assertEqual(bridge["managed_by"], [self.manager])
        self.noxsup("confirm")
        # What is on the disk makes it again, as the next boot does.
        self.restart()
        self.assert_bridge()
        self.noxsup("undo", "--bridge", "nxbr")
        self.assert_as_before()

    def test_2_without_confirmation_all_goes_back(self):
        self.make("5s")
        self.assert_as_before()
        self.noxsup("confirm", exit=5)

    def test_3_the_unit_of_the_next_boot_takes_back(self):
        self.make()
        self.assert_bridge()
        system("systemctl", "start", "noxsup-network-rollback.service")
        self.assert_as_before()
        # Without a journal its condition keeps it from running.
        system("systemctl", "start", "noxsup-network-rollback.service")
        self.assertEqual(system("systemctl", "show", "--property", "ConditionResult", "--value",
                                "noxsup-network-rollback.service").strip(), "no")

    def test_4_the_watcher_outlives_who_made_it(self):
        # A unit of its own, all of whose processes systemd kills.
        system("systemd-run", "--wait", "--collect", "--unit", "nxsetup", "noxsup", "network", "setup", "nxcard",
               "--bridge", "nxbr", "--yes", "--timeout", "20s")
        self.assertIn("nxbr", links())
        begin = time.monotonic()
        system("systemctl", "restart", "noxsup.service")
        self.assert_as_before()
        self.assertLess(time.monotonic() - begin, SECONDS * 2)


class Networkd(Setup):
    manager = "systemd-networkd"
    watched = (NETWORKD,)

    def begin(self):
        own = NETWORKD / "30-nxcard.network"
        own.write_text("[Match]\nName=nxcard\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n")
        self.addCleanup(system, "networkctl", "reload")
        self.addCleanup(own.unlink)
        system("networkctl", "reload")
        system("networkctl", "reconfigure", "nxcard")

    def restart(self):
        system("networkctl", "delete", "nxbr")
        system("systemctl", "restart", "systemd-networkd.service")

    def test_5_wifi_and_the_like_are_refused(self):
        self.assertIn("no network interface wlan7", self.noxsup("setup", "wlan7", "--bridge", "nxbr", "--yes", exit=1).err)
        self.assertIn("br0 is a bridge already", self.noxsup("setup", "br0", "--bridge", "nxbr", "--yes", exit=5).err)
        self.assertIn("there is a bridge br0 already", self.noxsup("setup", "nxcard", "--yes", exit=5).err)
        self.assertEqual(contents(*self.watched), self.files)


@unittest.skipUnless(shutil.which("nmcli"), "NetworkManager's packages were not brought along")
class NetworkManager(Setup):
    manager = "NetworkManager"
    watched = (PROFILES,)

    def begin(self):
        own = PROFILES / "lan.nmconnection"
        own.write_text("[connection]\nid=lan\nuuid=33333333-3333-4333-8333-333333333333\ntype=ethernet\n"
                       "interface-name=nxcard\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=link-local\n")
        own.chmod(0o600)
        self.addCleanup(system, "nmcli", "connection", "reload")
        self.addCleanup(own.unlink)
        system("nmcli", "connection", "reload")
        system("nmcli", "device", "set", "nxcard", "managed", "yes")
        system("nmcli", "--wait", "60", "connection", "up", "lan")

    def restart(self):
        system("systemctl", "restart", "NetworkManager.service")
