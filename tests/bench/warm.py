"""Warm templates in the benchmarks: a create from one beside the raw floor, a guest that stays itself, and a first boot."""
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


class RawClone:
    """A clone by hand: QEMU with the arguments of one of ours, and the words that load the template's devices."""

    def __init__(self, home, template):
        pid = home.status(NAME)["pid"]
        self.arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        self.template = home.path / "templates" / template
        record = json.loads((self.template / "template.json").read_text())["body"]
        self.base = home.path / "images" / f"sha256-{record['disk_digest']}.qcow2"
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="nxwarm-"))
        self.seed = self.directory / "seed.iso"
        self.seed.write_bytes((home.path / "vms" / NAME / "cloud-init.iso").read_bytes())
        # The floor maps the file itself where ours maps a copy in memory: it has to write to a page to copy it.
        self.ram = self.directory / "ram"
        subprocess.run(["cp", "--sparse=always", self.template / "ram", self.ram], check=True)
        self.ram.chmod(0o600)

    def close(self):
        shutil.rmtree(self.directory)

    def files(self):
        """The disk is new each time; the seconds."""
        disk = self.directory / "disk.qcow2"
        disk.unlink(missing_ok=True)
        begin = time.perf_counter()
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(self.base), "-F", "qcow2", str(disk), "5G"], check=True)
        return disk, time.perf_counter() - begin

    def words(self):
        """Its arguments with files and sockets of its own in place of descriptors, on user-mode networking."""
        disk, seconds = self.files()
        opened = {"disk": disk, "base": self.base, "seed": self.seed}
        words, skip = [], False
        for option, value in zip(self.arguments, self.arguments[1:] + [""]):
            if skip:
                skip = False
                continue
            if option == "-add-fd":
                skip = True
                continue
            words.append(option)
        text = []
        for word in words:
            if word.startswith("socket,"):
                name = re.search(r"id=(\w+)", word).group(1)
                word = f"socket,id={name},path={self.directory / name},server=on,wait=off"
            elif word.startswith("user,"):
                word = "user,id=net0,restrict=on"
            elif word.startswith("tap,"):
                # One of its own that is on no bridge: the copy has the template's address.
                vhost = "on" if "vhost=on" in word else "off"
                word = f"tap,id=net0,ifname={RAW_TAP},script=no,downscript=no,vhost={vhost}"
            elif word.startswith("{") and '"node-name"' in word:
                node = json.loads(word)
                name = node["node-name"].removesuffix("-file")
                if node["driver"] == "file":
                    node["filename"] = str(opened[name])
                word = json.dumps(node)
            elif word.startswith("{") and '"memory-backend-file"' in word:
                backend = json.loads(word)
                backend["mem-path"] = str(self.ram)
                word = json.dumps(backend)
            elif word.startswith('{"') and '"virtio-net-pci"' in word:
                device = json.loads(word)
                device["mac"] = "52:54:00:00:00:01"
                word = json.dumps(device)
            text.append(word)
        return text, seconds

    def start(self):
        """Milliseconds to a guest that goes on: overlay, QEMU, the devices loaded, `cont` answered."""
        words, overlay = self.words()
        for name in ("qmp", "console", "agent", "guest"):
            (self.directory / name).unlink(missing_ok=True)
        begin = time.perf_counter()
        with (self.directory / "qemu.log").open("w") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        qmp = socket.socket(socket.AF_UNIX)
        qmp.settimeout(120)
        while True:
            try:
                qmp.connect(str(self.directory / "qmp"))
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError((self.directory / "qemu.log").read_text())
                time.sleep(POLL_SECONDS)
        lines = qmp.makefile("r")
        lines.readline()

        def say(command, arguments=None, fds=()):
            text = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            qmp.sendmsg([text], rights)
            while True:
                try:
                    answer = json.loads(lines.readline())
                except (OSError, ValueError) as error:
                    raise RuntimeError((self.directory / "qemu.log").read_text()) from error
                if "error" in answer:
                    raise RuntimeError(f"{command}: {answer['error']}")
                if "return" in answer:
                    return answer["return"]
        say("qmp_capabilities")
        say("migrate-set-capabilities", {"capabilities": [{"capability": "x-ignore-shared", "state": True}]})
        stream = os.open(self.template / "devices", os.O_RDONLY)
        say("getfd", {"fdname": "devices"}, [stream])
        os.close(stream)
        say("migrate-incoming", {"uri": "fd:devices"})
        while say("query-migrate").get("status") != "completed":
            time.sleep(POLL_SECONDS)
        say("cont")
        milliseconds = (overlay + time.perf_counter() - begin) * 1000
        process.kill()
        process.wait()
        qmp.close()
        return milliseconds


def measure_one_that_stays_itself(home, runs, arguments):
    """From going on to a login by ssh itself, of a guest that nobody gives an identity: it was suspended, and goes on with
    the address that it had."""
    home.run("create", "itself", *SHAPE, *arguments, "--cold", "--timeout", f"{SECONDS}s", timeout=SECONDS + 60)
    home.run("wait", "itself", "--for", "cloud-init", "--timeout", f"{SECONDS}s", timeout=SECONDS + 60)
    times = []
    config = home.root / "ssh-config"
    config.write_text(home.run("ssh-config", "itself").out)
    for _ in range(runs):
        home.run("suspend", "itself", timeout=SECONDS)
        home.run("start", "itself", "--wait", "running", timeout=SECONDS)
        begin = time.perf_counter()
        while subprocess.run(["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "itself", "true"],
                             stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
            if time.perf_counter() - begin > SECONDS:
                raise RuntimeError("no login")
            time.sleep(0.05)
        times.append((time.perf_counter() - begin) * 1000)
    home.run("delete", "itself", "--yes", timeout=SECONDS)
    return times


def measure_warm(home, table, runs, *arguments):
    """A template is made, and goes at the end."""
    os_words = [arguments[1]] if arguments[:1] == ("--os",) else []
    rest = arguments[2:] if os_words else arguments
    begin = time.perf_counter()
    home.run("template", "create", *os_words, *SHAPE, *rest, timeout=2 * SECONDS)
    print(f"the template was made in {time.perf_counter() - begin:.0f} s", flush=True)
    template = home.run("-q", "template", "ls").out.split()[0]
    whole, resumed, to_login, floor = [], [], [], []
    raw = None
    for _ in range(runs):
        milliseconds, stages = create(home, *arguments)
        before = sum(stages.get(name, 0) for name in ("image", "disk", "seed", "launch"))
        whole.append(milliseconds)
        resumed.append(before)
        to_login.append(sum(stages.values()) - before)
        print("warm create: " + ", ".join(f"{name} {value / 1000:.2f} s" for name, value in stages.items()), flush=True)
        raw = raw or RawClone(home, template)
        home.run("delete", NAME, "--yes", timeout=SECONDS)
        floor.append(raw.start())
    raw.close()
    itself = measure_one_that_stays_itself(home, runs, arguments)
    stock = []
    milliseconds, _ = create(home, *arguments, "--stock", "--boot", "firmware")
    stock.append(milliseconds)
    home.run("delete", NAME, "--yes", timeout=SECONDS)
    home.run("template", "rm", template)
    table.add("warm, to resumed", "raw clone", floor)
    table.add("warm, to resumed", "noxsup, supervisor", resumed, "raw clone", "<= 2")
    table.add("resumed, to ssh", "a guest that stays itself", itself)
    table.add("resumed, to ssh", "noxsup, a new identity", to_login, "a guest that stays itself", "<= 1.5")
    table.add("create, to ssh", "first boot as the vendor's", stock)
    table.add("create, to ssh", "noxsup, warm", whole, "first boot as the vendor's", "<= 0.05")
    print(f"a warm create is {statistics.median(stock) / statistics.median(whole):.1f} times as fast as the first boot of "
          "the vendor's way (goal: 20)")
