#!/bin/sh
# Clients that hardly move are ended and counted, whatever length they promise or ask for; those that
# are slow and go on are not.
. tests/system/lib.sh
init_data
start_daemon
ctl -q model create assistant
head -c 24000000 /dev/urandom >"$WORK/model.bin"
ctl -q push "$WORK/model.bin" --release assistant@1.0.0 --tier whole --publish >/dev/null
sum=$(sha256sum "$WORK/model.bin" | cut -d' ' -f1)

python3 - "${ADMIN##*:}" "${DEVICE##*:}" "$TOKEN" "$sum" <<'END' || fail "slow clients"
import json, socket, sys, threading, time, urllib.request

admin, device, token, digest = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
LENGTH = 1000000000
failures = []


def upload():
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin}/admin/v1/store/uploads", json.dumps({"length": LENGTH}).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))["id"]


def patch():
    s = socket.create_connection(("127.0.0.1", admin))
    s.sendall((f"PATCH /admin/v1/store/uploads/{upload()} HTTP/1.1\r\nHost: 127.0.0.1:{admin}\r\n"
               f"Authorization: Bearer {token}\r\nContent-Type: application/octet-stream\r\n"
               f"Upload-Offset: 0\r\nContent-Length: {LENGTH}\r\n\r\n").encode())
    return s


def get():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    s.connect(("127.0.0.1", device))
    s.sendall(f"GET /v1/blobs/sha256:{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return s


def alive(s):
    """Whether the other end sends no reset, and no end, now."""
    s.settimeout(0.01)
    try:
        return s.recv(1) != b""
    except socket.timeout:
        return True
    except OSError:
        return False


def send(s, bytes_a_second, seconds):
    """How long the connection lived."""
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        try:
            s.sendall(bytes(bytes_a_second))
        except OSError:
            break
        if not alive(s):
            break
        time.sleep(1)
    return time.monotonic() - begun


def read(s, bytes_a_second, seconds):
    begun = time.monotonic()
    while time.monotonic() < begun + seconds:
        left = bytes_a_second
        while left:
            some = s.recv(left)
            if not some:
                return time.monotonic() - begun
            left -= len(some)
        time.sleep(1)
    return time.monotonic() - begun


def fed():
    """How many feeds there are."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics") as answer:
        line = next(l for l in answer.read().decode().splitlines()
                    if l.startswith("flotilla_answers_fed "))
    return int(line.split()[1])


def stall(s, seconds):
    """How long until the daemon has one feed less: the end comes after what is not read."""
    begun = time.monotonic()
    time.sleep(5)
    before = fed()
    while time.monotonic() < begun + seconds and fed() == before:
        time.sleep(0.5)
    s.close()
    return time.monotonic() - begun


def check(name, low, high, do):
    try:
        lived = do()
    except OSError as e:
        failures.append(f"{name}: {e}")
        return
    print(f"{name}: lived for {lived:.0f} s", flush=True)
    if not low <= lived <= high:
        failures.append(f"{name}: lived for {lived:.0f} s, not {low} to {high}")


checks = [
    ("a body, a byte a second", 25, 50, lambda: send(patch(), 1, 80)),
    ("a body, 20000 bytes a second", 80, 99, lambda: send(patch(), 20000, 80)),
    ("an unpacked file that is not read", 55, 80, lambda: stall(get(), 85)),
    ("an unpacked file, 150000 bytes a second", 90, 109, lambda: read(get(), 150000, 90)),
]
threads = [threading.Thread(target=check, args=c) for c in checks]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("\n".join(failures))
sys.exit(bool(failures))
END
curl -fsS "$ADMIN/metrics" | grep -q '^flotilla_http_swept_total [1-9]' || fail "nobody was counted"
[ "$(curl -fsS "$ADMIN/metrics" | grep '^flotilla_answers_fed ')" = "flotilla_answers_fed 0" ] ||
	fail "a feed is still there"
