#!/bin/sh
# What the daemon needs: under 20 MiB idle, never more than 64 MiB above that while 500 MB come in; and
# however many reports come, no more of its own than after the first of them.
# REPORTS: how many, a multiple of 10,000 (1,000,000).
. tests/system/lib.sh
: "${REPORTS:=1000000}"
case $BIN in
*asan*) limit=1000000 ;; # a sanitizer's shadow is not the daemon's need: only that it works
*) limit=20480 ;;
esac
kib() { sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$DAEMON/status"; }

init_data
start_daemon
sleep 1
idle=$(kib VmRSS)
echo "idle: $idle KiB"
[ "$idle" -lt $limit ] || fail "idle: $idle KiB, at most $limit"

ctl -q model create assistant
head -c 500000000 /dev/urandom >"$WORK/large.bin"
peak() { # how: stay within 64 MiB of idle, files that are mapped included
	most=$(kib VmHWM)
	echo "$1: peak $most KiB"
	[ "$most" -lt $((limit + 65536)) ] || fail "$1 needed $most KiB, $idle idle"
}
ctl -q push "$WORK/large.bin" --release assistant@1.0.0 --tier raw --raw >/dev/null
peak "500 MB as one stream"
printf x | dd of="$WORK/large.bin" bs=1 seek=1000 conv=notrunc 2>/dev/null
ctl -q push "$WORK/large.bin" --release assistant@1.0.1 --tier packs >/dev/null
head -c 500000000 /dev/urandom >"$WORK/large.bin"
ctl -q push "$WORK/large.bin" --release assistant@1.0.2 --tier packs >/dev/null
peak "500 MB as packs"

# ---- reports: each is remembered for days ----

stop_daemon
rm -rf "$WORK/data" "$WORK/large.bin"
init_data
start_daemon --relay-rate 0 --max-nonces $((REPORTS + REPORTS / 4))
ctl -q model create assistant
synth --tier q8_0 "$WORK" model
ctl -q push "$WORK/model-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0
ctl token create relay --role relay >"$WORK/relay.token"
step=$((REPORTS / 10))
sent=0
while [ $sent -lt "$REPORTS" ]; do
	rate=$("$BIN/tests/bench_relay" count "$DEVICE" "$WORK/relay.token" $step)
	sent=$((sent + step))
	own=$(kib RssAnon)
	echo "$sent reports: $own KiB of its own, $(kib RssFile) KiB of files; ${rate%% *} reports/s"
	[ $sent -eq $((2 * step)) ] && first=$own
done
[ "$own" -lt $((first + limit * 2 / 5)) ] || fail "reports grew its own memory from $first KiB to $own"
http GET /metrics | grep -q "^flotilla_reports_remembered $REPORTS\$" || fail "not all are remembered: $(http GET /metrics | grep remembered)"
stop_daemon
start=$(date +%s%N)
start_daemon --relay-rate 0 --max-nonces $((REPORTS + REPORTS / 4))
echo "started again in $((($(date +%s%N) - start) / 1000000)) ms"
http GET /metrics | grep -q "^flotilla_reports_remembered $REPORTS\$" || fail "some are forgotten: $(http GET /metrics | grep remembered)"
