#!/bin/sh
# A backup of a running daemon, and the way back to it that deploy/README.md tells: devices that have
# seen newer documents follow again, and a lane that was taken back since can be stopped first.
command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }
. tests/system/lib.sh
init_data
start_daemon
synth --tier q8_0 "$WORK" one
synth --tier q8_0 --seed 5 "$WORK" two
ctl -q model create assistant
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0
ctl -q push "$WORK/two-q8_0.gguf" --release assistant@2.0.0 --tier q8_0 --publish >/dev/null
ctl -o json rollout start assistant@2.0.0 >"$WORK/start.json"
tr -d ' \n' <"$WORK/start.json" | grep -q '"id":"r1"' || fail "rollout start: $(cat "$WORK/start.json")"

# The database first, then the files, which only come and go.
mkdir "$WORK/backup"
sqlite3 "$WORK/data/flotilla.db" ".backup '$WORK/backup/flotilla.db'"
cp -a "$WORK/data/packs" "$WORK/data/recipes" "$WORK/data/maps" "$WORK/data/epoch" "$WORK/backup/"
[ "$(sqlite3 "$WORK/backup/flotilla.db" 'PRAGMA integrity_check')" = ok ] || fail "the backup is damaged"

device() {
	"$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 ||
		fail "the device: $(cat "$WORK/example")"
}
ctl -q --yes rollout abort r1
for poll in 3601 3602 3603; do
	echo "{\"poll_s\": $poll}" | ctl -q class set default -
done
device
stop_daemon

restore() {
	rm -rf "$WORK"/data/flotilla.db* "$WORK/data/packs" "$WORK/data/recipes" "$WORK/data/maps"
	cp -a "$WORK"/backup/* "$WORK/data/"
}
restore
start_daemon
device
grep -q 'rollback' "$WORK/example" || fail "the device took older documents: $(cat "$WORK/example")"
stop_daemon

restore
echo $(($(cat "$WORK/data/epoch") + 1)) >"$WORK/data/epoch"
sqlite3 "$WORK/data/flotilla.db" 'UPDATE repos SET resign_targets = 0, resign_timestamp = 0'
start_daemon
ctl rollout list | grep -q active || fail "the rollout is not as it was: $(ctl rollout list)"
ctl -q --yes rollout abort r1
i=0
until curl -fsS "$DEVICE/v1/c/stable/default/manifest.json" | grep -q '"version":2000'; do
	i=$((i + 1))
	[ $i -lt 100 ] || fail "nothing is signed anew"
	sleep 0.1
done
device
! grep -q 'poll:' "$WORK/example" || fail "the device does not follow: $(cat "$WORK/example")"
ctl -q manifest verify stable default --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" >"$WORK/verify" 2>&1 ||
	fail "manifest verify: $(cat "$WORK/verify")"
