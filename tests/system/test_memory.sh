#!/bin/sh
# What the daemon needs: under 20 MiB idle, never more than 64 MiB above that while 500 MB come in.
. tests/system/lib.sh
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
