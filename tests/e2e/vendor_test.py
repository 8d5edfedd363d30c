"""The vendor's image server, stood in for by one on loopback that behaves like it, and like a bad one."""
import hashlib
import http.server
import json
import re
import subprocess
import threading

import noxsup_e2e
from noxsup_e2e import EndToEndTest, HOST_ARCH

IMAGE = f"debian-13-genericcloud-{HOST_ARCH}.qcow2"
NAME = f"debian-13-{HOST_ARCH}"


class Vendor:
    """Serves /trixie/latest/SHA512SUMS and the image; `fault` names what it does wrong."""

    def __init__(self, image):
        self.image = image
        self.fault = None
        self.requests = []
        vendor = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                vendor.requests.append((self.path, self.headers.get("Range")))
                vendor.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def sums(self):
        digest = hashlib.sha512(b"another image" if self.fault == "digest" else self.image).hexdigest()
        return f"{'0' * 128}  debian-13-generic-{HOST_ARCH}.qcow2\n{digest}  {IMAGE}\n".encode()

    def answer(self, request):
        wanted = {"/trixie/latest/SHA512SUMS": self.sums(), f"/trixie/latest/{IMAGE}": self.image}.get(request.path)
        if self.fault == "html":
            self.send(request, 200, b"<html><body>Please log in to the network</body></html>", {"Content-Type": "text/html"})
        elif wanted is None or self.fault == "missing":
            self.send(request, 404, b"not here")
        elif not request.path.endswith(IMAGE):
            self.send(request, 200, wanted, {"Content-Type": "text/plain"})
        else:
            self.send_image(request)

    def send_image(self, request):
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range") or "")
        if asked and self.fault not in ("no ranges", "ends early"):
            start = int(asked[1])
            self.send(request, 206, self.image[start:],
                      {"ETag": '"1"', "Content-Range": f"bytes {start}-{len(self.image) - 1}/{len(self.image)}"})
        elif self.fault == "ends early":
            self.send(request, 200, self.image, {"ETag": '"1"', "Accept-Ranges": "none"}, cut=len(self.image) // 4)
        elif self.fault == "ends early once":
            self.fault = "no ranges"
            self.send(request, 200, self.image, {"ETag": '"1"'}, cut=len(self.image) // 4)
        else:
            self.send(request, 200, self.image, {"ETag": '"1"'})

    @staticmethod
    def send(request, code, body, headers=None, cut=None):
        request.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(body[:cut])
        request.close_connection = cut is not None

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=10)


class VendorServer(EndToEndTest):
    def setUp(self):
        super().setUp()
        disk = self.home.root / "vendor.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "64M"], check=True)
        subprocess.run(["qemu-io", "-c", "write -P 9 0 2M", str(disk)], check=True, stdout=subprocess.DEVNULL)
        self.vendor = Vendor(disk.read_bytes())
        self.addCleanup(self.vendor.close)
        self.home.configure({"image_mirror": self.vendor.url})

    def images(self):
        return self.home.run("--format", "json", "image", "ls").json["images"]

    def test_pulled_once_and_never_asked_for_again(self):
        home = self.home
        pulled = home.run("image", "pull", "debian")
        self.assertIn(NAME, pulled.out)
        image, = self.images()
        self.assertEqual((image["name"], image["origin"], image["os"], image["release"]), (NAME, "vendor", "debian", "13"))
        self.assertEqual(image["digest"], "sha256:" + hashlib.sha256(self.vendor.image).hexdigest())
        self.assertEqual(image["source"], f"{self.vendor.url}/trixie/latest/{IMAGE}")
        self.assertEqual([path for path, _ in self.vendor.requests], ["/trixie/latest/SHA512SUMS", f"/trixie/latest/{IMAGE}"])

        home.run("image", "pull", "debian:13")
        self.assertEqual(len(self.vendor.requests), 3, "only the digest was asked for")
        # What is cached needs no network at all.
        home.run("create", "vm1", "--os", "debian", "--no-start", "--network", "user")
        self.assertEqual(len(self.vendor.requests), 3)
        self.assertEqual(home.status("vm1")["image"], NAME)
        home.run("image", "rm", NAME, exit=5)

    def test_create_gets_the_image_itself(self):
        progress = self.home.run("--progress", "json", "create", "vm1", "--os", "debian", "--no-start", "--network", "user").err
        stages = [json.loads(line).get("stage", "") for line in progress.splitlines() if line.startswith("{")]
        self.assertTrue(any(stage.startswith("image") for stage in stages), progress)
        self.assertEqual([image["name"] for image in self.images()], [NAME])

    def test_a_server_that_ends_early_and_knows_no_ranges_is_read_from_the_start(self):
        self.vendor.fault = "ends early once"
        self.home.run("image", "pull", "debian", timeout=60)
        self.assertEqual([image["name"] for image in self.images()], [NAME])
        self.assertGreaterEqual(len(self.vendor.requests), 3)

    def test_faults_leave_no_image_and_say_what_to_do(self):
        pull, create = ("image", "pull", "debian"), ("create", "vm1", "--os", "debian", "--yes")
        # A server without the vendor's files is as good as none: create would build the image from packages.
        for fault, code, commands in (("digest", "digest-mismatch", (pull, create)), ("ends early", "download-failed", (pull, create)),
                                      ("html", "download-failed", (pull, create)), ("missing", "vendor-unreachable", (pull,))):
            with self.subTest(fault=fault):
                self.vendor.fault = fault
                for command in commands:
                    failed = self.home.run("--format", "json", *command, exit=2, timeout=120)
                    error = json.loads(failed.err.strip().splitlines()[-1])["error"]
                    self.assertEqual((error["code"], error["exit"]), (code, 2), failed)
                    self.assertTrue(error["hint"], failed)
                self.assertEqual(self.images(), [])
                self.home.run("status", "vm1", exit=4)
                self.assertEqual([path.name for path in (self.home.path / "images").glob("sha256-*")], [])

    def test_nobody_there(self):
        self.vendor.close()
        self.vendor.close = lambda: None
        failed = self.home.run("--format", "json", "image", "pull", "debian", exit=2, timeout=120)
        error = json.loads(failed.err.strip().splitlines()[-1])["error"]
        self.assertEqual(error["code"], "vendor-unreachable")
        self.assertIn("noxsup image build debian", error["hint"])


if __name__ == "__main__":
    noxsup_e2e.main()
