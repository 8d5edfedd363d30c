"""The catalog beyond Debian: every vendor's index as the vendor has it, served by an https server on loopback."""
import hashlib
import http.server
import json
import shutil
import ssl
import subprocess
import threading
import unittest

import noxsup_e2e
from noxsup_e2e import EndToEndTest, HOST_ARCH

UNAME_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}[HOST_ARCH]


def page(*names):
    """A web server's listing of a directory."""
    links = "".join(f'<a href="{name}">{name}</a>  01-Nov-2026 10:00  1M\n' for name in names)
    return f'<html><head><title>Index of /</title></head><body><pre><a href="../">../</a>\n{links}</pre></body></html>\n'


class TlsVendors:
    """Serves `files` (path to bytes) over https with a certificate of its own."""

    def __init__(self, directory):
        self.files = {}
        self.requests = []
        self.certificate = directory / "vendors.pem"
        key = directory / "vendors.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-subj", "/CN=noxsup test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "3650",
                        "-keyout", str(key), "-out", str(self.certificate)], check=True, capture_output=True)
        vendors = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                vendors.requests.append(self.path)
                content = vendors.files.get(self.path)
                self.send_response(404 if content is None else 200)
                body = b"<html>not here</html>" if content is None else content
                self.send_header("Content-Type", "text/html" if content is None or self.path.endswith("/") else "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"https://127.0.0.1:{self.server.server_address[1]}"

    def put(self, path, content):
        self.files[path] = content.encode() if isinstance(content, str) else content

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(timeout=10)


class Catalog(EndToEndTest):
    def setUp(self):
        super().setUp()
        self.vendors = TlsVendors(self.home.root)
        self.addCleanup(self.vendors.close)
        mirrors = {name: f"{self.vendors.url}/{name}" for name in ("ubuntu", "alpine", "fedora", "alma", "opensuse")}
        self.settings = {"image_mirror": f"{self.vendors.url}/debian", "image_mirrors": mirrors,
                         "image_ca_file": str(self.vendors.certificate)}
        self.home.configure(self.settings)

    def disk(self, number):
        """The bytes of a small image, another one for each number."""
        path = self.home.root / f"disk-{number}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "64M"], check=True)
        subprocess.run(["qemu-io", "-c", f"write -P {number} 0 1M", str(path)], check=True, stdout=subprocess.DEVNULL)
        return path.read_bytes()

    def publish_alpine(self, release, number):
        directory = "/alpine/v3.24/releases/cloud/"
        file = f"nocloud_alpine-{release}-{UNAME_ARCH}-uefi-cloudinit-r0.qcow2"
        image = self.disk(number)
        older = f"nocloud_alpine-3.24.0-{UNAME_ARCH}-uefi-cloudinit-r0.qcow2"
        self.vendors.put(directory, page(older, file, file + ".asc", file + ".sha512", file.replace("cloudinit", "tiny")))
        self.vendors.put(directory + file, image)
        self.vendors.put(directory + file + ".sha512", hashlib.sha512(image).hexdigest() + "\n")
        return image

    def publish_ubuntu(self):
        image = self.disk(2)
        file = f"ubuntu-24.04-server-cloudimg-{HOST_ARCH}.img"
        self.vendors.put("/ubuntu/24.04/release/SHA256SUMS", f"{'0' * 64} *{file}.manifest\n{hashlib.sha256(image).hexdigest()} *{file}\n")
        self.vendors.put(f"/ubuntu/24.04/release/{file}", image)
        return image

    def publish_fedora(self):
        image = self.disk(3)
        directory = f"/fedora/releases/44/Cloud/{UNAME_ARCH}/images/"
        file, sums = f"Fedora-Cloud-Base-Generic-44-1.7.{UNAME_ARCH}.qcow2", f"Fedora-Cloud-44-1.7-{UNAME_ARCH}-CHECKSUM"
        self.vendors.put(directory, page(sums, file))
        self.vendors.put(directory + file, image)
        self.vendors.put(directory + sums, "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n"
                         f"# {file}: {len(image)} bytes\nSHA256 ({file}) = {hashlib.sha256(image).hexdigest()}\n"
                         "-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=njUN\n-----END PGP SIGNATURE-----\n")
        return image

    def publish_alma(self):
        image = self.disk(4)
        directory, file = f"/alma/10/cloud/{UNAME_ARCH}/images/", f"AlmaLinux-10-GenericCloud-latest.{UNAME_ARCH}.qcow2"
        self.vendors.put(directory + "CHECKSUM", f"{hashlib.sha256(image).hexdigest()}  {file}\n")
        self.vendors.put(directory + file, image)
        return image

    def publish_opensuse(self):
        image = self.disk(5)
        file = f"/opensuse/16.0/appliances/Leap-16.0-Minimal-VM.{UNAME_ARCH}-Cloud.qcow2"
        build = f"Leap-16.0-Minimal-VM.{UNAME_ARCH}-Cloud-Build18.7.qcow2"
        self.vendors.put(file, image)
        self.vendors.put(file + ".sha256", f"{hashlib.sha256(image).hexdigest()}  {build}\n")
        return image

    def here(self):
        images = self.home.run("--format", "json", "image", "available").json["images"]
        return {image["os"] for image in images if image["arch"] == HOST_ARCH and image["here"]}

    def error_of(self, *arguments, exit):
        failed = self.home.run("--format", "json", *arguments, exit=exit)
        return json.loads(failed.err.strip().splitlines()[-1])["error"]

    def test_every_vendor_in_its_own_way(self):
        published = {"alpine:3.24": self.publish_alpine("3.24.10", 1), "ubuntu:24.04": self.publish_ubuntu(),
                     "fedora:44": self.publish_fedora(), "alma:10": self.publish_alma(), "opensuse:16.0": self.publish_opensuse()}
        self.assertEqual(self.here(), set())
        self.assertEqual(self.vendors.requests, [], "the list of the catalog needs no network")
        for system, image in published.items():
            with self.subTest(system=system):
                name = system.split(":")[0]
                pulled = self.home.run("--format", "json", "image", "pull", name).json["images"][0]
                self.assertEqual(pulled["name"], f"{system.replace(':', '-')}-{HOST_ARCH}")
                self.assertEqual(pulled["digest"], "sha256:" + hashlib.sha256(image).hexdigest())
                self.assertEqual((pulled["origin"], pulled["signed_by"]), ("vendor", None))
                asked = len(self.vendors.requests)
                self.home.run("image", "pull", system)
                self.assertFalse(set(self.vendors.requests[asked:]) & {pulled["source"].removeprefix(self.vendors.url)})
        self.assertEqual(self.here(), set(published))
        table = self.home.run("image", "available").out
        self.assertRegex(table, rf"(?m)^alpine:3.24, alpine +{HOST_ARCH} +yes +alpine-3.24-{HOST_ARCH} +Alpine Linux 3.24 {HOST_ARCH}$")
        self.assertRegex(table, rf"(?m)^ubuntu:22.04, ubuntu:jammy +{HOST_ARCH} +no ")
        self.home.run("image", "verify")

    def test_several_come_at_once_and_one_that_fails_keeps_no_other_back(self):
        self.publish_alpine("3.24.1", 1)
        self.publish_ubuntu()
        pulled = self.home.run("--format", "json", "image", "pull", "alpine", "fedora", "ubuntu", exit=2)
        self.assertEqual([image["os"] for image in pulled.json["images"]], ["alpine", "ubuntu"])
        self.assertEqual(json.loads(pulled.err.strip().splitlines()[-1])["error"]["code"], "download-failed")
        self.assertEqual(self.here(), {"alpine:3.24", "ubuntu:24.04"})

    def test_images_that_are_named_come_by_themselves(self):
        self.publish_alpine("3.24.1", 1)
        self.home.configure({**self.settings, "images_ahead": ["alpine"]})
        self.assertEqual(self.here(), set())
        # The first round is a minute after the supervisor's start.
        noxsup_e2e.wait_until("the supervisor has got the image", lambda: self.here() == {"alpine:3.24"}, 120, interval=2)

    def test_an_unsigned_pull_says_so_and_a_vendor_that_is_gone_is_not_built(self):
        self.publish_ubuntu()
        self.assertIn("verified by digest over https alone", self.home.run("image", "pull", "ubuntu").err)
        error = self.error_of("image", "pull", "fedora", exit=2)
        self.assertEqual(error["code"], "download-failed")
        self.assertIn("image import", error["hint"])
        self.assertEqual(self.error_of("create", "vm1", "--os", "alma", "--yes", exit=2)["code"], "download-failed")
        self.assertEqual(self.error_of("image", "build", "alpine", exit=1)["code"], "invalid-argument")
        self.assertEqual(self.error_of("image", "pull", "ubuntu:4.10", exit=4)["code"], "image-not-found")

    def test_a_guest_gets_the_shell_it_has(self):
        self.publish_alpine("3.24.1", 1)
        self.home.run("create", "vm1", "--os", "alpine", "--no-start", "--network", "user")
        self.assertEqual(self.home.status("vm1")["os"], "alpine:3.24")
        seed = (self.home.path / "vms/vm1/user-data").read_text()
        user, = json.loads(seed.split("\n", 1)[1])["users"]
        self.assertEqual((user["name"], user["shell"], user["doas"]), ("nox", "/bin/sh", ["permit nopass nox"]))

    def test_entries_of_ones_own(self):
        image = self.disk(6)
        file = f"own-{HOST_ARCH}-2.qcow2"
        self.vendors.put(f"/own/{file}", image)
        self.vendors.put("/own/SHA256SUMS", f"{hashlib.sha256(image).hexdigest()}  {file}\n{'0' * 64}  own-{HOST_ARCH}-1.qcow2\n")
        entry = {"os": "own", "release": "1", "title": "Our own", "arches": {HOST_ARCH: HOST_ARCH}, "url": f"{self.vendors.url}/own/",
                 "image": "own-{arch}-*.qcow2", "checksums": "SHA256SUMS"}
        catalog = self.home.path / "catalog.json"
        catalog.write_text(json.dumps({"version": 1, "images": [entry]}))
        self.home.run("image", "pull", "own")
        self.assertEqual(self.here(), {"own:1"})
        own, = [each for each in self.home.run("--format", "json", "image", "available").json["images"] if each["os"] == "own:1"]
        self.assertEqual((own["catalog"], own["title"]), ("own", f"Our own 1 {HOST_ARCH}"))
        # The file is read at each command: no supervisor has to be restarted.
        catalog.write_text(json.dumps({"version": 1, "images": [{**entry, "imgae": "x"}]}))
        for command in (("image", "available"), ("image", "pull", "debian"), ("create", "vm1", "--os", "own", "--no-start")):
            error = self.error_of(*command, exit=1)
            self.assertIn("images[0].imgae", error["message"])
            self.assertIn("catalog.json", error["message"])
        self.assertIn("images[0].imgae", self.home.run("doctor", exit=None).out)

    @unittest.skipIf(shutil.which("gpg") is None or shutil.which("gpgv") is None, "gpg and gpgv are not installed")
    def test_a_signature_is_checked_where_the_key_is(self):
        gnupg = self.home.root / "gnupg"
        gnupg.mkdir(mode=0o700)
        gpg = ["gpg", "--homedir", str(gnupg), "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
        self.addCleanup(subprocess.run, ["gpgconf", "--homedir", str(gnupg), "--kill", "gpg-agent"], check=True)
        subprocess.run([*gpg, "--quick-generate-key", "vendor@example.org", "ed25519", "sign", "never"], check=True, capture_output=True)
        keyring = self.home.root / "vendor.gpg"
        subprocess.run([*gpg, "--output", str(keyring), "--export"], check=True)
        image = self.disk(7)
        sums = f"{hashlib.sha256(image).hexdigest()}  signed.qcow2\n"
        signature = subprocess.run([*gpg, "--detach-sign"], input=sums.encode(), check=True, capture_output=True).stdout
        self.vendors.put("/signed/signed.qcow2", image)
        self.vendors.put("/signed/SHA256SUMS", sums)
        self.vendors.put("/signed/SHA256SUMS.gpg", signature[:-3] + b"xxx")
        entry = {"os": "signed", "release": "1", "arches": {HOST_ARCH: HOST_ARCH}, "url": f"{self.vendors.url}/signed",
                 "image": "signed.qcow2", "checksums": "SHA256SUMS", "signature": "{checksums}.gpg", "keyrings": [str(keyring)]}
        (self.home.path / "catalog.json").write_text(json.dumps({"version": 1, "images": [entry]}))
        self.assertEqual(self.error_of("image", "pull", "signed", exit=2)["code"], "digest-mismatch")
        self.assertEqual(self.here(), set())
        self.vendors.put("/signed/SHA256SUMS.gpg", signature)
        pulled = self.home.run("--format", "json", "image", "pull", "signed").json["images"][0]
        self.assertRegex(pulled["signed_by"], r"^[0-9A-F]{40}$")

    def test_verify_finds_what_changed_and_prune_what_is_over(self):
        home = self.home
        self.publish_alpine("3.24.1", 1)
        home.run("image", "pull", "alpine")
        home.run("create", "vm1", "--os", "alpine", "--no-start", "--network", "user")
        name = f"alpine-3.24-{HOST_ARCH}"
        for number, release in ((2, "3.24.2"), (3, "3.24.3")):
            self.publish_alpine(release, number)
            home.run("image", "pull", "alpine")
        # One is the newest, one is vm1's, and one is neither.
        self.assertEqual(len(list((home.path / "images").glob("sha256-*.qcow2"))), 3)
        plan = home.run("--format", "json", "image", "prune", "--dry-run").json
        self.assertEqual((len(plan["removed"]), plan["dry_run"]), (1, True))
        self.assertGreater(plan["freed_bytes"], 0)
        self.assertEqual(self.error_of("image", "prune", exit=1)["code"], "invalid-argument")
        self.assertEqual(len(list((home.path / "images").glob("sha256-*.qcow2"))), 3)
        self.assertIn(plan["removed"][0]["file"], home.run("image", "prune", "--yes").out)
        self.assertEqual(len(list((home.path / "images").glob("sha256-*.qcow2"))), 2)
        self.assertEqual(home.run("image", "prune", "--yes").out, "nothing to remove\n")
        home.run("image", "verify", name)
        self.assertEqual(len(home.run("--format", "json", "image", "verify").json["verified"]), 2)

        file = (home.path / "images" / f"{name}.qcow2").resolve()
        file.chmod(0o644)
        with file.open("r+b") as disk:
            disk.seek(-1, 2)
            disk.write(b"!")
        damaged = home.run("--format", "json", "image", "verify", exit=2)
        self.assertEqual([each["good"] for each in damaged.json["verified"] if each["name"] == name], [False])
        error = json.loads(damaged.err.strip().splitlines()[-1])["error"]
        self.assertEqual(error["code"], "digest-mismatch")
        self.assertIn(f"image pull alpine:3.24 --arch {HOST_ARCH}", error["hint"])
        self.assertEqual(self.error_of("image", "verify", "nothing", exit=4)["code"], "image-not-found")


if __name__ == "__main__":
    noxsup_e2e.main()
