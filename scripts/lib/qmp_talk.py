"""What scripts/record-qmp records with: a QEMU, a connection to it, and the list of conversations."""
import array
import json
import os
import signal
import socket
import subprocess

NEGOTIATION = 900000  # id of qmp_capabilities while recording
DEADLINE = 30.0

RAW_MACHINES = {
    "aarch64": ["-M", "virt", "-cpu", "cortex-a57"],
    "x86_64": ["-M", "q35"],
}


class Machine:
    """One QEMU in a directory of its own, with a QMP socket."""

    def __init__(self, arch, arguments, directory, paused=True):
        self.arch = arch
        self.directory = directory
        self.socket = os.path.join(directory, "qmp")
        self.arguments = RAW_MACHINES[arch] + [
            "-accel", "tcg", "-m", "32", "-nodefaults", "-no-user-config", "-display", "none",
        ] + (["-S"] if paused else []) + arguments
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Bound by a relative name: QEMU tells it in replies, which are to be the same everywhere.
        before = os.getcwd()
        os.chdir(directory)
        listener.bind("qmp")
        os.chdir(before)
        listener.listen(4)
        number = listener.fileno()
        chardev = f"socket,id=qmp,fd={number},server=on,wait=off"
        argv = [f"qemu-system-{arch}", *self.arguments, "-chardev", chardev, "-mon",
                "chardev=qmp,mode=control"]
        self.log = open(os.path.join(directory, "log"), "wb")
        self.process = subprocess.Popen(argv, cwd=directory, pass_fds=[number], stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL)
        listener.close()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.log.close()


class Talk:
    """One connection to a Machine and the record of it."""

    def __init__(self, machine):
        self.machine = machine
        self.items = []
        self.commands = 0
        self.buffer = b""
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.settimeout(DEADLINE)
        self.connection.connect(machine.socket)

    def line(self):
        """The next line from QEMU, recorded; None at the end of the stream."""
        while b"\r\n" not in self.buffer:
            try:
                data = self.connection.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.items.append("! eof")
                return None
            self.buffer += data
        text, self.buffer = self.buffer.split(b"\r\n", 1)
        self.items.append("< " + text.decode("utf-8"))
        return json.loads(text)

    def until(self, wanted):
        """Lines up to the one that wanted() accepts; that one."""
        while True:
            message = self.line()
            if message is None:
                raise RuntimeError("QEMU hung up")
            if wanted(message):
                return message

    def negotiate(self):
        self.until(lambda m: "QMP" in m)
        command = {"execute": "qmp_capabilities", "id": NEGOTIATION}
        self.connection.sendall(json.dumps(command).encode() + b"\n")
        self.items.append("> " + json.dumps(command))
        self.until(lambda m: m.get("id") == NEGOTIATION)

    def send(self, execute, /, fd=None, **arguments):
        """Sends a command; returns its id. Underscores in argument names become hyphens."""
        self.commands += 1
        command = {"execute": execute, "id": self.commands}
        if arguments:
            command["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        text = json.dumps(command)
        data = text.encode() + b"\n"
        if fd is None:
            self.connection.sendall(data)
        else:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
            sent = self.connection.sendmsg([data], [rights])
            self.connection.sendall(data[sent:])
        self.items.append((">fd " if fd is not None else "> ") + text)
        return self.commands

    def do(self, execute, /, fd=None, **arguments):
        """Sends a command and reads up to its reply; returns that."""
        number = self.send(execute, fd, **arguments)
        return self.until(lambda m: m.get("id") == number)

    def raw(self, text):
        """Sends a line that is no command, and reads QEMU's complaint."""
        self.connection.sendall(text.encode() + b"\n")
        self.items.append(">raw " + text)
        return self.until(lambda m: "error" in m)

    def event(self, name):
        return self.until(lambda m: m.get("event") == name)

    def to_end(self):
        while self.line() is not None:
            pass

    def quit(self):
        self.send("quit")
        self.to_end()

    def write(self, path, title):
        last = str(self.commands + 1)
        lines = ["# " + title,
                 f"# qemu-system-{self.machine.arch} " + " ".join(self.machine.arguments)]
        for item in self.items:
            lines.append(item.replace(f'"id": {NEGOTIATION}', '"id": ' + last))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


RECORDINGS = []


def recording(*archs, title, arguments=(), paused=True, prepare=None):
    """Registers a function(talk) that holds one conversation, for each architecture."""
    def register(function):
        for arch in archs:
            name = function.__name__.replace("_", "-")
            short = {"aarch64": "arm64", "x86_64": "amd64"}[arch]
            RECORDINGS.append((f"{name}-{short}", arch, title, arguments, paused, prepare, function))
        return function
    return register
