"""Warm templates in the benchmarks: a create from one beside raw clones that stay themselves, and a first boot."""
import array
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from noxsup_e2e import arguments_of, pss_mib

NAME = "warm"
SHAPE = ("--cpus", "1", "--ram", "512", "--disk", "5")
SECONDS = 1800
POLL_SECONDS = 0.002
RAW_TAP = "nxraw1"


def stages_of(home, name):
    return {stage["name"]: stage["seconds"] * 1000 for stage in home.status(name)["stages"]}


def create(home, *arguments):
    """Milliseconds of the whole command, and of its stages."""
    made = home.run("create", NAME, *SHAPE, *arguments, "--timeout", f"{SECONDS}s", timeout=SECONDS + 60)
    return made.seconds * 1000, stages_of(home, NAME)


class RawQemu:
    """QEMU by hand, waiting for a migration, and its QMP."""

    def __init__(self, words, directory):
        for name in ("qmp", "console", "agent", "guest"):
            (directory / name).unlink(missing_ok=True)
        self.log = directory / "qemu.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.qmp = socket.socket(socket.AF_UNIX)
        self.qmp.settimeout(120)
        while True:
            try:
                self.qmp.connect(str(directory / "qmp"))
                break
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(self.log.read_text()) from None
                time.sleep(POLL_SECONDS)
        self.lines = self.qmp.makefile("r")
        self.lines.readline()
        self.say("qmp_capabilities")

    def say(self, command, arguments=None, fds=()):
        text = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.qmp.sendmsg([text], rights)
        while True:
            try:
                answer = json.loads(self.lines.readline())
            except (OSError, ValueError) as error:
                raise RuntimeError(self.log.read_text()) from error
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def leave_ram_out(self):
        self.say("migrate-set-capabilities", {"capabilities": [{"capability": "x-ignore-shared", "state": True}]})

    def migrate(self, command, path, flags):
        stream = os.open(path, flags, 0o600)
        self.say("getfd", {"fdname": "stream"}, [stream])
        os.close(stream)
        self.say(command, {"uri": "fd:stream"})
        while True:
            status = self.say("query-migrate").get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise RuntimeError(f"{command}: {status}; {self.log.read_text()}")
            time.sleep(POLL_SECONDS)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.lines.close()
        self.qmp.close()


class RawTemplate:
    """A guest of ours that was suspended, with its RAM in a file: QEMUs by hand, with the arguments of ours, that go on
    from it. Nobody gives them an identity, so only one at a time; each writes to copies."""

    def __init__(self, home, name, arguments):
        """@param arguments of its QEMU, when it ran"""
        self.arguments = arguments
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="nxwarm-"))
        vm = home.path / "vms" / name
        self.base = vm / "disk.qcow2"
        self.seed = vm / "cloud-init.iso"
        self.ram = self.directory / "ram"
        self.devices = self.directory / "devices"
        self.tap = any(word.startswith("tap,") for word in arguments)
        if self.tap:
            subprocess.run(["ip", "tuntap", "add", "dev", RAW_TAP, "mode", "tap", "vnet_hdr"], check=True)
            subprocess.run(["ip", "link", "set", RAW_TAP, "master", "br0", "up"], check=True)
        memory = int(re.search(r'"size":(\d+)', " ".join(arguments)).group(1))
        with self.ram.open("wb") as ram:
            ram.truncate(memory)
        qemu = RawQemu(self.words(True)[0], self.directory)
        qemu.migrate("migrate-incoming", vm / "ram-state", os.O_RDONLY)
        qemu.leave_ram_out()
        qemu.migrate("migrate", self.devices, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        qemu.end()

    def close(self):
        if self.tap:
            subprocess.run(["ip", "link", "del", RAW_TAP], check=True)
        shutil.rmtree(self.directory)

    def overlay(self):
        """The disk is new each time; the seconds."""
        disk = self.directory / "disk.qcow2"
        disk.unlink(missing_ok=True)
        begin = time.perf_counter()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(self.base), "-F", "qcow2", str(disk)], check=True)
        return disk, time.perf_counter() - begin

    def words(self, shared):
        """Its arguments with files and sockets of its own in place of descriptors, and no kernel; the seconds that its disk
        took. @param shared whether what the guest writes to its RAM is written to the file"""
        disk, seconds = self.overlay()
        opened = {"disk": disk, "base": self.base, "seed": self.seed}
        words = []
        for option in iter_options(self.arguments):
            if option[0] in ("-add-fd", "-kernel", "-initrd", "-append", "-incoming"):
                continue
            words += [self.own(word, opened, shared) for word in option]
        return [*words, "-incoming", "defer"], seconds

    def own(self, word, opened, shared):
        if word.startswith("socket,"):
            name = re.search(r"id=(\w+)", word).group(1)
            return f"socket,id={name},path={self.directory / name},server=on,wait=off"
        if word.startswith("user,"):
            return word if "restrict=on" in word else word + ",restrict=on"
        if word.startswith("tap,"):
            vhost = "on" if "vhost=on" in word else "off"
            return f"tap,id=net0,ifname={RAW_TAP},script=no,downscript=no,vhost={vhost}"
        if not word.startswith("{"):
            return word
        node = json.loads(word)
        if node.get("qom-type", "").startswith("memory-backend"):
            node = {"qom-type": "memory-backend-file", "id": node["id"], "size": node["size"], "mem-path": str(self.ram),
                    "share": shared}
        elif node.get("driver") == "file" and "node-name" in node:
            node["filename"] = str(opened[node["node-name"].removesuffix("-file")])
        elif node.get("node-name") == "base":
            # The guest's own disk stands on its image.
            node.pop("backing", None)
        return json.dumps(node)

    def start(self):
        """(QEMU, milliseconds to a guest that goes on: overlay, QEMU, the devices loaded, `cont` answered)"""
        words, overlay = self.words(False)
        begin = time.perf_counter()
        qemu = RawQemu(words, self.directory)
        qemu.leave_ram_out()
        qemu.migrate("migrate-incoming", self.devices, os.O_RDONLY)
        qemu.say("cont")
        return qemu, (overlay + time.perf_counter() - begin) * 1000


def iter_options(arguments):
    """The program, then each option with its value, if it has one."""
    option = [arguments[0]]
    for word in arguments[1:]:
        if word.startswith("-"):
            yield option
            option = []
        option.append(word)
    yield option


def milliseconds_to_login(config, name):
    """Of ssh, asked again and again."""
    begin = time.perf_counter()
    while True:
        done = subprocess.run(["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", name, "true"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return (time.perf_counter() - begin) * 1000
        if time.perf_counter() - begin > SECONDS:
            raise RuntimeError(f"no login: {done.stderr}")
        time.sleep(0.05)


def suspend_one(home, arguments):
    """A guest that has booted and goes on where it was: (its template, how ssh reaches it)."""
    home.run("create", "itself", *SHAPE, *arguments, "--cold", "--timeout", f"{SECONDS}s", timeout=SECONDS + 60)
    home.run("wait", "itself", "--for", "cloud-init", "--timeout", f"{SECONDS}s", timeout=SECONDS + 60)
    config = home.root / "ssh-config"
    config.write_text(home.run("ssh-config", "itself").out)
    milliseconds_to_login(config, "itself")
    words = arguments_of(home.status("itself")["pid"])
    home.run("suspend", "itself", timeout=SECONDS)
    return RawTemplate(home, "itself", words), config


def measure_warm(home, table, runs, *arguments):
    """A template is made, and goes at the end."""
    os_words = [arguments[1]] if arguments[:1] == ("--os",) else []
    rest = arguments[2:] if os_words else arguments
    begin = time.perf_counter()
    home.run("template", "create", *os_words, *SHAPE, *rest, timeout=2 * SECONDS)
    print(f"the template was made in {time.perf_counter() - begin:.0f} s", flush=True)
    template = home.run("-q", "template", "ls").out.split()[0]
    raw, config = suspend_one(home, arguments)
    whole, resumed, to_login, raw_resumed, raw_login, memory = [], [], [], [], [], []
    try:
        for _ in range(runs):
            milliseconds, stages = create(home, *arguments)
            before = sum(stages.get(name, 0) for name in ("image", "disk", "seed", "launch"))
            whole.append(milliseconds)
            resumed.append(before)
            to_login.append(sum(stages.values()) - before)
            memory.append(pss_mib(home.status(NAME)["pid"]))
            print("warm create: " + ", ".join(f"{name} {value / 1000:.2f} s" for name, value in stages.items()), flush=True)
            home.run("delete", NAME, "--yes", timeout=SECONDS)
            qemu, milliseconds = raw.start()
            raw_resumed.append(milliseconds)
            raw_login.append(milliseconds_to_login(config, "itself"))
            qemu.end()
            print(f"raw clone: resumed {raw_resumed[-1] / 1000:.2f} s, ssh {raw_login[-1] / 1000:.2f} s", flush=True)
    finally:
        raw.close()
    home.run("delete", "itself", "--yes", timeout=SECONDS)
    stock = []
    milliseconds, _ = create(home, *arguments, "--stock", "--boot", "firmware")
    stock.append(milliseconds)
    booted = pss_mib(home.status(NAME)["pid"])
    home.run("delete", NAME, "--yes", timeout=SECONDS)
    home.run("template", "rm", template)
    table.add("warm, to resumed", "raw clone", raw_resumed)
    table.add("warm, to resumed", "noxsup, supervisor", resumed, "raw clone", "<= 2")
    table.add("resumed, to ssh", "raw clone, itself", raw_login)
    table.add("resumed, to ssh", "noxsup, a new identity", to_login, "raw clone, itself", "<= 1.5")
    table.add("create, to ssh", "first boot as the vendor's", stock)
    table.add("create, to ssh", "noxsup, warm", whole, "first boot as the vendor's", "<= 0.05")
    print(f"memory of QEMU at ssh: {statistics.median(memory):.0f} MiB PSS from the template, nobody else using it; {booted:.0f} "
          "MiB after the vendor's boot")
    print(f"a warm create is {statistics.median(stock) / statistics.median(whole):.1f} times as fast as the first boot of "
          "the vendor's way (goal: 20)")
