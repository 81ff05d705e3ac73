#!/bin/sh
# The daemon's life: init, start, health, stop, start again; and what stands in its way.
. tests/system/lib.sh

"$BIN/flotillad" --version | grep -q '^flotillad [0-9]' || fail "--version"
fails 1 "init" "$BIN/flotillad" --data-dir "$WORK/nothing"
init_data
[ "$(stat -c %a "$WORK/data/admin.token")" = 600 ] || fail "the token's file is not 0600"
grep -q 'index.root.json' "$WORK/init.log" || fail "init does not name the root to embed"
fails 1 "data" "$BIN/flotillad" init --data-dir "$WORK/data" --dev

# Configuration: flags over environment over file; mistakes name the key.
printf 'log_level = "debug"\n' >"$WORK/a.conf" # quotes are no part of the form
printf 'drain_s = 3\nno_such_key = 1\n' >"$WORK/b.conf"
printf 'drain_s = many\n' >"$WORK/c.conf"
fails 2 "no_such_key" "$BIN/flotillad" --config "$WORK/b.conf" --data-dir "$WORK/data" --check-config
fails 2 "drain_s" "$BIN/flotillad" --config "$WORK/c.conf" --data-dir "$WORK/data" --check-config
fails 2 "environment: drain_s" env FLOTILLA_DRAIN_S=x "$BIN/flotillad" --data-dir "$WORK/data" --check-config
"$BIN/flotillad" --print-config >"$WORK/sample.conf"
"$BIN/flotillad" --config "$WORK/sample.conf" --data-dir "$WORK/data" --check-config >/dev/null ||
	fail "the sample configuration is refused"

start_daemon
curl -fsS "$DEVICE/healthz" | grep -q ok || fail "healthz"
curl -fsS "$ADMIN/readyz" | grep -q '"ready": *true' || fail "readyz: $(curl -sS "$ADMIN/readyz")"
curl -fsS "$ADMIN/metrics" | grep -q '^flotilla_' || fail "metrics"
[ "$(curl -s -o /dev/null -w '%{http_code}' "$DEVICE/metrics")" = 404 ] || fail "metrics on the device listener"
[ "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' "$ADMIN/healthz")" = 421 ] ||
	[ "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' "$ADMIN/healthz")" = 403 ] ||
	fail "a foreign Host is let in"
ctl doctor --device-url "$DEVICE" >"$WORK/doctor" || fail "doctor: $(cat "$WORK/doctor")"
grep -q '^ok *clock' "$WORK/doctor" || fail "doctor and the clock: $(cat "$WORK/doctor")"

# A second daemon on the same data, and one on the same port.
fails 1 "another" "$BIN/flotillad" --data-dir "$WORK/data" --device-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
"$BIN/flotillad" init --data-dir "$WORK/data2" --dev >/dev/null
fails 1 "in use" "$BIN/flotillad" --data-dir "$WORK/data2" --device-listen "${DEVICE#http://}" \
	--admin-listen 127.0.0.1:0

# A restart publishes the same bytes.
curl -fsS "$DEVICE/v1/index/tuf/timestamp.json" >"$WORK/before"
stop_daemon || fail "the daemon did not end with 0"
start_daemon
curl -fsS "$DEVICE/v1/index/tuf/timestamp.json" >"$WORK/after"
cmp "$WORK/before" "$WORK/after" || fail "a restart changed what is published"

# No word of the token in the log.
secret=$(cat "$WORK/data/admin.token")
! grep -qF "$secret" "$WORK/flotillad.log" || fail "the log holds the token"
stop_daemon

# Fewer descriptors than its connections may need: told at the start, with the remedy; enough: not.
for most in 16 8192; do
	(ulimit -n 4096 && exec "$BIN/flotillad" --data-dir "$WORK/data" --device-listen 127.0.0.1:0 \
		--admin-listen 127.0.0.1:0 --max-connections $most) >"$WORK/few.$most" 2>&1 &
	DAEMON=$!
	i=0
	until grep -q server.started "$WORK/few.$most"; do
		i=$((i + 1))
		[ $i -lt 300 ] || fail "the daemon does not start: $(cat "$WORK/few.$most")"
		sleep 0.1
	done
	stop_daemon
done
grep descriptors.few "$WORK/few.8192" | grep -q 'max_connections' || fail "no word of too few descriptors"
! grep -q descriptors.few "$WORK/few.16" || fail "enough descriptors are too few: $(cat "$WORK/few.16")"

# A database that is no database: refused, untouched.
cp "$WORK/data/flotilla.db" "$WORK/good.db"
rm -f "$WORK/data/flotilla.db-wal" "$WORK/data/flotilla.db-shm"
head -c 65536 /dev/urandom >"$WORK/data/flotilla.db"
cp "$WORK/data/flotilla.db" "$WORK/bad.db"
fails 1 "flotilla.db" "$BIN/flotillad" --data-dir "$WORK/data" --device-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0
cmp "$WORK/bad.db" "$WORK/data/flotilla.db" || fail "a corrupt database was written to"
