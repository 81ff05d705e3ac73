#!/bin/sh
# A device that has one release gets the next by the delta that the daemon made of it, in a fraction of a
# download.
. tests/system/lib.sh
init_data
printf 'log_level = debug\n' >"$WORK/flotillad.conf"
start_daemon --config "$WORK/flotillad.conf"
synth --tier q8_0 "$WORK" one
synth --tier q8_0 --step 0.01 "$WORK" two
release() { # VERSION FILE
	ctl -q push "$WORK/$2-q8_0.gguf" --release "assistant@$1" --tier q8_0 --publish >/dev/null
	ctl -q store jobs --watch --timeout 120 >/dev/null
}
device() { # DIR: polls once and installs what it should run
	"$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$1" >"$1.log" 2>&1 || fail "$(cat "$1.log")"
}
has() { # DIR FILE
	got=$(find "$1/models" -name '*.gguf')
	[ "$(echo "$got" | wc -l)" -eq 1 ] && cmp "$got" "$WORK/$2-q8_0.gguf" || fail "installed: $got; $(cat "$1.log")"
}
# sent ROUTE: bytes of the bodies that went out there so far.
sent() {
	grep '"event":"request"' "$WORK/flotillad.log" | grep -F "\"route\":\"$1" |
		sed -n 's/.*"out":\([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }'
}
ctl -q model create assistant
echo '{"spread_s": 0}' >"$WORK/settings" # all at once
ctl -q class set default "$WORK/settings"
release 1.0.0 one
ctl -q release bootstrap assistant@1.0.0
for d in a b; do device "$WORK/$d"; has "$WORK/$d" one; done
whole=$(($(sent /v1/packs/) / 2))

release 2.0.0 two
id=$(ctl -q -o json rollout start assistant@2.0.0 | sed -n 's/.*"id": "\(r[0-9]*\)".*/\1/p' | head -n 1)
while ! ctl rollout status "$id" | grep -q complete; do ctl -q --yes rollout advance "$id"; done
before=$(sent /v1/packs/)
device "$WORK/a"
has "$WORK/a" two
[ "$(sent /v1/packs/)" -eq "$before" ] || fail "packs were read though there is a delta"
delta=$(sent /v1/deltas/)
[ "$delta" -gt 0 ] && [ $((delta * 3)) -lt "$whole" ] || fail "a delta of $delta bytes, a download of $whole"

# A start relearns what deltas there are.
stop_daemon
start_daemon --config "$WORK/flotillad.conf"
device "$WORK/b"
has "$WORK/b" two
[ "$(sent /v1/deltas/)" -eq "$delta" ] || fail "$(sent /v1/deltas/) bytes of deltas instead of $delta"
[ "$(sent /v1/packs/)" -eq 0 ] || fail "packs were read though there is a delta"
