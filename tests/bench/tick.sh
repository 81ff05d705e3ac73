#!/bin/sh
# tick.sh DIR -- how long after a window's close the manifest that follows from it is served, while the
# daemon decides over LANES (1000) lanes with the usual gates, of which BAD (25) a window must be
# taken back, in ROUNDS (8) windows.  Prints a line a round, and the daemon's load between the closes.
set -eu
: "${BIN:=build/release}" "${LANES:=1000}" "${ROUNDS:=8}" "${BAD:=25}" "${SPEED:=100}"
dir=$1
daemon=
finish() {
	code=$?
	trap - EXIT
	[ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon" || true; }
	[ -n "${KEEP:-}" ] || rm -rf "$dir/tick"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
mkdir -p "$dir"
rm -rf "$dir/tick"
"$BIN/flotillad" init --data-dir "$dir/tick" --dev >/dev/null
start=$("$BIN/tests/bench_tick" fill "$dir/tick" "$LANES" "$ROUNDS" "$BAD")
"$BIN/flotillad" --data-dir "$dir/tick" --device-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
	--clock-speed "$SPEED" >"$dir/tick.log" 2>&1 &
daemon=$!
until grep -q server.started "$dir/tick.log"; do
	kill -0 "$daemon" || { tail -n 3 "$dir/tick.log" >&2; exit 1; }
	sleep 0.1
done
port() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$dir/tick.log" | head -n 1; }
cpu() { awk '{ print $14 + $15 }' "/proc/$daemon/stat"; }
# Nothing is closed yet: what ticks cost in which nothing changes.
sleep 2
before=$(cpu)
sleep 5
idle=$(($(cpu) - before))
"$BIN/tests/bench_tick" watch "$dir/tick" "http://127.0.0.1:$(port device_port)" "$start" "$ROUNDS" "$BAD"
awk -v t=$idle -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "idle %.1f %% of a core\n", t / hz / 5 * 100 }'
curl -sS -H "Authorization: Bearer $(cat "$dir/tick/admin.token")" \
	"http://127.0.0.1:$(port admin_port)/metrics" | grep '^flotilla_engine' || true
