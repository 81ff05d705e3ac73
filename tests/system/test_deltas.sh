#!/bin/sh
# The daemon makes deltas of what is published, by itself: a device's way from release to release, a daemon that
# is killed while it makes one, and what is not worth a delta.
. tests/system/lib.sh
init_data
start_daemon
synth "$WORK" one
synth --step 0.01 "$WORK" two

push() { # NAME RELEASE TIER
	ctl -q push "$WORK/$1-$3.gguf" --release "assistant@$2" --tier "$3" -o json >"$WORK/pushed.$1.$3"
}
recipe() { tr -d ' \n' <"$WORK/pushed.$1.$2" | sed 's/.*"recipe":"\([0-9a-f]*\)".*/\1/'; }
# job TO FROM: state and what follows of the job that leads there.
jobs_now() { http GET '/admin/v1/jobs?limit=1000' | sed 's/},{/},\n{/g'; }
job() { jobs_now | grep -F "\"what\":\"assistant@$1\"" | grep -F "\"base\":\"assistant@$2\"" || true; }
state_is() { job "$2" "$3" | grep -q "\"state\":\"$1\""; }
settled() { # until nothing is queued or running
	i=0
	while jobs_now | grep -q '"state":"\(queued\|running\)"'; do
		i=$((i + 1))
		[ $i -lt 600 ] || fail "the jobs do not end: $(jobs_now)"
		sleep 0.1
	done
}

ctl -q model create assistant
push one 1.0.0 q8_0
push one 1.0.0 q4_0
ctl -q release publish assistant@1.0.0
settled
state_is 'done' 1.0.0/q8_0/one-q8_0.gguf 1.0.0/q4_0/one-q4_0.gguf || fail "from tier to tier: $(jobs_now)"
# Another model altogether: not worth a delta, and it says why.
synth --seed 9 "$WORK" alien
push alien 1.1.0 q8_0
ctl -q release publish assistant@1.1.0
settled
state_is dropped 1.1.0/q8_0/alien-q8_0.gguf 1.0.0/q8_0/one-q8_0.gguf || fail "not dropped: $(jobs_now)"
job 1.1.0/q8_0/alien-q8_0.gguf 1.0.0/q8_0/one-q8_0.gguf | grep -q 'larger than 70 % of a full download' ||
	fail "no reason: $(jobs_now)"

push two 2.0.0 q8_0
push two 2.0.0 q4_0
ctl -q release publish assistant@2.0.0
ctl store jobs --watch --timeout 60 >"$WORK/watch" 2>&1 || fail "watch: $(cat "$WORK/watch")"
grep -q '% of a full download' "$WORK/watch" || fail "watch: $(cat "$WORK/watch")"

# delta_of OLD NEW: the map's first delta, its parts fetched and put together in $WORK/delta.
le() { od -An -v -j "$2" -N "$3" -tu"$3" "$1" | tr -d ' '; }
hex() { od -An -v -j "$2" -N "$3" -tx1 "$1" | tr -d ' \n'; }
delta_of() {
	curl -fsS "$DEVICE/v1/maps/$2" >"$WORK/map"
	at=$((60 + 36 * $(le "$WORK/map" 48 4) + 13 * $(le "$WORK/map" 52 4)))
	: >"$WORK/delta"
	d=$(le "$WORK/map" 56 4)
	while [ "$d" -gt 0 ] && [ "$(hex "$WORK/map" $at 32)" != "$1" ]; do
		at=$((at + 44))
		d=$((d - 1))
	done
	[ "$d" -gt 0 ] || fail "the map of $2 lists no delta from $1"
	parts=$(le "$WORK/map" $((at + 32)) 4)
	bytes=$(le "$WORK/map" $((at + 36)) 8)
	n=0
	while [ $n -lt "$parts" ]; do
		curl -fsS "$DEVICE/v1/deltas/$2/$1/$n" >>"$WORK/delta"
		n=$((n + 1))
	done
	[ "$(stat -c %s "$WORK/delta")" -eq "$bytes" ] || fail "$bytes bytes are listed"
}
for tier in q8_0 q4_0; do
	state_is 'done' "2.0.0/$tier/two-$tier.gguf" "1.0.0/$tier/one-$tier.gguf" || fail "$(jobs_now)"
	delta_of "$(recipe one $tier)" "$(recipe two $tier)"
	"$BIN/flotilla" -q delta apply "$WORK/one-$tier.gguf" "$WORK/delta" --out "$WORK/made"
	cmp "$WORK/made" "$WORK/two-$tier.gguf" || fail "$tier: another file was made"
done

# As packs are served: ranges, a strong tag, for ever, as they are.
part=$DEVICE/v1/deltas/$(recipe two q4_0)/$(recipe one q4_0)/0
[ "$(curl -sS -D "$WORK/head" -o "$WORK/range" -w '%{http_code}' -H 'Range: bytes=100-299' "$part")" = 206 ] ||
	fail "a range: $(cat "$WORK/head")"
dd if="$WORK/delta" bs=1 skip=100 count=200 2>/dev/null | cmp - "$WORK/range" || fail "the range differs"
grep -qi "^content-range: bytes 100-299/$(stat -c %s "$WORK/delta")" "$WORK/head" || fail "$(cat "$WORK/head")"
grep -qi '^content-type: application/octet-stream' "$WORK/head" || fail "$(cat "$WORK/head")"
grep -qi '^cache-control: .*immutable' "$WORK/head" || fail "$(cat "$WORK/head")"
curl -fsS --compressed -D "$WORK/head" -o "$WORK/whole" "$part"
grep -qi '^content-encoding' "$WORK/head" && fail "encoded: $(cat "$WORK/head")"
cmp "$WORK/whole" "$WORK/delta" || fail "the part differs"
etag=$(tr -d '\r' <"$WORK/head" | sed -n 's/^[Ee][Tt]ag: //p')
echo "$etag" | grep -q '^"' || fail "the tag is not strong: $etag"
[ "$(curl -s -o /dev/null -w '%{http_code}' -H "If-None-Match: $etag" "$part")" = 304 ] || fail "no 304"
for path in "$(recipe two q4_0)/$(recipe one q4_0)/1" "$(recipe one q4_0)/$(recipe two q4_0)/0" \
	"$(recipe two q4_0)/$(recipe one q4_0)/00" "$(recipe two q4_0)/x/0"; do
	[ "$(curl -s -o /dev/null -w '%{http_code}' "$DEVICE/v1/deltas/$path")" = 404 ] || fail "$path is served"
done

# What the operator sees.
ctl store jobs --state done >"$WORK/table"
grep -q 'assistant@2.0.0/q4_0/two-q4_0.gguf .*assistant@1.0.0/q4_0/one-q4_0.gguf .*% of a full download' \
	"$WORK/table" || fail "$(cat "$WORK/table")"
grep -q dropped "$WORK/table" && fail "not only those done: $(cat "$WORK/table")"
refused 400 "state: give queued" GET '/admin/v1/jobs?state=lost'
# A token for another model sees none of it.
ctl -q model create other
stranger=$(ctl -q token create stranger --role viewer --model other)
curl -fsS -H "Authorization: Bearer $stranger" "$ADMIN/admin/v1/jobs" >"$WORK/strange"
grep -q '"items": *\[\]' "$WORK/strange" || fail "a stranger sees $(cat "$WORK/strange")"
http GET /admin/v1/events | grep -q '"kind":"delta.ready"' || fail "no event"
curl -fsS -H "Authorization: Bearer $stranger" "$ADMIN/admin/v1/events" >"$WORK/strange"
grep -q '"items": *\[\]' "$WORK/strange" || fail "a stranger sees $(cat "$WORK/strange")"
insider=$(ctl -q token create insider --role viewer --model assistant)
curl -fsS -H "Authorization: Bearer $insider" "$ADMIN/admin/v1/events" |
	grep -q '"kind":"delta.ready"' || fail "an insider sees no event"
grep -q '"event":"delta.ready"' "$WORK/flotillad.log" || fail "no line in the log"
http GET /metrics >"$WORK/metrics"
grep -q '^flotilla_deltas_queued 0' "$WORK/metrics" || fail "metrics: $(grep delta "$WORK/metrics")"
grep -q '^flotilla_deltas_failed 0' "$WORK/metrics" || fail "metrics: $(grep delta "$WORK/metrics")"
[ "$(sed -n 's/^flotilla_delta_bytes //p' "$WORK/metrics")" -gt 1000 ] || fail "metrics: $(grep delta "$WORK/metrics")"

# Stopped while it makes one, it ends at once and has cost no try; killed, it is made after the next start, and what
# was made is still there.
begun() {
	i=0
	until job 4.0.0/q8_0/four-q8_0.gguf 3.0.0/q8_0/three-q8_0.gguf | grep -q '"progress": *0\.[0-9]*[1-9]'; do
		i=$((i + 1))
		[ $i -lt 2000 ] || fail "it does not begin: $(jobs_now)"
	done
}
"$BIN/flotilla-synth" --size demo --tier q8_0 "$WORK" three >/dev/null
"$BIN/flotilla-synth" --size demo --tier q8_0 --step 0.01 "$WORK" four >/dev/null
push three 3.0.0 q8_0
push four 4.0.0 q8_0
ctl -q release publish assistant@3.0.0
settled
ctl -q release publish assistant@4.0.0
begun
stop_daemon || fail "stopped with $?"
grep -q '"event":"delta.interrupted"' "$WORK/flotillad.log" || fail "not interrupted"
start_daemon
begun
kill -9 "$DAEMON"
wait "$DAEMON" 2>/dev/null || true
DAEMON=
start_daemon
settled
state_is 'done' 4.0.0/q8_0/four-q8_0.gguf 3.0.0/q8_0/three-q8_0.gguf || fail "after the kill: $(jobs_now)"
job 4.0.0/q8_0/four-q8_0.gguf 3.0.0/q8_0/three-q8_0.gguf | grep -q '"tries": *2' ||
	fail "not interrupted, or twice: $(jobs_now)"
delta_of "$(recipe three q8_0)" "$(recipe four q8_0)"
"$BIN/flotilla" -q delta apply "$WORK/three-q8_0.gguf" "$WORK/delta" --out "$WORK/made"
cmp "$WORK/made" "$WORK/four-q8_0.gguf" || fail "another file was made"
delta_of "$(recipe one q4_0)" "$(recipe two q4_0)"
cmp "$WORK/whole" "$WORK/delta" || fail "the delta from before the kill differs"
ls "$WORK"/data/tmp/blob-* >/dev/null 2>&1 && fail "something is left: $(ls "$WORK/data/tmp")"

# The queue of a daemon that knew none: what the newest release lacks is made at the start.  And a backup without
# deltas: what is lost is made again.
stop_daemon
rm -r "$WORK/data/deltas"
sqlite3 "$WORK/data/flotilla.db" "DELETE FROM jobs WHERE what LIKE 'assistant@4%'"
start_daemon
settled
state_is 'done' 4.0.0/q8_0/four-q8_0.gguf 3.0.0/q8_0/three-q8_0.gguf || fail "at the start: $(jobs_now)"
for pair in "three four q8_0" "one two q4_0"; do
	set -- $pair
	delta_of "$(recipe "$1" "$3")" "$(recipe "$2" "$3")"
	"$BIN/flotilla" -q delta apply "$WORK/$1-$3.gguf" "$WORK/delta" --out "$WORK/made"
	cmp "$WORK/made" "$WORK/$2-$3.gguf" || fail "$pair: another file was made"
done
exit 0
