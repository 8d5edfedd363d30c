"""Promise P9 with the real supervisor: wrong state files beside a good one. tests/component has all 200."""
import json
import shutil
import subprocess
import zlib

from promises import PromiseTest, noxsup_e2e, start_time, wait_until


def seal(body):
    """The text of a meta.json around a body, with its checksum."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return json.dumps({"noxsup_vm": 1, "checksum": f"crc32:{zlib.crc32(text.encode()):08x}", "body": body})


class DamagedStates(PromiseTest):
    def setUp(self):
        super().setUp()
        self.create("good")
        self.home.run("daemon", "--stop")
        wait_until("the supervisor has ended", lambda: self.supervisor() is None, 20)
        self.body = json.loads((self.home.path / "vms/good/meta.json").read_text())["body"]

    def put(self, name, number, change=None, text=None):
        """A VM of its own, changed."""
        directory = self.home.path / "vms" / name
        shutil.copytree(self.home.path / "vms/good", directory, symlinks=True)
        body = json.loads(json.dumps(self.body))
        body["spec"].update(name=name, id=f"{number:08x}", uuid=f"6f1c9a52-7a3e-4f0b-9c55-{number:012x}")
        body["spec"]["networks"][0]["mac"] = f"52:54:00:00:00:{number:02x}"
        if change:
            change(body)
        (directory / "meta.json").write_text(text if text is not None else seal(body))
        (directory / "meta.json.prev").unlink(missing_ok=True)

    def identity(self, pid, ticks=0):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot_id:
            return {"pid": pid, "start_time": int(start_time(pid)) + ticks, "boot_id": boot_id.read().strip()}

    def test_each_is_told_and_costs_nobody_anything(self):
        wrong = {
            "empty": dict(text=""),
            "half": dict(text='{"noxsup_vm": 1, "body": {'),
            "deep": dict(text='{"noxsup_vm": 1, "x": ' + "[" * 100_000 + "]" * 100_000 + "}"),
            "newer": dict(text='{"noxsup_vm": 2}'),
            "no-spec": dict(change=lambda body: body.pop("spec")),
            "slash": dict(change=lambda body: body["spec"].update(name="a/b")),
            "cpus": dict(change=lambda body: body["spec"].update(cpus="two")),
            "ram": dict(change=lambda body: body["spec"].update(memory_bytes=1 << 63)),
            "state": dict(change=lambda body: body.update(state="flying")),
            "init": dict(change=lambda body: body.update(state="running", qemu=self.identity(1))),
            "twin": dict(change=lambda body: body["spec"].update(id=self.body["spec"]["id"])),
        }
        for number, (name, how) in enumerate(wrong.items(), 2):
            self.put(name, number, **how)
        with subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL) as stranger:
            try:
                self.put("exact", 40, lambda body: body.update(state="running", qemu=self.identity(stranger.pid)))
                self.put("earlier", 41, lambda body: body.update(state="running", qemu=self.identity(stranger.pid, -1)))
                names = ["good", "exact", "earlier"]
                vms = self.listed()
                self.assertEqual(sorted(vms), sorted([*names, *wrong]))
                for name in names:
                    self.assertEqual(self.home.state(name), "stopped", name)
                for name in wrong:
                    vm = self.home.status(name)
                    self.assertEqual(vm["state"], "damaged", name)
                    self.assertTrue(vm["degraded"][0], name)
                    self.assertIn(vm["degraded"][0][:40], self.home.run("status", name).out)
                    self.home.run("start", name, exit=5)
                    self.home.run("stop", "--force", name, exit=5)
                for name in names[1:]:
                    self.home.run("stop", "--force", name)
                self.home.run("start", "good", "--wait", "running")
                self.assertEqual(self.home.state("good"), "running")
                self.home.run("stop", "--force", "good")
                self.assertIsNone(stranger.poll(), "a stranger was signalled")
                for name in wrong:
                    self.assertTrue((self.home.path / "vms" / name / "disk.qcow2").exists(), name)
            finally:
                stranger.kill()


if __name__ == "__main__":
    noxsup_e2e.main()
