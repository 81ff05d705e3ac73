#!/bin/sh
# A backup of a running daemon, and the way back to it that deploy/README.md tells.  What was taken back
# since the backup stays taken back, nothing is served before an operator has looked, devices that have
# seen newer documents follow, and no kill looks like a restore.
command -v sqlite3 >/dev/null || { echo "sqlite3 is not installed"; exit 77; }
. tests/system/lib.sh
init_data
start_daemon
says() { # words command...: its output has them
	words=$1
	shift
	"$@" >"$WORK/said" 2>&1 || true
	grep -q -- "$words" "$WORK/said" || fail "$* does not say \"$words\": $(cat "$WORK/said")"
}
release() { # number seed
	synth --tier q8_0 --seed "$2" "$WORK" "m$1"
	ctl -q push "$WORK/m$1-q8_0.gguf" --release "assistant@$1.0.0" --tier q8_0 --publish >/dev/null
}
ctl -q model create assistant
release 1 1
ctl -q release bootstrap assistant@1.0.0
release 2 5
release 3 9
ctl -q channel create beta
ctl -q release bootstrap assistant@2.0.0 --channel beta
ctl -q channel create gamma
ctl -q release bootstrap assistant@2.0.0 --channel gamma
ctl -q channel create delta
ctl -q release bootstrap assistant@1.0.0 --channel delta
kill_daemon() {
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null || true
	DAEMON=
}
rollout() { ctl -q rollout start "assistant@$1.0.0" --channel "$2" >/dev/null; }
rollout 2 stable # r1: aborted after the backup
rollout 3 beta   # r2: completed before, undone after
while ! ctl rollout status r2 | grep -q complete; do ctl -q --yes rollout advance r2; done
rollout 3 gamma  # r3: goes on, and holds
rollout 2 delta  # r4: aborted before the backup
ctl -q --yes rollout abort r4
ctl token create leaver --role admin >"$WORK/leaver"
leaver=$(ctl -o json token list | tr -d ' \n' | sed 's/.*"id":"\([^"]*\)","[^{]*"name":"leaver".*/\1/')

# The database first, then the files, which only come and go.
mkdir "$WORK/backup"
sqlite3 "$WORK/data/flotilla.db" ".backup '$WORK/backup/flotilla.db'"
cp -a "$WORK/data/packs" "$WORK/data/recipes" "$WORK/data/maps" "$WORK/backup/"
[ "$(sqlite3 "$WORK/backup/flotilla.db" 'PRAGMA integrity_check')" = ok ] || fail "the backup is damaged"

device() { # channel: one poll
	"$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 ||
		fail "the device: $(cat "$WORK/example")"
}
manifest() { curl -sS "$DEVICE/v1/c/$1/default/manifest.json"; }
ctl -q --yes rollout abort r1
ctl -q --yes rollout undo r2
revoked=00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
ctl -q --yes revoke "$revoked" --reason "leaks"
ctl -q --yes token revoke "$leaver"
device

# A kill is no restore: after it, all is served.
kill_daemon
start_daemon
says '"ready":true' curl -sS "$ADMIN/readyz"
manifest beta | grep -q "$revoked" || fail "the revocation is not published: $(manifest beta)"
stop_daemon

restore() {
	rm -rf "$WORK"/data/flotilla.db* "$WORK/data/packs" "$WORK/data/recipes" "$WORK/data/maps"
	cp -a "$WORK"/backup/* "$WORK/data/"
}
restore
start_daemon
for path in index/tuf/timestamp.json c/stable/default/manifest.json c/nosuch/default/manifest.json; do
	[ "$(curl -sS -o "$WORK/body" -w '%{http_code}' "$DEVICE/v1/$path")" = 503 ] ||
		fail "$path is served from a restored database: $(cat "$WORK/body")"
done
device # keeps what it runs
says '503' cat "$WORK/example"
says 'flotilla db status' curl -sS "$ADMIN/readyz"
says 'flotilla_restored 1' curl -sS "$ADMIN/metrics"
says 'FAIL' ctl doctor
says 'restored backup' ctl --yes rollout abort r1
ctl -o json db status | tr -d ' \n' >"$WORK/status"
says '"restored":true' cat "$WORK/status"
ctl db status >"$WORK/table" 2>"$WORK/table.err"
# Revocations first, then tokens, then releases.
awk 'NR > 1 { print $1 }' "$WORK/table" | tr '\n' ' ' | grep -qx 'revocation token release release ' ||
	fail "db status: $(cat "$WORK/table")"
grep -q 'assistant 2.0.0 stable default' "$WORK/table" || fail "db status: $(cat "$WORK/table")"

ctl --yes db restored >"$WORK/table" 2>"$WORK/table.err" || fail "db restored: $(cat "$WORK/table.err")"
grep -q 'assistant 2.0.0 stable default.*taken back' "$WORK/table" || fail "r1 goes on: $(cat "$WORK/table")"
grep -q 'assistant 3.0.0 beta default.*undone' "$WORK/table" || fail "r2 is not undone: $(cat "$WORK/table")"
grep -q 'holds: r3/default' "$WORK/table.err" || fail "r3 does not hold: $(cat "$WORK/table.err")"
! grep -q 'holds: r[124]/' "$WORK/table.err" || fail "what is over holds: $(cat "$WORK/table.err")"
manifest stable | grep -q '2\.0\.0' && fail "the aborted release is offered again: $(manifest stable)"
manifest beta | grep -q '3\.0\.0' && fail "the undone release is offered again: $(manifest beta)"
manifest delta | grep -q '2\.0\.0' && fail "what was aborted before is offered again: $(manifest delta)"
manifest gamma | grep -q '"state":"holding"' || fail "r3 does not hold: $(manifest gamma)"
for channel in stable beta gamma delta; do
	manifest $channel | grep -q "$revoked" || fail "$channel: no longer revoked: $(manifest $channel)"
	manifest $channel | grep -q '"version":2000' || fail "$channel: no new epoch: $(manifest $channel)"
	ctl -q manifest verify $channel default --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" \
		>"$WORK/verify" 2>&1 || fail "manifest verify $channel: $(cat "$WORK/verify")"
done
[ "$(curl -sS -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $(cat "$WORK/leaver")" "$ADMIN/admin/v1/status")" = 401 ] ||
	fail "an ended token is valid again"
says '"ready":true' curl -sS "$ADMIN/readyz"
device
! grep -q 'poll:' "$WORK/example" || fail "the device does not follow: $(cat "$WORK/example")"
says 'is not a restored\|knows of all\|nothing shows' ctl --yes db restored
rollout 3 stable
ctl rollout list | grep -q 'r1[0-9][0-9][0-9]' || fail "a rollout's number comes again: $(ctl rollout list)"
kill_daemon
start_daemon
says '"ready":true' curl -sS "$ADMIN/readyz"
stop_daemon

# The epoch's file is lost with the disk: held back as well; a number of one's own.
restore
rm "$WORK/data/epoch"
start_daemon
[ "$(curl -sS -o /dev/null -w '%{http_code}' "$DEVICE/v1/index/tuf/timestamp.json")" = 503 ] || fail "served without an epoch"
says 'epoch: must be' ctl --yes db restored --epoch 1
ctl --yes db restored --epoch 7 >/dev/null 2>&1 || fail "db restored --epoch"
manifest beta | grep -q '"version":7000' || fail "not the epoch asked for: $(manifest beta)"
device
! grep -q 'poll:' "$WORK/example" || fail "the device does not follow: $(cat "$WORK/example")"
stop_daemon

# A damaged log is named, and nothing is done by halves.
restore
sed -i '2s/^.\{9\}/garbage/' "$WORK/data/withdrawn.log"
start_daemon
says 'line 2 is damaged' ctl --yes db restored
[ "$(curl -sS -o /dev/null -w '%{http_code}' "$DEVICE/v1/index/tuf/timestamp.json")" = 503 ] || fail "served after a failure"
stop_daemon
