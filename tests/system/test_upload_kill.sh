#!/bin/sh
# Pushes whose client and daemon are killed at random instants, again and again, end whole, and what is
# sent in vain is at most what was under way at each kill: four packs, which are of 1 MiB here, or what
# the connection holds of a stream.  KILLS: how often, of each, as chunks and as one stream (3).
. tests/system/lib.sh
[ -x "$BIN/tests/count_proxy" ] || fail "build it first: make tests"
: "${KILLS:=3}" "${SEED:=$(date +%s)}"
echo "seed $SEED"
MB=48
PROXY=
trap '[ -z "$PROXY" ] || kill $PROXY 2>/dev/null; finish' EXIT

# up: start the daemon and tell the proxy where it is.
up() { start_daemon && echo "${ADMIN##*:}" >"$WORK/port.new" && mv "$WORK/port.new" "$WORK/port"; }
sent() { sleep 0.2; cat "$WORK/count"; }
# nap: 20 to 100 % of the time that an undisturbed push takes, at random.
nap() {
	SEED=$(((SEED * 1103515245 + 12345) % 2147483648))
	sleep "$(echo "$SEED $took" | awk '{ printf "%.3f", (0.2 + int($1 / 65536) % 1000 / 1250) * $2 }')"
}
# push RELEASE [flags]: through the proxy; in a subshell, which becomes the client.
push() {
	release=$1
	shift
	exec "$BIN/flotilla" --server "http://127.0.0.1:$proxy_port" --token-file "$WORK/data/admin.token" -q \
		push "$WORK/model.bin" --release "assistant@$release" --tier whole -o json "$@"
}
now() { date +%s.%N; }

# killed NAME LOSS RELEASE [flags]: a new file, pushed under fire; LOSS: bytes a kill.
killed() {
	name=$1 loss=$2 release=$3
	shift 3
	head -c ${MB}000000 /dev/urandom >"$WORK/model.bin"
	before=$(sent)
	kills=0
	while [ $kills -lt "$KILLS" ]; do # the client
		kills=$((kills + 1))
		push "$release" "$@" >"$WORK/out" 2>"$WORK/err" &
		pushing=$!
		nap
		kill -9 $pushing 2>/dev/null || true
		wait $pushing 2>/dev/null || true
	done
	push "$release" "$@" >"$WORK/push.json" 2>"$WORK/err" &
	pushing=$!
	kills=0
	while [ $kills -lt "$KILLS" ]; do # the daemon, under one client that does not give up
		kills=$((kills + 1))
		nap
		kill -9 "$DAEMON"
		wait "$DAEMON" 2>/dev/null || true
		up
	done
	wait $pushing || fail "$name: $(cat "$WORK/err")"
	total=$(($(sent) - before))
	most=$((MB * 1000000 + 2 * KILLS * loss + 300000))
	echo "$name: $total bytes for ${MB} MB, $((2 * KILLS)) kills; at most $most"
	[ "$total" -le $most ] || fail "$name: $total bytes were sent, at most $most"
	[ "$total" -ge $((MB * 1000000)) ] || fail "$name: only $total bytes were sent"
	sum=$(sha256sum "$WORK/model.bin" | cut -d' ' -f1)
	curl -fsS "$DEVICE/v1/blobs/sha256:$sum" | cmp - "$WORK/model.bin" || fail "$name: another file is stored"

	# Again: next to nothing, though chunks of one stream were cut by the daemon.
	before=$(sent)
	(push "$release") >"$WORK/again.json"
	total=$(($(sent) - before))
	[ "$total" -lt 200000 ] || fail "$name: a second push sent $total bytes"
}

init_data
up
: >"$WORK/count"
"$BIN/tests/count_proxy" "$WORK/port" "$WORK/count" >"$WORK/proxy" &
PROXY=$!
until [ -s "$WORK/proxy" ]; do sleep 0.05; done
proxy_port=$(cat "$WORK/proxy")
ctl -q model create assistant
head -c ${MB}000000 /dev/urandom >"$WORK/model.bin"
began=$(now)
(push 0.0.1 --pack-mib 1) >"$WORK/push.json"
took=$(echo "$began $(now)" | awk '{ print $2 - $1 }')
echo "undisturbed: $took s"
killed "as chunks" $((4 * 1100000)) 1.0.0 --pack-mib 1
killed "as one stream" 4000000 2.0.0 --raw
