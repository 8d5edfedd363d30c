"""Namespaces that a test makes for itself: a bridge with DHCP and no way out, and mounts that only the test sees."""
import json
import os
import shutil
import signal
import subprocess
import unittest

from noxsup_e2e import wait_until

needs_root = unittest.skipUnless(os.geteuid() == 0, "namespaces with mounts or a bridge need root")
needs_bridge_tools = unittest.skipUnless(all(map(shutil.which, ("dnsmasq", "ip", "nft"))),
                                         "dnsmasq, iproute2 or nftables is not installed")


class NetworkNamespace:
    """A network namespace with loopback alone; no way out."""

    def __init__(self, name="e2e"):
        self.name = f"nx{name}{os.getpid()}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def prefix(self):
        return ["ip", "netns", "exec", self.name]

    def run(self, *words):
        return subprocess.run([*self.prefix, *words], check=True, capture_output=True, text=True).stdout

    def can(self, *words):
        return subprocess.run([*self.prefix, *words], capture_output=True, check=False).returncode == 0

    def banner(self, address, port):
        """The first four bytes that a port says to someone in here, or the name of the error."""
        talk = f"""
import socket
try:
    print(socket.create_connection(("{address}", {port}), 20).recv(4).decode())
except OSError as error:
    print(type(error).__name__)
"""
        return self.run("python3", "-c", talk).strip()

    def links(self):
        """Every link but lo: {name: link}."""
        listed = json.loads(self.run("ip", "-json", "-details", "link", "show"))
        return {link["ifname"]: link for link in listed if link["ifname"] != "lo"}

    def connect(self, other, here, there):
        """A cable to another namespace; the addresses at its ends are called eth0 here and there."""
        self.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other.name)
        for namespace, address in ((self, here), (other, there)):
            namespace.run("ip", "addr", "add", address, "dev", "eth0")
            namespace.run("ip", "link", "set", "eth0", "up")

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], check=False)


class BridgeNamespace(NetworkNamespace):
    """One with a bridge br0, 10.77.0.1/24, and a DHCP server on it."""

    def __init__(self, directory):
        self.dnsmasq = None
        super().__init__()
        for line in ("link add br0 type bridge", "addr add 10.77.0.1/24 dev br0", "link set br0 up"):
            self.run("ip", *line.split())
        self.dnsmasq = subprocess.Popen(
            [*self.prefix, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=br0",
             "--bind-interfaces", "--dhcp-range=10.77.0.100,10.77.0.150,255.255.255.0,1h", "--dhcp-authoritative",
             "--no-ping", f"--dhcp-leasefile={directory}/leases", f"--pid-file={directory}/dnsmasq.pid", "--user=root"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def close(self):
        if self.dnsmasq is not None:
            self.dnsmasq.send_signal(signal.SIGTERM)
            self.dnsmasq.wait(timeout=20)
        super().close()


class MountNamespace:
    """A mount namespace that lives until close(); what is mounted in it goes with it."""

    def __init__(self):
        # cat ends when this process closes its input, also by dying.
        self.keeper = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        ours = os.readlink("/proc/self/ns/mnt")
        wait_until("the mount namespace is there",
                   lambda: os.readlink(f"/proc/{self.keeper.pid}/ns/mnt") != ours, 10, interval=0.02)

    @property
    def prefix(self):
        return ["nsenter", "--target", str(self.keeper.pid), "--mount"]

    def run(self, *words):
        return subprocess.run([*self.prefix, *words], check=True, capture_output=True, text=True).stdout

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(timeout=10)
