"""Promise P1: the supervisor is killed at random points of random commands; no VM is lost, doubled, leaked or misreported.

Promise P3 with the same 20 QEMUs: stopped ones hang nobody and are told.
"""
import os
import signal
import time

from promises import ADOPTION_SECONDS, Bridge, Clock, PromiseTest, can_make_bridge, length, make_random, noxsup_e2e, wait_until

VMS = 20
BRIDGED = 5  # of them, where a bridge can be made
KILLS = (100, 1000)


class Command:
    """One command line, the VM that it is about, and the states that this VM may be in when it was cut off."""

    def __init__(self, words, name, before, after):
        self.words = words
        self.name = name
        self.before = before
        self.after = after


class SupervisorKilled(PromiseTest):
    """20 VMs whose QEMUs are real and paused."""

    def setUp(self):
        super().setUp()
        self.bridge = None
        if can_make_bridge():
            self.bridge = Bridge()
            self.addCleanup(self.bridge.close)
            self.home.run("daemon", "--stop")
            self.run_through(self.bridge.prefix)
        self.names = [f"vm{number:02}" for number in range(1, VMS + 1)]
        self.bridged = set(self.names[:BRIDGED]) if self.bridge else set()
        for name in self.names:
            self.create(name, network="bridge" if name in self.bridged else "user")
        self.home.run("start", "--paused", *self.names, timeout=300)
        self.model = dict.fromkeys(self.names, "paused")

    # What is true of every home at rest.

    def truth(self, vms, qemus):
        """What `list` says that is not so, as a list of texts."""
        wrong = []
        for name, allowed in self.model.items():
            allowed = allowed if isinstance(allowed, set) else {allowed}
            pids = qemus.get(self.uuids.get(name), [])
            if len(pids) > 1:
                wrong.append(f"{name} has {len(pids)} QEMUs")
            state = vms[name]["state"] if name in vms else "absent"
            if state not in allowed:
                wrong.append(f"{name} is {state}, expected {sorted(allowed)}")
                continue
            is_alive = state in ("running", "paused")
            if is_alive != bool(pids):
                wrong.append(f"{name} is {state} with {len(pids)} QEMUs")
            elif is_alive and vms[name]["pid"] != pids[0][0]:
                wrong.append(f"{name} has pid {vms[name]['pid']}, its QEMU is {pids[0][0]}")
            if name in vms and vms[name]["degraded"]:
                wrong.append(f"{name} is degraded: {vms[name]['degraded']}")
        wrong += [f"{name} was not made here" for name in vms if name not in self.model]
        return wrong

    def wait_truth(self, seconds):
        """Until all that `list` says is so; the VMs as listed."""
        wrong = []

        def right():
            wrong[:] = self.truth(self.listed(), self.qemus())
            return not wrong
        try:
            wait_until("list tells the truth", right, seconds, interval=0.05)
        except AssertionError:
            self.fail(f"not within {seconds} s: {wrong}")
        return self.listed()

    def check_nothing_is_left(self, vms):
        self.assertEqual(self.leftovers(vms), [])
        self.assertEqual(self.zombies(), [])
        if self.bridge:
            running = [name for name in self.bridged if vms[name]["pid"] is not None]
            self.assertEqual(len(self.bridge.taps()), len(running), self.bridge.taps())
            # What a VM left that ended without a supervisor is swept after the adoption.
            wait_until("each TAP has its filter", lambda: self.bridge.filtered() == self.bridge.taps(), ADOPTION_SECONDS)

    # P1

    def choose(self, random):
        """A random command about a random VM that is paused now, or about one that comes and goes."""
        name = random.choice(self.names)
        words = random.choice(("list", "status", "resume", "stop", "restart", "reset", "create", "delete"))
        if words == "list":
            return Command(["list"], name, "paused", "paused")
        if words == "status":
            return Command(["status", name], name, "paused", "paused")
        if words == "resume":
            return Command(["resume", name], name, "paused", "running")
        if words == "stop":
            return Command(["stop", "--force", name], name, "paused", "stopped")
        if words == "restart":
            return Command(["restart", "--force", "--wait", "running", name], name, {"paused", "stopped"}, "running")
        if words == "reset":
            return Command(["reset", name], name, "paused", "running")
        if words == "create":
            return Command(self.create_words("fresh"), "fresh", "absent", "stopped")
        self.home.run(*self.create_words("fresh"))
        self.learn("fresh")
        return Command(["delete", "fresh", "--yes"], "fresh", "stopped", "absent")

    @staticmethod
    def create_words(name):
        return ["create", name, "--image", "small", "--arch", noxsup_e2e.HOST_ARCH, "--boot", "kernel", "--cpus", "1",
                "--ram", "32", "--disk", "64M", "--network", "user", "--no-start"]

    def restore(self, command):
        """The command's VM is as it was before: paused, or not there."""
        name = command.name
        if name == "fresh":
            self.model.pop("fresh")
            self.home.run("delete", "fresh", "--yes", exit=None)
            return
        state = self.home.state(name)
        if state == "running":
            self.home.run("pause", name)
        elif state == "stopped":
            self.home.run("start", "--paused", name)
        self.model[name] = "paused"

    def cut_off(self, command, delay):
        """Runs the command, kills the supervisor after the delay; True when the command had succeeded."""
        running = self.home.start(*command.words)
        time.sleep(delay)
        self.kill_supervisor()
        running.communicate(timeout=120)
        return running.returncode == 0

    def test_no_vm_is_lost(self):
        random = make_random("supervisor killed")
        self.wait_truth(60)
        slowest, descriptors = 0.0, None
        kills = length(*KILLS)
        for number in range(kills):
            command = self.choose(random)
            # Most commands take less than a fifth of a second; later the supervisor is idle.
            delay = random.uniform(0, 0.2) if random.random() < 0.7 else random.uniform(0, 2)
            with self.subTest(kill=number, command=" ".join(command.words), delay=round(delay, 4)):
                before = {uuid: pids for uuid, pids in self.qemus().items() if uuid != self.uuids.get(command.name)}
                succeeded = self.cut_off(command, delay)
                cut = command.before if isinstance(command.before, set) else {command.before}
                self.model[command.name] = {command.after} if succeeded else cut | {command.after}
                if command.words[0] == "create":
                    self.uuids.pop("fresh", None)
                clock = Clock()
                if "fresh" in self.listed():
                    self.learn("fresh")
                vms = self.wait_truth(ADOPTION_SECONDS)
                slowest = max(slowest, clock.seconds)
                after = {uuid: pids for uuid, pids in self.qemus().items() if uuid != self.uuids.get(command.name)}
                self.assertEqual(after, before, "a VM that nobody touched has another QEMU")
                self.check_nothing_is_left(vms)
                self.restore(command)
                self.wait_truth(30)
            self.kill_supervisor()
            self.wait_truth(ADOPTION_SECONDS)
            if descriptors is None:
                descriptors = self.descriptors()
            self.settled_descriptors(descriptors, f"descriptors after kill {number}")
            if self.failed_so_far() > self.failed_before:
                self.fail(f"after {number + 1} kills")
        print(f"{kills} kills with {VMS} QEMUs, {len(self.bridged)} on a bridge: all adopted within {slowest:.2f} s", flush=True)

    # P3

    def signal_qemus(self, names, number):
        pids = [self.qemus()[self.uuids[name]][0][0] for name in names]
        for pid in pids:
            os.kill(pid, number)

    def test_a_hung_qemu_hangs_nobody(self):
        hung = self.names[3:6]
        self.signal_qemus(hung, signal.SIGSTOP)
        try:
            for name in hung:
                clock = Clock()
                self.assertEqual(self.home.state(name), "unresponsive")
                self.assertLess(clock.seconds, 5)
            seconds = sorted(self.timed_list() for _ in range(100))
            print(f"list with 3 hung QEMUs of {VMS}: median {seconds[50] * 1000:.0f} ms, p99 {seconds[98] * 1000:.0f} ms")
            for name in self.names[6:9]:
                self.assertEqual(self.home.state(name), "paused")
            # A supervisor that comes when they hang already.
            self.kill_supervisor()
            clock = Clock()
            vms = self.listed()
            self.assertLess(clock.seconds, 2, "serving within 2 s")
            self.assertEqual(len(vms), VMS)
            self.model.update(dict.fromkeys(hung, "unresponsive"))
            wait_until("the hung ones are told", lambda: self.hung_are_told(hung), 10)
        finally:
            self.signal_qemus(hung, signal.SIGCONT)
        for name in hung:
            wait_until(f"{name} is paused again", lambda name=name: self.home.state(name) == "paused", 5)
        self.model.update(dict.fromkeys(hung, "paused"))
        self.wait_truth(10)

    def timed_list(self):
        clock = Clock()
        self.listed()
        return clock.seconds

    def hung_are_told(self, hung):
        vms = self.listed()
        others = [vms[name]["state"] for name in self.names if name not in hung]
        return all(vms[name]["state"] == "unresponsive" for name in hung) and others == ["paused"] * (VMS - len(hung))


if __name__ == "__main__":
    noxsup_e2e.main()
