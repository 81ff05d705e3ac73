#!/bin/sh
# A restored backup where roots are signed offline: since it was made a publisher was added, the online
# seed was rotated, and devices have seen both.
command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }
. tests/system/lib.sh
"$BIN/flotillad" init --data-dir "$WORK/data" >"$WORK/init.log"
start_daemon
echo "correct horse battery" >"$WORK/pass"
ctl -q keys init "$WORK/root" --passphrase-file "$WORK/pass"
round() { # file: what awaits a signature is signed and taken in
	ctl -q keys export "$1"
	ctl -q --yes keys sign-root "$1" --root "$WORK/root" --passphrase-file "$WORK/pass" \
		--index-root "$WORK/index.root.json" >/dev/null
	ctl -q keys import "$1"
}
device() { # one poll: what it runs
	"$BIN/flotilla-example" "$DEVICE" "$WORK/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 ||
		fail "the device: $(cat "$WORK/example")"
}
follows() {
	device
	! grep -q 'poll:' "$WORK/example" || fail "$1: the device does not follow: $(cat "$WORK/example")"
	grep -q 'runs assistant@1.0.0/q8_0' "$WORK/example" || fail "$1: the device runs something else: $(cat "$WORK/example")"
}
index_version() { curl -fsS "$DEVICE/v1/index/tuf/timestamp.json" | sed 's/.*"version":\([0-9]*\)}}*$/\1/'; }

round "$WORK/first.json"
synth --tier q8_0 "$WORK" one
ctl -q model create assistant
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0
follows "at first"

mkdir "$WORK/backup"
sqlite3 "$WORK/data/flotilla.db" ".backup '$WORK/backup/flotilla.db'"

ctl -q keys new "$WORK/ci.key" >/dev/null
ctl -q keys publisher ci --key "$WORK/ci.key.pub" --model other
round "$WORK/publisher.json"
follows "with a publisher"
ctl -q --yes keys rotate
round "$WORK/rotated.json"
echo '{"poll_s": 3601}' | ctl -q class set default -
follows "with another seed"
stop_daemon

rm -f "$WORK"/data/flotilla.db*
cp "$WORK/backup/flotilla.db" "$WORK/data/"
start_daemon
ctl --yes db restored >/dev/null 2>"$WORK/said" || fail "db restored: $(cat "$WORK/said")"
grep -q "keys export FILE" "$WORK/said" || fail "db restored says nothing of the index: $(cat "$WORK/said")"
# Nothing of this makes the device lose what it has.
device
grep -q 'runs assistant@1.0.0/q8_0' "$WORK/example" || fail "the device lost its model: $(cat "$WORK/example")"
ctl keys list >"$WORK/list" 2>&1
grep -q "a backup was restored" "$WORK/list" || fail "keys list: $(cat "$WORK/list")"
# What was signed since cannot be taken in as it is when it tells of what is forgotten; the round can.
ctl -q keys publisher ci --key "$WORK/ci.key.pub" --model other
round "$WORK/again.json"
ctl keys list 2>&1 | grep -q "a backup was restored" && fail "the index still awaits a signature: $(ctl keys list 2>&1)"
echo '{"poll_s": 3602}' | ctl -q class set default -
follows "after the restore"
fails 5 "nothing awaits" ctl keys export "$WORK/none.json"
