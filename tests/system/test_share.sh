#!/bin/sh
# 64 slow readers of one network do not keep another from downloading.
. tests/system/lib.sh
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
init_data
start_daemon --proxies 127.0.0.1
ctl -q model create assistant
head -c 24000000 /dev/urandom >"$WORK/model.bin"
ctl -q push "$WORK/model.bin" --release assistant@1.0.0 --tier whole --publish >/dev/null
blob=$DEVICE/v1/blobs/sha256:$(sha256sum "$WORK/model.bin" | cut -d' ' -f1)
fed() { curl -fsS "$ADMIN/metrics" | sed -n 's/^flotilla_answers_fed //p'; }

python3 - "${DEVICE##*:}" "${blob##*/}" >"$WORK/slow" <<'END' &
import socket, sys, time

held = []
refused = 0
for i in range(64):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", int(sys.argv[1])))
    s.sendall((f"GET /v1/blobs/{sys.argv[2]} HTTP/1.1\r\nHost: x\r\n"
               f"X-Forwarded-For: 203.0.113.{i}\r\n\r\n").encode())
    refused += b" 503 " in s.recv(64)
    held.append(s)
print(f"held {64 - refused}, refused {refused}", flush=True)
time.sleep(120)
END
slow=$!
i=0
until [ -s "$WORK/slow" ]; do
	i=$((i + 1))
	[ $i -lt 300 ] || fail "the slow readers are not there yet"
	sleep 0.1
done
grep -qx 'held 24, refused 40' "$WORK/slow" || fail "slow readers: $(cat "$WORK/slow")"
[ "$(fed)" = 24 ] || fail "fed: $(fed)"
curl -fsS --max-time 60 -H 'X-Forwarded-For: 198.51.100.7' "$blob" | cmp - "$WORK/model.bin" ||
	fail "another network does not get it"
[ "$(curl -s -o "$WORK/body" -w '%{http_code}' -H 'X-Forwarded-For: 203.0.113.99' "$blob")" = 503 ] ||
	fail "one more of the same network is fed"
grep -q "for this network" "$WORK/body" || fail "refused: $(cat "$WORK/body")"
kill $slow
wait $slow || true
i=0
until [ "$(fed)" = 0 ]; do
	i=$((i + 1))
	[ $i -lt 300 ] || fail "fed after all are gone: $(fed)"
	sleep 0.1
done
