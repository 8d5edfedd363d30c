"""create without a start: where its image comes from, what keeps that image, and what two creates at once come to."""
import http.server
import json
import os
import re
import subprocess
import threading

import noxsup_e2e
from noxsup_e2e import EndToEndTest


class Create(EndToEndTest):
    def create(self, name, *arguments, **options):
        return self.home.run("--format", "json", "create", name, "--no-start", "--network", "user", *arguments, **options)

    def refused(self, name, *arguments, code, exit):
        """The create fails with that code; returns the whole error."""
        result = self.create(name, *arguments, exit=exit)
        error = json.loads(result.err.strip().splitlines()[-1])["error"]
        self.assertEqual(error["code"], code, result)
        return error

    def at_once(self, *commands):
        """Runs all creates side by side; returns (exit code, stderr) of each, in their order."""
        self.home.run("list")  # starts the supervisor
        running = [self.home.start("--format", "json", "create", *command, "--no-start", "--network", "user") for command in commands]
        results = []
        for process in running:
            err = process.communicate(timeout=120)[1]
            results.append((process.returncode, err))
        return results

    def images(self):
        return {image["name"]: image["used_by"] for image in self.home.run("--format", "json", "image", "ls").json["images"]}

    def test_create_from_a_file(self):
        file = self.disk_image("Small Disk.qcow2")
        self.create("vm1", "--image", str(file))
        self.create("vm2", "--image", str(file))
        self.assertEqual(self.images(), {"small-disk": ["vm1", "vm2"]}, "the same content is the same image")
        self.assertEqual(self.home.status("vm1")["image"], "small-disk")

        other = self.disk_image("other/Small Disk.qcow2", "96M")
        self.create("vm3", "--image", str(other))
        # A name that has nothing to make a name of, and one that stands for an OS.
        self.create("vm4", "--image", str(self.disk_image("...qcow2", "65M")))
        self.create("vm5", "--image", str(self.disk_image("debian-13-arm64.qcow2", "66M")))
        self.assertEqual(self.images(), {"small-disk": ["vm1", "vm2"], "small-disk-2": ["vm3"], "image": ["vm4"],
                                         "debian-13-arm64-2": ["vm5"]})
        arch = "arm64" if noxsup_e2e.HOST_ARCH == "amd64" else "amd64"
        self.create("vm6", "--image", str(file), "--arch", arch)
        self.assertEqual(self.home.status("vm6")["image"], "small-disk")

    def test_a_file_that_is_no_image_gets_a_hint_that_works(self):
        file = self.home.root / "fs.img"
        file.write_bytes(b"\x11" * (1 << 20))
        error = self.refused("vm1", "--image", str(file), code="image-invalid", exit=2)
        for flag in re.findall(r"--[a-z-]+", error["hint"]):
            self.assertTrue(flag == "--raw" and "noxsup image import" in error["hint"], error)
        self.assertEqual(self.images(), {})

    def test_create_from_a_url(self):
        disks = {"/disk.qcow2": self.disk_image("a.qcow2").read_bytes(),
                 "/other/disk.qcow2": self.disk_image("b.qcow2", "96M").read_bytes()}
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(disks[self.path])))
                self.end_headers()
                self.wfile.write(disks[self.path])

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/disk.qcow2"
        results = self.at_once(("vm1", "--image", url), ("vm2", "--image", url))
        self.assertEqual([exit for exit, _ in results], [0, 0], results)
        self.assertEqual(requests, ["/disk.qcow2"], "downloaded once")
        self.create("vm3", "--image", url.replace("/disk", "/other/disk"))
        self.assertEqual(self.images(), {"disk": ["vm1", "vm2"], "disk-2": ["vm3"]})

    def test_an_image_whose_metadata_is_lost_keeps_its_size(self):
        self.import_image()
        for file in (self.home.path / "images").glob("sha256-*.json"):
            file.unlink()
        self.refused("vm1", "--image", "small", "--disk", "32M", code="disk-too-small", exit=1)
        self.create("vm1", "--image", "small", "--disk", "64M")

    def test_a_vm_without_a_readable_record_keeps_its_base(self):
        self.import_image()
        self.create("vm1", "--image", "small")
        noxsup_e2e.kill(self.home.daemon_pid())
        directory = self.home.path / "vms/vm1"
        for meta in directory.glob("meta.json*"):
            meta.write_text("{ \"name\": \"vm1\", ")
        self.home.run("image", "rm", "small", exit=5)
        self.assertEqual(self.images(), {"small": ["vm1"]})
        # Nothing but the disk is left, then nothing that could be read.
        for meta in directory.glob("meta.json*"):
            meta.unlink()
        self.assertIn("base of a VM", self.home.run("image", "rm", "small", exit=5).err)
        disk = directory / "disk.qcow2"
        whole = disk.read_bytes()
        for bad in (b"", b"QFI\xfb", bytes(len(whole)), whole[:60]):
            disk.write_bytes(bad)
            self.assertIn("vm1", self.home.run("image", "rm", "small", exit=5).err)
        disk.unlink()
        self.home.run("image", "rm", "small")

    def test_two_at_once_make_one_key_of_the_home(self):
        self.import_image()
        results = self.at_once(("vm1", "--image", "small"), ("vm2", "--image", "small"))
        self.assertEqual([exit for exit, _ in results], [0, 0], results)
        ssh = self.home.path / "ssh"
        self.assertEqual(sorted(os.listdir(ssh)), ["id_ed25519", "id_ed25519.pub"])
        key = subprocess.run(["ssh-keygen", "-y", "-f", str(ssh / "id_ed25519")], check=True, capture_output=True, text=True).stdout
        for name in ("vm1", "vm2"):
            self.assertIn(key.split()[1], (self.home.path / f"vms/{name}/user-data").read_text())

    def test_two_at_once_do_not_get_one_mac(self):
        self.import_image()
        command = ("--image", "small", "--mac", "52:54:00:12:34:56")
        results = self.at_once(("vm1", *command), ("vm2", *command))
        self.assertEqual(sorted(exit for exit, _ in results), [0, 5], results)
        self.assertIn("mac-taken", "".join(err for _, err in results))


if __name__ == "__main__":
    noxsup_e2e.main()
