"""A bucket for tests: keeps objects in a directory and believes nothing.  Signatures (AWS Signature
Version 4) are computed anew, bodies are hashed, If-None-Match: * is obeyed, and every seventh request is
answered 503, as real ones do now and then.
usage: s3.py DIR ACCESS_KEY SECRET_KEY REGION    prints its port"""
import hashlib
import hmac
import http.server
import json
import os
import sys

root, access, secret, region = sys.argv[1:5]
count = 0


def sign(date, text):
    key = ("AWS4" + secret).encode()
    for part in (date[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def why_not(rq):
    """Why the request is refused; None: it is signed as it should be."""
    scheme, _, rest = rq.headers.get("Authorization", "").partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return "not signed with AWS4-HMAC-SHA256"
    fields = dict(f.strip().split("=", 1) for f in rest.split(","))
    date, payload = rq.headers.get("x-amz-date", ""), rq.headers.get("x-amz-content-sha256", "")
    scope = "/".join([date[:8], region, "s3", "aws4_request"])
    if fields["Credential"] != access + "/" + scope:
        return "credential " + fields["Credential"]
    names = fields["SignedHeaders"].split(";")
    for name in ["host", "x-amz-date", "x-amz-content-sha256"] + [
            n for n in ("if-none-match", "x-amz-security-token") if n in rq.headers]:
        if name not in names:
            return name + " is not signed"
    path, _, query = rq.path.partition("?")
    lines = [n + ":" + " ".join(rq.headers.get(n, "").split()) for n in names]
    canonical = "\n".join([rq.command, path, query, "\n".join(lines), "", ";".join(names), payload])
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    wanted = sign(date, "\n".join(["AWS4-HMAC-SHA256", date, scope, digest]))
    return None if hmac.compare_digest(wanted, fields["Signature"]) else "another signature"


class Bucket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, text=b"", length=None):
        self.send_response(code)
        self.send_header("Content-Length", str(len(text) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def refused(self, body):
        global count
        count += 1
        why = why_not(self)
        if not why and hashlib.sha256(body).hexdigest() != self.headers["x-amz-content-sha256"]:
            why = "the body is not the one that was signed"
        if why:
            self.answer(403, why.encode())
        elif count % 7 == 0:
            self.answer(503, b"SlowDown")
        return bool(why) or count % 7 == 0

    def do_HEAD(self):
        path = root + self.path
        if self.refused(b""):
            return
        if os.path.isfile(path):
            self.answer(200, length=os.path.getsize(path))
        else:
            self.answer(404)

    def do_PUT(self):
        path = root + self.path
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.refused(body):
            return
        if self.headers.get("If-None-Match") == "*" and os.path.exists(path):
            self.answer(412, b"PreconditionFailed")
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(body)
        with open(path + "#meta", "w") as out:
            json.dump({n: self.headers.get(n) for n in ("Content-Type", "Cache-Control", "If-None-Match")}, out)
        self.answer(200)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
print(server.server_address[1], flush=True)
server.serve_forever()
