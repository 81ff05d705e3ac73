"""Between an export and a device listener: tells other headers than it, and lies about some paths.
usage: liar.py URL LIES    prints its port
LIES is read at each request: "headers" alone, "endless" (404 without an end for what is not there), "delta"
(a delta's first part is changed), "recipe" (its recipe is)."""
import http.server
import sys
import urllib.error
import urllib.request

url, lies = sys.argv[1:3]


class Liar(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(lies) as file:
            lie = file.read().strip()
        try:
            with urllib.request.urlopen(url + self.path) as answer:
                code, body = answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            code, body = answer.code, b"{}"
        if "/deltas/" in self.path and lie == "delta":
            body = b"X" + body[1:]
        if "/deltas/" in self.path and lie == "recipe":
            count = int.from_bytes(body[48:52], "little")
            at = 56 + 20 * count + 8
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]
        self.send_response(code)
        self.send_header("Content-Type", "text/html")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
        sent = 0
        while code == 404 and lie == "endless" and sent < 64 << 20:
            self.wfile.write(b"x" * 4096)
            sent += 4096

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
print(server.server_address[1], flush=True)
server.serve_forever()
