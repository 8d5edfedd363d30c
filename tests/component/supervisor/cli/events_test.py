"""`noxsup events` in front of a supervisor of canned answers: forms, Ctrl-C, readers that stop or go, a supervisor that goes."""
import csv
import io
import json
import os
import signal
import subprocess
import time
import unittest

from cli_test import SECONDS, CliTest, error, result

FOLLOW = [{"sleep": 600}]


def event(seq, stream="s1", **members):
    made = {"version": 1, "seq": seq, "time": "2025-01-31T12:00:00.250Z", "kind": "state", "vm": "web", "uuid": None,
            "state": "running", "reason": None, "previous": "starting", "event": None, "data": None}
    made.update(members)
    return {"event": {"stream": stream, "event": made}}


def begin(seq=0, stream="s1"):
    return {"event": {"stream": stream, "seq": seq}}


class Events(CliTest):
    def answer(self, *steps):
        self.replies({"events.subscribe": [begin(), *steps]})

    def follow(self, *arguments, **options):
        self.start_fake()
        process = subprocess.Popen([os.environ["NOXSUP"], *arguments], env=self.environment, stdout=subprocess.PIPE, text=True,
                                   stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
        self.addCleanup(self.end, process)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        return process

    def wait_calls(self, count):
        deadline = time.monotonic() + SECONDS
        while len(self.calls("events.subscribe")) < count:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
        return self.calls("events.subscribe")

    def test_every_form(self):
        shutdown = event(2, kind="qmp", event="SHUTDOWN\x1b[2J\n", data={"text": "\x1b[2J\u009b"}, previous=None)
        missed = event(9, kind="missed", vm=None, state=None, previous=None, count=7)
        self.answer(event(1), shutdown, missed, *result())
        lines = self.noxsup("events").out.splitlines()
        self.assertEqual(lines[0], "2025-01-31T12:00:00.250Z  web           running (was starting)")
        self.assertEqual(len(lines), 3)
        self.assertIn("SHUTDOWN\\x1b[2J", lines[1])
        self.assertIn("7 events missed", lines[2])
        self.assertTrue(all(" " <= c < "\x7f" for line in lines for c in line))
        out = self.noxsup("events", "--format", "json").out
        self.assertEqual([json.loads(line) for line in out.splitlines()],
                         [step["event"]["event"] for step in (event(1), shutdown, missed)])
        self.assertTrue(out.isascii())
        rows = list(csv.DictReader(io.StringIO(self.noxsup("events", "--format", "csv").out, newline="")))
        self.assertEqual([(row["seq"], row["kind"], row["count"]) for row in rows],
                         [("1", "state", ""), ("2", "qmp", ""), ("9", "missed", "7")])
        self.assertEqual(self.noxsup("-q", "events").out, "web\nweb\n")
        self.assertEqual(self.calls()[0]["params"], {"follow": False, "names": []})

    def test_what_is_asked_for(self):
        self.answer(*result())
        self.assertEqual(self.noxsup("events", "web", "db", "-n", "5").out, "")
        self.assertEqual(self.calls()[0]["params"], {"follow": False, "names": ["web", "db"], "last": 5})
        self.noxsup("events", "Bad_Name", exit=1)
        self.assertEqual(len(self.calls()), 1)
        self.replies({"events.subscribe": error("vm-not-found", "no web")})
        self.assertIn("no web", self.noxsup("events", "web", exit=4).err)
        self.assertIn("no web", self.noxsup("events", "-f", "web", exit=4).err)

    def test_follow_until_ctrl_c(self):
        self.answer(event(1), *FOLLOW)
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.follow("events", "-f")
            self.assertIn("running", process.stdout.readline())
            self.assertIsNone(process.poll())
            process.send_signal(number)
            self.assertEqual(process.wait(SECONDS), 130)
            self.assertEqual(process.stderr.read(), "")

    def test_ctrl_c_while_nobody_reads(self):
        self.answer(*[event(seq, data={"text": "x" * 1000}) for seq in range(1, 500)], *FOLLOW)
        process = self.follow("--format", "json", "events", "--follow")
        self.assertIn('"seq":1', process.stdout.readline())
        time.sleep(0.5)  # the pipe is full by now, or will be
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SECONDS), 130)

    def test_a_reader_that_goes_ends_it_quietly(self):
        self.answer(event(1), {"sleep": 0.5}, event(2), *FOLLOW)
        process = self.follow("events", "-f")
        process.stdout.readline()
        process.stdout.close()
        self.assertEqual(process.wait(SECONDS), 0)
        self.assertEqual(process.stderr.read(), "")

    def test_it_goes_on_with_the_next_supervisor_and_starts_none(self):
        self.answer(event(41), event(42), *FOLLOW)
        process = self.follow("events", "-f", "web")
        for _ in range(2):
            process.stdout.readline()
        for end in (lambda: self.fake.kill(), lambda: self.noxsup("daemon", "--stop")):
            calls = len(self.calls("events.subscribe"))
            end()
            self.fake.wait(SECONDS)
            time.sleep(0.5)
            self.assertIsNone(process.poll())
            # A supervisor that it had started would hold the lock, and this one would end.
            self.fake = None
            self.answer(event(43), *FOLLOW)
            self.start_fake()
            self.assertEqual(self.wait_calls(calls + 1)[-1]["params"]["names"], ["web"])
            self.assertIn("running", process.stdout.readline())
        asked = [(call["params"].get("stream"), call["params"].get("since")) for call in self.calls("events.subscribe")]
        self.assertEqual(asked, [(None, None), ("s1", 42), ("s1", 43)])
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(SECONDS), 130)
        self.assertEqual(process.stderr.read().splitlines(), ["the supervisor has ended; waiting for the next"] * 2)

    def test_without_follow_a_supervisor_that_dies_is_an_error(self):
        self.answer(event(1), *FOLLOW)
        process = self.follow("events")
        process.stdout.readline()
        self.fake.kill()
        self.assertEqual(process.wait(SECONDS), 3)


if __name__ == "__main__":
    unittest.main()
