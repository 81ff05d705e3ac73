#!/bin/sh
# A file of SIZE MB (256; try 10000), most of it a hole, is pushed both ways and pulled, and neither
# client nor daemon nor device needs more memory for it than for a small one.
. tests/system/lib.sh
: "${SIZE:=256}"
case $BIN in
*asan*) client=1000000 daemon=1000000 device=1000000 ;; # a sanitizer's shadow is nobody's need
*) client=163840 daemon=98304 device=98304 ;;		   # KiB
esac
NOISE=24 # MB that are no hole: at the beginning, in the middle, at the end, 8 each

# peak NAME LIMIT command ...: runs it, and fails when it needed more than LIMIT KiB.
peak() {
	name=$1 limit=$2 most=0 began=$(date +%s)
	shift 2
	"$@" >"$WORK/out" 2>"$WORK/err" &
	running=$!
	while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$running/status" 2>/dev/null) &&
		[ -n "$now" ]; do
		[ "$now" -le "$most" ] || most=$now
		sleep 0.05
	done
	wait $running || fail "$name: $(cat "$WORK/err")"
	echo "$name: $most KiB, $(($(date +%s) - began)) s"
	[ "$most" -le "$limit" ] || fail "$name needed $most KiB, at most $limit"
}
kib() { sed -n "s/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$DAEMON/status"; }

init_data
start_daemon
ctl -q model create assistant
truncate -s "${SIZE}MB" "$WORK/large.bin"
for place in 0 $((SIZE / 2)) $((SIZE - 8)); do
	dd if=/dev/urandom of="$WORK/large.bin" bs=1MB count=8 seek=$place conv=notrunc 2>/dev/null
done

peak "push as chunks" $client "$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/data/admin.token" \
	push "$WORK/large.bin" --release assistant@1.0.0 --tier whole --publish -o json
sent=$(sed -n 's/.*"sent": \([0-9]*\).*/\1/p' "$WORK/out")
echo "sent $sent bytes of ${SIZE} MB"
[ "$sent" -ge $((NOISE * 1000000)) ] && [ "$sent" -le $((NOISE * 1100000 + SIZE * 100)) ] ||
	fail "sent $sent bytes where $NOISE MB are no hole"
peak "push of one stream" $client "$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/data/admin.token" \
	push --raw "$WORK/large.bin" --release assistant@1.0.1 --tier whole
ctl -q release bootstrap assistant@1.0.0
peak "pull" $device "$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$WORK/device" 1
find "$WORK/device" -name large.bin >"$WORK/installed"
[ "$(wc -l <"$WORK/installed")" -eq 1 ] || fail "not installed: $(cat "$WORK/err")"
cmp "$(cat "$WORK/installed")" "$WORK/large.bin" || fail "another file was installed"
echo "daemon: $(kib) KiB"
[ "$(kib)" -le $daemon ] || fail "the daemon needed $(kib) KiB, at most $daemon"
