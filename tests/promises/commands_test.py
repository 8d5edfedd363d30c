"""Promise P11: one supervisor a home, and commands of many clients one after the other, as a model says."""
import subprocess
import threading

from promises import HOST_ARCH, PromiseTest, length, make_random, noxsup_e2e, wait_until

CLIENTS = 8
OWN = 2  # VMs of each client, which nobody else touches
SHARED = 3  # VMs that all of them touch

# What a command does to a VM in a state: (exit code, state afterwards). A missing state: exit 5, nothing changes.
# A VM that is not there: exit 4 but for create.
MODEL = {
    "create": {"absent": (0, "stopped")},
    "delete": {"stopped": (0, "absent"), "running": (0, "absent"), "paused": (0, "absent")},
    "start": {"stopped": (0, "running"), "running": (0, "running"), "paused": (0, "running")},
    "start-paused": {"stopped": (0, "paused"), "paused": (0, "paused")},
    "stop": {"stopped": (0, "stopped"), "running": (0, "stopped"), "paused": (0, "stopped")},
    "restart": {"stopped": (0, "running"), "running": (0, "running"), "paused": (0, "running")},
    "reset": {"running": (0, "running"), "paused": (0, "running")},
    "pause": {"running": (0, "paused"), "paused": (0, "paused")},
    "resume": {"running": (0, "running"), "paused": (0, "running")},
    "status": {"stopped": (0, "stopped"), "running": (0, "running"), "paused": (0, "paused")},
}
WEIGHTS = {"create": 2, "delete": 1, "start": 3, "start-paused": 2, "stop": 3, "restart": 1, "reset": 2, "pause": 6, "resume": 6,
           "status": 10}


def words_of(command, name):
    if command == "create":
        return ["create", name, "--image", "small", "--arch", HOST_ARCH, "--boot", "kernel", "--cpus", "1", "--ram", "32",
                "--disk", "64M", "--network", "user", "--no-start"]
    return {"start": ["start", "--wait", "running", name], "start-paused": ["start", "--paused", name], "stop": ["stop", "--force", name],
            "restart": ["restart", "--force", "--wait", "running", name], "delete": ["delete", name, "--yes"],
            "status": ["--format", "json", "status", name]}.get(command, [command, name])


class Client(threading.Thread):
    """Makes its share of the commands, and keeps what differed from the model."""

    def __init__(self, test, number, random, commands):
        super().__init__()
        self.test = test
        self.random = random
        self.commands = commands
        self.own = {f"own{number}-{index}": "absent" for index in range(OWN)}
        self.divergences = []

    def run(self):
        try:
            for _ in range(self.commands):
                command = self.random.choices(list(WEIGHTS), WEIGHTS.values())[0]
                if self.random.random() < 0.25:
                    self.try_shared(command)
                else:
                    self.try_own(command)
        except Exception as failure:  # a thread's failure is the test's
            self.divergences.append(repr(failure))

    def try_own(self, command):
        name = self.random.choice(list(self.own))
        state = self.own[name]
        unknown = (4, state) if state == "absent" else (5, state)
        expected, after = MODEL[command].get(state, unknown)
        done = self.test.home.run(*words_of(command, name), exit=None, timeout=300)
        if done.exit != expected:
            self.divergences.append(f"{command} {name} ({state}): exit {expected} expected\n{done}")
        elif command == "status" and expected == 0 and done.json["vms"][0]["state"] != state:
            self.divergences.append(f"{name} is {state}, status says {done.json['vms'][0]['state']}")
        self.own[name] = after

    def try_shared(self, command):
        name = f"shared{self.random.randrange(SHARED)}"
        done = self.test.home.run(*words_of(command, name), exit=None, timeout=300)
        # Somebody else may have come first: the VM is gone, there, stopped or being made.
        if done.exit not in (0, 4, 5):
            self.divergences.append(str(done))


class Commands(PromiseTest):
    def test_random_commands_of_many_clients(self):
        random = make_random("commands")
        total = length(1000, 100_000)
        clients = [Client(self, number, type(random)(random.random()), total // CLIENTS) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        self.assertEqual([text for client in clients for text in client.divergences][:5], [])
        vms = self.listed()
        for name in vms:
            self.learn(name)
        own = {name: state for client in clients for name, state in client.own.items()}
        listed = {name: vm["state"] for name, vm in vms.items() if name in own}
        self.assertEqual(listed, {name: state for name, state in own.items() if state != "absent"})
        qemus = self.qemus()
        for name, vm in vms.items():
            pids = [pid for pid, _ in qemus.get(self.uuids[name], [])]
            self.assertEqual(pids, [] if vm["pid"] is None else [vm["pid"]], name)
            self.assertEqual(vm["pid"] is not None, vm["state"] in ("running", "paused"), name)
            self.assertEqual(vm["degraded"], [], name)
        self.assertEqual(len(self.home.processes("qemu")), sum(vm["pid"] is not None for vm in vms.values()))
        self.assertEqual(self.leftovers(vms), [])
        self.assertEqual(self.zombies(), [])
        print(f"{total} commands of {CLIENTS} clients, as the model says", flush=True)

    def test_two_deletions_are_one(self):
        """The second waits with the first for QEMU's end, and then finds the VM gone."""
        for _ in range(10):
            self.home.run(*words_of("create", "vm"))
            self.home.run(*words_of("start-paused", "vm"))
            started = [self.home.start("delete", "vm", "--yes") for _ in range(2)]
            ended = [(one.communicate(timeout=120), one.returncode) for one in started]
            self.assertEqual(sorted(code for _, code in ended), [0, 4], ended)
        self.assertEqual((self.listed(), self.home.processes("qemu")), ({}, []))

    def test_one_supervisor_of_fifty(self):
        self.home.run("daemon", "--stop")
        wait_until("the supervisor has ended", lambda: self.supervisor() is None, 20)
        started = [subprocess.Popen([noxsup_e2e.program(), "daemon"], env=self.home.environment, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(50)]
        try:
            wait_until("all but one have ended", lambda: sum(one.poll() is None for one in started) == 1, 60)
            living = [one.pid for one in started if one.poll() is None]
            self.assertEqual([one.returncode for one in started if one.poll() is not None], [5] * 49)
            self.home.run("list")
            self.assertEqual(living, [self.supervisor()])
        finally:
            for one in started:
                if one.poll() is None:
                    one.terminate()
                one.wait(timeout=20)

    def test_fifty_starts_are_one_qemu(self):
        self.home.run(*words_of("create", "vm"))
        self.learn("vm")
        # Nor is there a supervisor yet: the fifty start one, too.
        self.home.run("daemon", "--stop")
        started = [self.home.start("start", "vm", "--wait", "running") for _ in range(50)]
        ended = [(one.communicate(timeout=120), one.returncode) for one in started]
        self.assertEqual([text for text, code in ended if code != 0], [])
        self.assertEqual(len(self.home.processes("qemu")), 1)
        self.assertEqual(self.qemus()[self.uuids["vm"]][0][0], self.home.status("vm")["pid"])
        daemons = [pid for pid in self.home.processes("noxsup")]
        self.assertEqual(daemons, [self.supervisor()])


if __name__ == "__main__":
    noxsup_e2e.main()
