"""An https server on loopback for one test: serves FILE at every path until its standard input ends.

tls_server.py CERTIFICATE KEY FILE PORT_FILE    the port is written to PORT_FILE once it listens
"""
import http.server
import os
import pathlib
import ssl
import sys
import threading

certificate, key, file, port_file = sys.argv[1:]
content = pathlib.Path(file).read_bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # a client that does not trust us hangs up


server = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
pathlib.Path(port_file + ".new").write_text(str(server.server_address[1]))
os.rename(port_file + ".new", port_file)
sys.stdin.read()
