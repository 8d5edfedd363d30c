"""A VM on br0: default network, address from the guest's DHCP, its TAP gone with it. All inside a network namespace."""
import json
import os
import shutil
import signal
import stat
import subprocess
import unittest

import noxsup_e2e
from noxsup_e2e import EndToEndTest, alive, guest_image, wait_until

BOOT_SECONDS = 180


class Namespace:
    """A network namespace with a bridge br0, 10.77.0.1/24, and a DHCP server on it; no way out."""

    def __init__(self, directory):
        self.name = f"nxe2e{os.getpid()}"
        self.dnsmasq = None
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        for line in ("link set lo up", "link add br0 type bridge", "addr add 10.77.0.1/24 dev br0", "link set br0 up"):
            self.run("ip", *line.split())
        self.dnsmasq = subprocess.Popen(
            [*self.prefix, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=br0",
             "--bind-interfaces", "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,1h", "--dhcp-authoritative",
             "--no-ping", f"--dhcp-leasefile={directory}/leases", f"--pid-file={directory}/dnsmasq.pid", "--user=root"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @property
    def prefix(self):
        return ["ip", "netns", "exec", self.name]

    def run(self, *words):
        return subprocess.run([*self.prefix, *words], check=True, capture_output=True, text=True).stdout

    def links(self):
        """Every link but lo: {name: link}."""
        listed = json.loads(self.run("ip", "-json", "-details", "link", "show"))
        return {link["ifname"]: link for link in listed if link["ifname"] != "lo"}

    def close(self):
        if self.dnsmasq is not None:
            self.dnsmasq.send_signal(signal.SIGTERM)
            self.dnsmasq.wait(timeout=20)
        subprocess.run(["ip", "netns", "del", self.name], check=False)


@unittest.skipUnless(os.geteuid() == 0, "network namespaces with a bridge need root")
@unittest.skipUnless(shutil.which("dnsmasq") and shutil.which("ip"), "dnsmasq or iproute2 is not installed")
class Bridged(EndToEndTest):
    def setUp(self):
        super().setUp()
        guest = guest_image("tiny-amd64")
        self.namespace = Namespace(self.home.root)
        self.addCleanup(self.namespace.close)
        # The supervisor and all that it starts live in the namespace. Cleanups run in reverse: home first.
        self.addCleanup(self.home.close)
        wrapper = self.home.root / "noxsup"
        wrapper.write_text(f'#!/bin/sh\nexec ip netns exec {self.namespace.name} {noxsup_e2e.program()} "$@"\n')
        wrapper.chmod(stat.S_IRWXU)
        before = os.environ.get("NOXSUP", "noxsup")
        os.environ["NOXSUP"] = str(wrapper)
        self.addCleanup(os.environ.__setitem__, "NOXSUP", before)
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

    @staticmethod
    def addressed(vm, address):
        return vm if vm["state"] == "running" and address in vm["networks"][0]["addresses"] else None


if __name__ == "__main__":
    noxsup_e2e.main()
