#!/bin/sh
# Who waits for the daemon says so, what for, how long at the most, and how to go on later; also where there
# is no terminal.
. tests/system/lib.sh
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
told() { # TEXT: the command in the background says it, soon.
	i=0
	until grep -qF -- "$1" "$WORK/waits"; do
		i=$((i + 1))
		[ $i -lt 100 ] || fail "nobody is told '$1': $(cat "$WORK/waits")"
		sleep 0.1
	done
}
init_data
start_daemon
synth "$WORK" one
file=$WORK/one-q8_0.gguf
ctl -q model create assistant

# A daemon that hears and does not answer.
: >"$WORK/waits"
kill -STOP "$DAEMON"
ctl push "$file" --release assistant@1.0.0 --tier q8_0 >/dev/null 2>"$WORK/waits" &
pushing=$!
told "GET $ADMIN/admin/v1/models/assistant/releases/1.0.0: no answer yet; waiting up to 30 s"
kill -CONT "$DAEMON"
wait $pushing || fail "the push failed: $(cat "$WORK/waits")"
[ "$(grep -c "no answer yet" "$WORK/waits")" -eq 1 ] || fail "told twice: $(cat "$WORK/waits")"

# -q says nothing; nor does who need not wait.
kill -STOP "$DAEMON"
ctl -q push "$file" --release assistant@1.1.0 --tier q8_0 >/dev/null 2>"$WORK/waits" &
pushing=$!
sleep 4
kill -CONT "$DAEMON"
wait $pushing || fail "the push failed: $(cat "$WORK/waits")"
[ ! -s "$WORK/waits" ] || fail "-q says $(cat "$WORK/waits")"
ctl push "$file" --release assistant@1.2.0 --tier q8_0 >/dev/null 2>"$WORK/waits"
grep -q waiting "$WORK/waits" && fail "without waiting: $(cat "$WORK/waits")"

# One that is busy, and one that is gone once the push has begun.
cat >"$WORK/busy.py" <<'PY'
import http.server, sys
class Busy(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = b'{"state": "draft"}' if self.command == "GET" else b'{}'
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command != "GET" and sys.argv[1] == "gone":
            self.close_connection = True
            return
        self.send_response(200 if self.command == "GET" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
print(server.server_address[1], flush=True)
server.serve_forever()
PY
for how in busy gone; do
	python3 "$WORK/busy.py" $how >"$WORK/port" &
	busy=$!
	until [ -s "$WORK/port" ]; do sleep 0.1; done
	: >"$WORK/waits" # told() begins to read it before the command does
	"$BIN/flotilla" --server "http://127.0.0.1:$(cat "$WORK/port")" push "$file" --release assistant@2.0.0 \
		--tier q8_0 >/dev/null 2>"$WORK/waits" &
	pushing=$!
	told "waiting up to 180 s; once interrupted, the same command goes on where it was"
	grep -qF "/admin/v1/store/missing: " "$WORK/waits" || fail "not what for: $(cat "$WORK/waits")"
	kill $pushing $busy
	wait $pushing $busy || true
	rm "$WORK/port"
done
