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

# What the file is: told by inspect, kept with the variant, and compared with the tier's name.
ctl inspect "$file" >"$WORK/inspect"
grep -q '^quantization  Q8_0$' "$WORK/inspect" || fail "inspect: $(cat "$WORK/inspect")"
ctl inspect "$file" --metadata --tensors -o json >"$WORK/inspect.json"
for word in '"architecture": "llama"' '"file_type": "Q8_0"' '"blk.0.ffn_up.weight"' \
	'"llama.block_count": "2"'; do
	grep -qF "$word" "$WORK/inspect.json" || fail "inspect does not tell $word"
done
told=$(sed -n 's/.*"stored": \([0-9]*\).*/\1/p' "$WORK/inspect.json")
kept=$(sed -n 's/.*"stored": \([0-9]*\).*/\1/p' "$WORK/push.json")
[ "$told" -ge $((kept * 98 / 100)) ] && [ "$told" -le $((kept * 102 / 100)) ] ||
	fail "inspect expects $told bytes stored, and there are $kept"
# What commands a terminal does not reach it: controls of 8 bits, and what turns writing round.
python3 - "$WORK/evil.gguf" <<'EOF'
import struct, sys
def text(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b
name = "a\x1b[2J\u009b2Jb\u202ec\u2066d\x85e\u00e9\u2026"
open(sys.argv[1], "wb").write(b"GGUF" + struct.pack("<IQQ", 3, 0, 2) +
    text("general.architecture") + struct.pack("<I", 8) + text("llama") +
    text("general.name") + struct.pack("<I", 8) + text(name))
EOF
for how in table json; do
	ctl inspect "$WORK/evil.gguf" -o $how --metadata >"$WORK/inspect"
	grep -qF 'a?[2J??2Jb???c???d??eé…' "$WORK/inspect" || fail "inspect -o $how: $(cat -v "$WORK/inspect")"
done
ctl inspect "$0" | grep -q '^format        opaque' || fail "a script is not opaque"
http GET /admin/v1/models/assistant/releases/1.0.0 >"$WORK/release"
grep -q '"meta":{"architecture":"llama"' "$WORK/release" || fail "no meta: $(cat "$WORK/release")"
refused 400 'meta: ' PUT /admin/v1/models/assistant/releases/1.0.0/variants/q8_0 \
	-H 'Content-Type: application/json' --data '{"format":"gguf","files":[{"name":"a","recipe":"'"$sum"'"}],"meta":{"shoe":1}}'
fails 1 "does not match the file" ctl push "$file" --release assistant@1.0.0 --tier q4_k_m --strict
ctl push "$file" --release assistant@1.1.0 --tier q4_k_m 2>&1 >/dev/null |
	grep -q "warning: tier q4_k_m does not match" || fail "no warning of a wrong tier"
head -c 100000 "$file" >"$WORK/short.gguf"
fails 1 "cut short" ctl push "$WORK/short.gguf" --release assistant@1.0.0 --tier premium --strict
head -c 100 "$file" >"$WORK/header.gguf"
fails 1 "no whole gguf header" ctl push "$WORK/header.gguf" --release assistant@1.0.0 --tier premium --strict
fails 1 "it is gguf, not zip" ctl push "$file" --release assistant@1.0.0 --tier premium --format zip --strict
ctl push "$file" --release assistant@1.1.0 --tier premium --strict >/dev/null 2>&1 ||
	fail "a tier of another name was refused"

# Tiers that are pushed at the same time agree on who makes their release.
pids=
for tier in q8_0 q4_0 f16; do
	ctl -q push "$WORK/one-$tier.gguf" --release assistant@1.2.0 --tier $tier >/dev/null 2>"$WORK/beside.$tier" &
	pids="$pids $!"
done
for pid in $pids; do
	wait "$pid" || fail "of pushes side by side: $(cat "$WORK"/beside.*)"
done

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
curl -s -o /dev/null -D "$WORK/head" -H 'Range: bytes=99999999-' "$blob"
grep -qi '^cache-control: no-store' "$WORK/head" || fail "a 416 may be kept: $(cat "$WORK/head")"
etag=$(curl -fsSI "$blob" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
[ "$(curl -s -o /dev/null -w '%{http_code}' -H "If-None-Match: $etag" "$blob")" = 304 ] || fail "no 304"
curl -fsS -H 'Accept-Encoding: zstd' -D "$WORK/head" -o "$WORK/z" "$blob"
if grep -qi '^content-encoding: zstd' "$WORK/head"; then
	[ "$(wc -c <"$WORK/z")" -le "$(wc -c <"$file")" ] || fail "compressed is larger"
else
	cmp "$WORK/z" "$file" || fail "identity differs"
fi

for takes in x-zstd notzstd 'zstd;q=0' 'zstd;foo=1;q=0' 'gzip, zstd;q=0.0'; do
	curl -fsS -H "Accept-Encoding: $takes" "$blob" | cmp - "$file" || fail "$takes was answered with zstd"
done
curl -fsS -H 'Accept-Encoding: gzip;q=0, zstd;q=0.5' -D "$WORK/head" -o /dev/null "$blob"
grep -qi '^content-encoding: zstd' "$WORK/head" || fail "zstd was asked for: $(cat "$WORK/head")"

# A pack that the kernel sends, whole and in parts, is the file that lies there; without a body none.
head -c 3000000 /dev/urandom >"$WORK/noise.bin"
ctl -q push "$WORK/noise.bin" --release assistant@1.3.0 --tier f16 >/dev/null
lies=$(find "$WORK/data/packs" -type f -size +2M | head -n 1)
pack=$DEVICE/v1/packs/$(basename "$lies")
curl -fsS "$pack" | cmp - "$lies" || fail "the pack differs"
curl -fsS -H 'Range: bytes=100001-2000000' "$pack" >"$WORK/range"
tail -c +100002 "$lies" | head -c 1900000 | cmp - "$WORK/range" || fail "a large range of the pack differs"
curl -fsSI "$pack" | tr -d '\r' | grep -qix "content-length: $(wc -c <"$lies")" || fail "HEAD tells another length"
curl -fsS "$pack" "$pack" -o "$WORK/range" -o "$WORK/range2" && cmp "$WORK/range2" "$lies" ||
	fail "the second of a connection differs"

# A device installs it: the same bytes.  Once more: nothing to do.
"$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 ||
	fail "the example: $(cat "$WORK/example")"
find "$WORK/device" -name '*.gguf' >"$WORK/installed"
[ "$(wc -l <"$WORK/installed")" -eq 1 ] || fail "installed: $(cat "$WORK/installed")"
got=$(xargs sha256sum <"$WORK/installed" | cut -d' ' -f1)
sha256sum "$WORK"/one-*.gguf | grep -q "$got" || fail "another file was installed"

# A push that is killed goes on where it was.
"$BIN/flotilla-synth" --size tiny --seed 9 "$WORK" two >/dev/null
"$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/data/admin.token" -q push "$WORK/two-f16.gguf" \
	--release assistant@2.0.0 --tier f16 >/dev/null 2>&1 &
pushing=$!
sleep 0.05
kill -9 $pushing 2>/dev/null || true
wait $pushing 2>/dev/null || true
ctl -q push "$WORK/two-f16.gguf" --release assistant@2.0.0 --tier f16 >/dev/null
curl -fsS "$DEVICE/v1/blobs/sha256:$(sha256sum "$WORK/two-f16.gguf" | cut -d' ' -f1)" |
	cmp - "$WORK/two-f16.gguf" || fail "after a killed push the blob differs"
