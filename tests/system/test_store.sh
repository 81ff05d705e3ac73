#!/bin/sh
# The store's care: sizes, collecting, looking over, scrubbing, and what mends it.
. tests/system/lib.sh
init_data
start_daemon
store() { ctl -q store "$@"; }
synth --tier q8_0 "$WORK" one
synth --tier q8_0 --seed 9 "$WORK" other
file=$WORK/one-q8_0.gguf
ctl -q model create assistant
ctl -q push "$file" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0

# Sizes.
store stat >"$WORK/stat"
for what in files raw packs stored live dead 'files / packs' chunks deltas 'disk free' collected; do
	grep -q "$what" "$WORK/stat" || fail "stat without $what: $(cat "$WORK/stat")"
done
grep -q '^scrubbed *never' "$WORK/stat" || fail "scrubbed already: $(cat "$WORK/stat")"
live=$(store stat -o json | sed -n 's/.*"live_bytes": \([0-9]*\).*/\1/p')
packed=$(store stat -o json | sed -n 's/.*"pack_bytes": \([0-9]*\).*/\1/p')
[ "$live" -gt 0 ] && [ "$live" -lt "$packed" ] || fail "live $live of $packed"

# Nothing is old enough to go; what would is only told.
store gc --dry-run | grep -q '^would go: 0 recipes, 0 packs, 0 files' || fail "$(store gc --dry-run)"
store gc -o json | grep -q '"dry_run": false' || fail "gc -o json"
store stat | grep '^collected' | grep -q never && fail "a collection that is not told"

# Sound; then a pack rots, which only its bytes tell.
store verify | grep -q '^sound: ' || fail "not sound: $(store verify)"
store scrub | grep -q '^sound: ' || fail "not sound: $(store scrub)"
pack=$(find "$WORK/data/packs" -type f | head -n 1)
printf rot | dd of="$pack" bs=1 seek=5000 conv=notrunc 2>/dev/null
store verify | grep -q '^sound: ' || fail "a shallow look hashes"
code=0
store scrub >"$WORK/scrub" || code=$?
[ $code -eq 1 ] || fail "a scrub of a rotten pack exited with $code"
grep -q "^pack .*$(basename "$pack").*not those of its name" "$WORK/scrub" || fail "$(cat "$WORK/scrub")"
grep -q '^assistant  *1.0.0  *q8_0  *one-q8_0.gguf' "$WORK/scrub" || fail "what mends it? $(cat "$WORK/scrub")"
ls "$WORK/data/quarantine" | grep -q "pack-$(basename "$pack")" || fail "no quarantine"
code=0
store verify -o json >"$WORK/verify" || code=$?
[ $code -eq 1 ] || fail "a look at a hurt store exited with $code"
grep -q '"file": "one-q8_0.gguf"' "$WORK/verify" || fail "$(cat "$WORK/verify")"
store mend "$file" | grep -q "one-q8_0.gguf .*[1-9][0-9]* .*B" || fail "nothing was sent"
[ "$(store mend -o json "$file" | sed -n 's/.*"sent": \([0-9]*\).*/\1/p')" -eq 0 ] || fail "sound, and sent again"
store scrub | grep -q '^sound: ' || fail "not mended"

# What was found outlives a restart; rows that were lost are made again from the files alone.
fails 1 "is in use" "$BIN/flotillad" rebuild --data-dir "$WORK/data"
stop_daemon
sqlite3 "$WORK/data/flotilla.db" 'DELETE FROM packs; DELETE FROM chunks; DELETE FROM recipes'
"$BIN/flotillad" rebuild --data-dir "$WORK/data" | grep -q '^rows for [1-9][0-9]* packs, [1-9][0-9]* chunks, 1 recipes$' ||
	fail "$("$BIN/flotillad" rebuild --data-dir "$WORK/data")"
start_daemon
[ "$(store mend -o json "$file" | sed -n 's/.*"sent": \([0-9]*\).*/\1/p')" -eq 0 ] || fail "what is stored is sent again"
"$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 ||
	fail "a device after rows were rebuilt: $(cat "$WORK/example")"
find "$WORK/device" -name '*.gguf' -exec cmp {} "$file" \; | grep -q . && fail "it installed another file"
[ "$(find "$WORK/device" -name '*.gguf' | wc -l)" -eq 1 ] || fail "it installed nothing"
store scrub | grep -q '^sound: ' || fail "not sound after rows were rebuilt"
store stat | grep '^scrubbed' | grep -q never && fail "forgotten by a restart"

# Viewers look, operators act.
ctl -q -o json token create looks --role viewer >"$WORK/token"
sed -n 's/.*"token": "\(flt_[^"]*\)".*/\1/p' "$WORK/token" >"$WORK/viewer"
"$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/viewer" store stat >/dev/null || fail "a viewer cannot look"
fails 4 "" "$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/viewer" store gc
refused 400 "task: gc, verify or scrub" POST /admin/v1/store/care -H 'Content-Type: application/json' --data '{"task":"tidy"}'
refused 400 "dry_run: of gc only" POST /admin/v1/store/care -H 'Content-Type: application/json' --data '{"task":"scrub","dry_run":true}'
http GET /admin/v1/audit | grep -q store.care || fail "not audited"
