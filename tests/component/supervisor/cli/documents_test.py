"""--cloud-init URL in front of a supervisor of canned answers: what is fetched, whom it trusts, how it fails."""
import http.server
import ssl
import subprocess
import threading
import unittest

from cli_test import CliTest, result, vm

DOCUMENT = "#cloud-config\npackages: []\n"


class Documents(CliTest):
    def setUp(self):
        super().setUp()
        self.replies({"vm.create": result(vm=vm("a"))})

    def serve(self, certificate=None):
        """A server on loopback: /doc is a document, all else is missing. With a certificate it speaks TLS."""
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                found = self.path == "/doc"
                text = DOCUMENT.encode() if found else b"not here"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/plain")
                # Without it newer TLS libraries take the connection's end for a text that was cut off.
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # a client that does not trust us hangs up

        server = Server(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"

    def create(self, url, exit=0):
        return self.noxsup("--format", "json", "create", "a", "--cloud-init", url, exit=exit)

    def expect_taken(self, url):
        self.create(url)
        self.assertEqual(self.calls("vm.create")[-1]["params"]["cloud_init"], [{"name": url, "text": DOCUMENT}])

    def test_a_document_is_fetched(self):
        self.expect_taken(self.serve() + "/doc")

    def test_what_is_not_there_is_a_failed_download(self):
        server = self.serve()
        for url in (server + "/absent", "http://127.0.0.1:1/doc"):
            failed = self.create(url, exit=2).error
            self.assertEqual(failed["code"], "download-failed", failed)
            self.assertIn("--cloud-init " + url, failed["message"])
            self.assertTrue(failed["hint"], failed)
        self.assertEqual(self.calls("vm.create"), [])

    def test_a_certificate_is_trusted_when_the_environment_says_so(self):
        certificate = self.root / "cert.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "2",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(certificate), "-out", str(self.root / "only.pem")],
                       check=True, capture_output=True)
        with open(certificate, "a") as both:
            both.write((self.root / "only.pem").read_text())
        url = self.serve(certificate) + "/doc"
        failed = self.create(url, exit=2).error
        self.assertEqual(failed["code"], "download-failed", failed)
        self.assertIn("certificate", failed["message"])
        self.environment["NOXSUP_IMAGE_CA_FILE"] = str(self.root / "only.pem")
        self.expect_taken(url)

    def test_plain_http_elsewhere_needs_a_word(self):
        url = "http://192.0.2.1:9/doc"
        self.assertEqual(self.create(url, exit=1).error["code"], "invalid-argument")
        # Allowed, it is tried; a proxy on loopback that nobody runs keeps it from leaving this machine.
        self.environment.update({"NOXSUP_IMAGE_ALLOW_HTTP": "1", "http_proxy": "http://127.0.0.1:1", "no_proxy": ""})
        self.assertEqual(self.create(url, exit=2).error["code"], "download-failed")


if __name__ == "__main__":
    unittest.main()
