"""`noxsup network` with the real ifupdown and systemd-networkd: a card that becomes br0, confirmed, undone, timed out,
killed, taken back at boot. All inside a network and a mount namespace, whose card is a veth pair with a DHCP server at
its other end. NetworkManager is tested where NOXSUP_NETWORK_MANAGER names a directory with its packages unpacked:
installed, it would take over the network of the machine."""
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import noxsup_e2e
from namespaces import needs_root
from noxsup_e2e import EndToEndTest, wait_until

MAC = "02:00:5e:10:00:01"
INTERFACES = "/etc/network/interfaces"
LOOPBACK = "# a comment\nauto lo\niface lo inet loopback\n\n"
STATIC = LOOPBACK + """allow-hotplug eth0
iface eth0 inet static
    address 10.78.0.5/24
    gateway 10.78.0.1
    # a bridge that hangs, or fails, as the test has it
    pre-up test ! -e /run/slow || test ! -e /sys/class/net/$IFACE/bridge || sleep 8
    post-up test ! -e /run/broken || test ! -e /sys/class/net/$IFACE/bridge
iface eth0 inet6 static
    address fd00:78::5/64
"""
DHCP = LOOPBACK + "auto eth0\niface eth0 inet dhcp\n"
WIRED = "/etc/systemd/network/20-wired.network"
PROFILE = "/etc/NetworkManager/system-connections/lan.nmconnection"
JOURNALS = "/var/lib/noxsup/network"


class NetworkHost:
    """A host of its own as far as the network goes: eth0, /etc, /run and /var/lib are not the machine's."""

    def __init__(self):
        self.lan = f"nxlan{os.getpid()}"
        self.dnsmasq = None
        self.manager = None
        self.keeper = subprocess.Popen(["unshare", "--net", "--mount", "--propagation", "private", "cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        ours = os.readlink("/proc/self/ns/net")
        wait_until("the namespaces are there",
                   lambda: os.readlink(f"/proc/{self.keeper.pid}/ns/net") != ours, 10, interval=0.02)
        self.prefix = ["nsenter", "--target", str(self.keeper.pid), "--mount", "--net"]
        script = """
set -e
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /mnt
mkdir /mnt/etc /mnt/etcw /mnt/lib /mnt/libw
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/etcw /etc
mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/mnt/lib,workdir=/mnt/libw /var/lib
rm -rf /var/lib/noxsup
mount -t tmpfs tmpfs /run
mkdir /run/network
ip link set lo up
"""
        self.run("sh", "-c", script)

    def connect(self):
        """eth0, with a DHCP server at the other end of the wire."""
        subprocess.run(["ip", "netns", "add", self.lan], check=True)
        self.run("ip", "link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "wire")
        # An `ip netns` name of the machine: seen by its own ip alone.
        subprocess.run(["nsenter", "--target", str(self.keeper.pid), "--net", "ip", "link", "set", "wire", "netns", self.lan],
                       check=True)
        far = ["ip", "netns", "exec", self.lan]
        for line in ("addr add 10.78.0.1/24 dev wire", "link set wire up"):
            subprocess.run([*far, "ip", *line.split()], check=True)
        self.dnsmasq = subprocess.Popen(
            [*far, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=wire",
             "--bind-interfaces", "--dhcp-range=10.78.0.100,10.78.0.150,255.255.255.0,1h", "--dhcp-authoritative",
             "--no-ping", "--leasefile-ro", "--pid-file=", "--user=root"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, *words, check=True):
        done = subprocess.run([*self.prefix, *words], capture_output=True, text=True, timeout=120)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start_networkd(self):
        """As in a container: where /sys cannot be written it waits for no udev."""
        self.run("sh", "-c", """
set -e
mkdir -p /run/dbus /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
chown -R systemd-network /run/systemd/netif
mount -o remount,ro,bind /sys
dbus-daemon --system --nopidfile --fork
""")
        self.manager = subprocess.Popen([*self.prefix, "/lib/systemd/systemd-networkd"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("networkd answers", lambda: "eth0" in self.run("networkctl", "list", check=False), 20)

    def start_network_manager(self, tree, profile):
        self.run("sh", "-c", f"""
set -e
mkdir -p /run/dbus
mount -t overlay overlay -o lowerdir={tree}/usr:/usr /usr
mkdir -p /etc/NetworkManager/system-connections /etc/dbus-1/system.d /var/lib/NetworkManager
mount -o remount,ro,bind /sys
dbus-daemon --system --nopidfile --fork
""")
        self.write("/etc/NetworkManager/NetworkManager.conf",
                   "[main]\nplugins=keyfile\nrc-manager=unmanaged\nauth-polkit=false\n")
        self.write(PROFILE, profile)
        self.run("chmod", "600", PROFILE)
        self.manager = subprocess.Popen([*self.prefix, "/usr/sbin/NetworkManager", "--no-daemon"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def configuration(self):
        """Every file of the managers: name, mode, owner, digest."""
        return self.run("sh", "-c", "find /etc/network /etc/systemd/network /etc/NetworkManager -type f 2>/dev/null | sort | "
                                    "xargs -d '\\n' -r -I F sh -c 'stat -c \"%n %a %U:%G\" F; sha256sum F'")

    def write(self, path, text):
        subprocess.run([*self.prefix, "tee", path], input=text, text=True, stdout=subprocess.DEVNULL, check=True)

    def read(self, path):
        return self.run("cat", path)

    def exists(self, path):
        return subprocess.run([*self.prefix, "test", "-e", path]).returncode == 0

    def links(self):
        return {link["ifname"]: link for link in json.loads(self.run("ip", "-json", "-details", "link"))}

    def addresses(self, name):
        listed = json.loads(self.run("ip", "-json", "addr", "show", "dev", name, check=False) or "[]")
        return sorted(f"{a['local']}/{a['prefixlen']}" for link in listed for a in link.get("addr_info", [])
                      if a["scope"] == "global")

    def close(self):
        if self.dnsmasq is not None:
            self.dnsmasq.send_signal(signal.SIGTERM)
            self.dnsmasq.wait(timeout=20)
        # What ifup started lives on in the namespace: a DHCP client.
        inside = os.readlink(f"/proc/{self.keeper.pid}/ns/net")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if int(pid) != self.keeper.pid and os.readlink(f"/proc/{pid}/ns/net") == inside:
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue
        if self.manager is not None:
            self.manager.wait(timeout=10)
        self.keeper.stdin.close()
        self.keeper.wait(timeout=10)
        subprocess.run(["ip", "netns", "del", self.lan], check=False, stderr=subprocess.DEVNULL)


class Setup(EndToEndTest):
    """What both managers' tests share."""

    def setUp(self):
        super().setUp()
        self.host = NetworkHost()
        self.addCleanup(self.host.close)
        self.host.connect()

    def noxsup(self, *words, exit=0):
        done = subprocess.run([*self.host.prefix, os.environ["NOXSUP"], "network", *words], capture_output=True, text=True,
                              timeout=120)
        said = f"network {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        self.assertEqual(done.returncode, exit, said)
        return done

    def remember(self):
        self.before = wait_until("eth0 has an address", lambda: self.host.addresses("eth0"), 30)
        self.files = self.host.configuration()

    def bridges(self):
        return json.loads(self.noxsup("ls", "--format", "json").stdout)["bridges"]

    def assert_bridge(self):
        wait_until("br0 has eth0's addresses", lambda: self.host.addresses("br0") == self.before, 30)
        links = self.host.links()
        self.assertEqual(links["eth0"]["master"], "br0")
        self.assertEqual(links["br0"]["address"], MAC)
        self.assertEqual(links["br0"]["linkinfo"]["info_data"]["stp_state"], 0)
        self.assertEqual(self.host.addresses("eth0"), [])

    def assert_as_before(self):
        wait_until("eth0 has its addresses again",
                   lambda: "br0" not in self.host.links() and self.host.addresses("eth0") == self.before, 60)
        wait_until("no journal is left", lambda: not self.host.exists(f"{JOURNALS}/br0.pending"), 20)
        self.assertFalse(self.host.exists(f"{JOURNALS}/br0.confirmed"))
        self.assertEqual(self.host.configuration(), self.files)
        self.assertNotIn("master", self.host.links()["eth0"])


@needs_root
@unittest.skipUnless(all(map(shutil.which, ("networkctl", "dbus-daemon", "ip", "dnsmasq"))),
                     "systemd-networkd, dbus, iproute2 or dnsmasq is not installed")
class Networkd(Setup):
    def begin(self, network="DHCP=ipv4\n"):
        self.host.write(WIRED, f"[Match]\nName=eth*\n\n[Network]\n{network}")
        self.host.start_networkd()
        self.remember()

    def test_dhcp_gives_the_same_lease(self):
        self.begin()
        done = json.loads(self.noxsup("setup", "--yes", "--format", "json").stdout)
        self.assertEqual((done["card"], done["manager"]), ("eth0", "systemd-networkd"))
        self.assert_bridge()
        self.assertEqual(self.bridges()[0]["managed_by"], ["systemd-networkd"])
        self.noxsup("confirm")
        self.noxsup("undo")
        self.assert_as_before()

    def test_static_addresses_go_back_without_confirmation(self):
        self.begin("Address=10.78.0.5/24\nGateway=10.78.0.1\nAddress=fd00:78::5/64\n")
        self.noxsup("setup", "--yes", "--timeout", "4s")
        self.assert_as_before()

    def test_the_next_boot_takes_back(self):
        self.begin()
        self.noxsup("setup", "--yes", "--timeout", "10m")
        self.noxsup("rollback", "--boot")
        self.assert_as_before()

    def test_what_hangs_on_the_card_is_refused(self):
        self.begin()
        self.host.write(WIRED, "[Match]\nName=eth*\n\n[Network]\nDHCP=ipv4\nVLAN=vlan5\n")
        self.assertIn("VLAN=vlan5", self.noxsup("setup", "--yes", exit=5).stderr)
        self.assertFalse(self.host.exists(JOURNALS))


@needs_root
@unittest.skipUnless(os.environ.get("NOXSUP_NETWORK_MANAGER"), "NOXSUP_NETWORK_MANAGER names no tree of NetworkManager's")
class NetworkManager(Setup):
    def begin(self, addresses="method=auto"):
        self.host.start_network_manager(
            os.environ["NOXSUP_NETWORK_MANAGER"],
            "[connection]\nid=lan\nuuid=33333333-3333-4333-8333-333333333333\ntype=ethernet\ninterface-name=eth0\n\n"
            f"[ipv4]\n{addresses}\n\n[ipv6]\nmethod=link-local\n")
        self.remember()

    def test_dhcp_gives_the_same_lease(self):
        self.begin()
        done = json.loads(self.noxsup("setup", "eth0", "--yes", "--format", "json").stdout)
        self.assertEqual(done["manager"], "NetworkManager")
        self.assert_bridge()
        self.assertEqual(self.bridges()[0]["managed_by"], ["NetworkManager"])
        self.noxsup("confirm")
        self.noxsup("undo")
        self.assert_as_before()

    def test_static_addresses_go_back_without_confirmation(self):
        self.begin("method=manual\naddress1=10.78.0.5/24,10.78.0.1")
        self.noxsup("setup", "eth0", "--yes", "--timeout", "4s")
        self.assert_as_before()

    def test_the_next_boot_takes_back(self):
        self.begin()
        self.noxsup("setup", "eth0", "--yes", "--timeout", "10m")
        self.noxsup("rollback", "--boot")
        self.assert_as_before()


@needs_root
@unittest.skipUnless(all(map(shutil.which, ("ifup", "ip", "dnsmasq"))), "ifupdown, iproute2 or dnsmasq is not installed")
class Ifupdown(Setup):
    def begin(self, text):
        self.host.write(INTERFACES, text)
        self.host.run("ifup", "eth0")
        self.remember()

    def test_setup_confirm_undo(self):
        self.begin(STATIC)
        done = json.loads(self.noxsup("setup", "eth0", "--yes", "--format", "json").stdout)
        self.assertEqual((done["bridge"], done["card"], done["manager"]), ("br0", "eth0", "ifupdown"))
        self.assertEqual(sorted(done["addresses"]), self.before)
        self.assertTrue(30 < done["confirm_within_seconds"] <= 60)
        self.assert_bridge()
        self.assertIn("default via 10.78.0.1 dev br0", self.host.run("ip", "route"))
        # Ports that come and go do not change its MAC, though theirs is lower.
        self.host.run("ip", "link", "add", "low", "address", "00:00:5e:00:00:01", "type", "veth")
        self.host.run("ip", "link", "set", "low", "master", "br0")
        self.assertEqual(self.host.links()["br0"]["address"], MAC)
        self.host.run("ip", "link", "del", "low")
        bridge, = self.bridges()
        self.assertEqual((bridge["name"], bridge["ports"], bridge["fixed_mac"]), ("br0", ["eth0"], True))
        self.assertEqual((bridge["setup"]["state"], bridge["setup"]["card"]), ("pending", "eth0"))
        self.assertTrue(0 < bridge["setup"]["seconds_left"] <= 60)
        self.assertIn("waits to be confirmed", self.noxsup("setup", "eth0", "--yes", exit=5).stderr)
        mode = self.host.run("stat", "-c", "%a %U", JOURNALS, f"{JOURNALS}/br0.pending").split("\n")
        self.assertEqual(mode[:2], ["700 root", "600 root"])

        self.noxsup("confirm")
        self.assertEqual(self.bridges()[0]["setup"]["state"], "confirmed")
        self.assertIn("nothing to confirm", self.noxsup("confirm", exit=5).stderr)
        self.assertIn("--network bridge=br0", self.noxsup("setup", "eth0", "--yes", exit=5).stderr)
        # The configuration stands alone: as a boot does it.
        self.host.run("ifdown", "br0")
        self.assertNotIn("br0", self.host.links())
        self.host.run("ifup", "-a")
        self.assertEqual(self.host.addresses("br0"), self.before)

        self.noxsup("undo")
        self.assert_as_before()
        self.assertEqual(self.bridges(), [])

    @unittest.skipUnless(shutil.which("dhclient"), "isc-dhcp-client is not installed")
    def test_dhcp_gives_the_same_lease(self):
        self.begin(DHCP)
        self.noxsup("setup", "--yes")
        wait_until("br0 has the lease", lambda: self.host.addresses("br0") == self.before, 30)
        self.noxsup("confirm")
        self.noxsup("undo")
        self.assert_as_before()

    def test_without_confirmation_all_goes_back(self):
        self.begin(STATIC)
        self.noxsup("setup", "eth0", "--yes", "--timeout", "3s")
        self.assert_as_before()
        self.assertIn("rolled back", self.noxsup("confirm", exit=5).stderr)
        self.assertIn("not confirmed in time", self.host.read(f"{JOURNALS}/watcher.log"))

    def test_a_setup_that_is_killed_goes_back_at_once(self):
        self.begin(STATIC)
        self.host.write("/run/slow", "")
        setup = subprocess.Popen([*self.host.prefix, os.environ["NOXSUP"], "network", "setup", "eth0", "--yes",
                                  "--timeout", "10m"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("the bridge is on its way", lambda: "br0" in self.host.links(), 30, interval=0.05)
        os.kill(setup.pid, signal.SIGKILL)
        setup.wait(timeout=10)
        self.host.run("rm", "/run/slow")
        self.assert_as_before()

    def test_a_setup_that_fails_goes_back(self):
        self.begin(STATIC)
        self.host.write("/run/broken", "")
        begin = time.monotonic()
        done = self.noxsup("setup", "eth0", "--yes", exit=2)
        self.assertLess(time.monotonic() - begin, 60)
        self.assertIn("ifup br0", done.stderr)
        self.assertIn("as it was before", done.stderr)
        self.assert_as_before()

    def test_the_next_boot_takes_back(self):
        self.begin(STATIC)
        self.noxsup("setup", "eth0", "--yes", "--timeout", "10m")
        self.noxsup("rollback")
        self.assertIn("br0", self.host.links(), "it can still be confirmed")
        self.noxsup("rollback", "--boot")
        self.assert_as_before()

    def test_a_dry_run_changes_nothing(self):
        self.begin(STATIC)
        shown = self.noxsup("setup", "eth0", "--dry-run").stdout
        for line in ("$ ifdown eth0", f"+++ {INTERFACES}", "-allow-hotplug eth0", "+auto br0", "$ ifup br0"):
            self.assertIn(line + "\n", shown)
        document = json.loads(self.noxsup("setup", "--dry-run", "--format", "json").stdout)
        self.assertEqual(document["commands"], [["ifdown", "eth0"], ["ifup", "br0"]])
        self.assert_as_before()
        self.assertFalse(self.host.exists("/var/lib/noxsup"))

    def test_what_cannot_be_done_is_refused_and_changes_nothing(self):
        self.begin(STATIC + "iface eth0:1 inet static\n    address 10.78.0.6/24\n")
        for words, code, text in (
                (("setup", "eth9", "--yes"), 1, "no network interface eth9"),
                (("setup", "lo", "--yes"), 5, "lo is no Ethernet card"),
                (("setup", "eth0"), 5, "eth0:1"),
                (("setup", "eth0", "--yes", "--bridge", "a b"), 1, "not a network interface name"),
                (("setup", "eth0", "--yes", "--timeout", "soon"), 1, "--timeout"),
                (("confirm",), 5, "nothing to confirm"),
                (("undo",), 5, "no bridge of noxsup's making")):
            self.assertIn(text, self.noxsup(*words, exit=code).stderr)
        self.host.write(INTERFACES, STATIC)
        self.assertIn("say --yes", self.noxsup("setup", "eth0", exit=1).stderr)
        self.host.run("ip", "link", "add", "upper", "link", "eth0", "type", "macvtap")
        self.assertIn("carries other devices: upper", self.noxsup("setup", "eth0", "--yes", exit=5).stderr)
        self.host.run("ip", "link", "del", "upper")
        self.host.run("ifdown", "eth0")
        self.host.run("ip", "link", "set", "eth0", "up")
        self.assertIn("neither systemd-networkd", self.noxsup("setup", "eth0", "--yes", exit=5).stderr)
        self.assertNotIn("br0", self.host.run("sh", "-c", f"ls {JOURNALS} || true"))


if __name__ == "__main__":
    noxsup_e2e.main()
