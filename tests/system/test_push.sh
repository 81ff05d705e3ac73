#!/bin/sh
# CI's way: push, publish, bootstrap; a device's way: poll, verify, install; and what curl sees.
. tests/system/lib.sh
init_data
start_daemon
synth "$WORK" one
file=$WORK/one-q8_0.gguf
sum=$(sha256sum "$file" | cut -d' ' -f1)

fails 5 "does not exist" ctl push "$file" --release assistant@1.0.0 --tier q8_0
ctl -q model create assistant
ctl -q push "$file" --release assistant@1.0.0 --tier q8_0 -o json >"$WORK/push.json"
grep -q "\"sha256\": *\"$sum\"" "$WORK/push.json" || fail "push: $(cat "$WORK/push.json")"

# Again: nothing is sent.  As one stream: the same bytes, the same recipe's file.
ctl -q push "$file" --release assistant@1.0.0 --tier q8_0 -o json >"$WORK/again.json"
grep -q '"sent": *0' "$WORK/again.json" || fail "a second push sent bytes: $(cat "$WORK/again.json")"
ctl -q push --raw "$WORK/one-q4_0.gguf" --release assistant@1.0.0 --tier q4_0 -o json >"$WORK/raw.json"

# Published releases do not change.
ctl -q release publish assistant@1.0.0
fails 6 "published" ctl push "$WORK/one-f16.gguf" --release assistant@1.0.0 --tier f16
ctl -q release bootstrap assistant@1.0.0
ctl -q manifest verify stable default --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" >"$WORK/verify" 2>&1 ||
	fail "manifest verify: $(cat "$WORK/verify")"

# Whole blobs, ranges, validators, compression.
blob=$DEVICE/v1/blobs/sha256:$sum
curl -fsS "$blob" | cmp - "$file" || fail "the blob differs"
curl -fsS -H 'Range: bytes=1000-1999' "$blob" >"$WORK/range"
dd if="$file" bs=1 skip=1000 count=1000 2>/dev/null | cmp - "$WORK/range" || fail "the range differs"
[ "$(curl -s -o /dev/null -w '%{http_code}' -H 'Range: bytes=99999999-' "$blob")" = 416 ] || fail "no 416"
etag=$(curl -fsSI "$blob" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
[ "$(curl -s -o /dev/null -w '%{http_code}' -H "If-None-Match: $etag" "$blob")" = 304 ] || fail "no 304"
curl -fsS -H 'Accept-Encoding: zstd' -D "$WORK/head" -o "$WORK/z" "$blob"
if grep -qi '^content-encoding: zstd' "$WORK/head"; then
	[ "$(wc -c <"$WORK/z")" -le "$(wc -c <"$file")" ] || fail "compressed is larger"
else
	cmp "$WORK/z" "$file" || fail "identity differs"
fi

# A device installs it: the same bytes.  Once more: nothing to do.
"$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 ||
	fail "the example: $(cat "$WORK/example")"
find "$WORK/device" -name '*.gguf' >"$WORK/installed"
[ "$(wc -l <"$WORK/installed")" -eq 1 ] || fail "installed: $(cat "$WORK/installed")"
got=$(xargs sha256sum <"$WORK/installed" | cut -d' ' -f1)
sha256sum "$WORK"/one-*.gguf | grep -q "$got" || fail "another file was installed"

# A push that is killed goes on where it was.
"$BIN/flotilla-synth" --size tiny --seed 9 "$WORK" two >/dev/null
ctl -q push "$WORK/two-f16.gguf" --release assistant@2.0.0 --tier f16 >/dev/null 2>&1 &
pushing=$!
sleep 0.05
kill -9 $pushing 2>/dev/null || true
wait $pushing 2>/dev/null || true
ctl -q push "$WORK/two-f16.gguf" --release assistant@2.0.0 --tier f16 >/dev/null
curl -fsS "$DEVICE/v1/blobs/sha256:$(sha256sum "$WORK/two-f16.gguf" | cut -d' ' -f1)" |
	cmp - "$WORK/two-f16.gguf" || fail "after a killed push the blob differs"
