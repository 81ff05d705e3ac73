#!/bin/sh
# Two releases are exported; then nginx serves the tree, without the daemon, to the SDK unchanged.
command -v nginx >/dev/null || { echo "nginx is not installed"; exit 77; }
. tests/system/lib.sh
init_data
start_daemon
synth --tier q8_0 "$WORK" one
synth --tier q8_0 --seed 1 --step 0.05 --part head "$WORK" two
ctl -q model create assistant
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0
ctl -q push "$WORK/two-q8_0.gguf" --release assistant@2.0.0 --tier q8_0 --publish >/dev/null
synth --tier q8_0 --seed 5 "$WORK" draft
ctl -q push "$WORK/draft-q8_0.gguf" --release assistant@3.0.0 --tier q8_0 >/dev/null

tree=$WORK/tree
export_to() { ctl -q -o json store export --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" "$@" | tr -d ' \n'; }
figure() { echo "$1" | sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p"; }

# What is published goes out, and nothing else.
first=$(export_to "$tree")
[ "$(figure "$first" files)" -eq 1 ] || fail "files: $first"
[ "$(figure "$first" keys)" -eq "$(figure "$first" written)" ] || fail "written: $first"
[ "$(figure "$first" keys)" -eq "$(find "$tree/v1" -type f | wc -l)" ] || fail "keys: $first"
draft=$(ctl -o json release get assistant@3.0.0 2>/dev/null | sed -n 's/.*"recipe": "\([0-9a-f]*\)".*/\1/p')
[ -n "$draft" ] || draft=$(http GET /admin/v1/models/assistant/releases/3.0.0 | sed -n 's/.*"recipe":"\([0-9a-f]*\)".*/\1/p')
[ -n "$draft" ] && [ ! -e "$tree/v1/recipes/$draft" ] || fail "a draft went out"
[ -z "$(find "$tree" -name '*admin*' -o -name '*token*' -o -name '*key*')" ] || fail "$(find "$tree")"
# Byte for byte what the daemon answers.
(cd "$tree" && find v1 -type f) | while read -r key; do
	curl -fsS "$DEVICE/$key" | cmp - "$tree/$key" || exit 1
done || fail "the tree differs from what the daemon says"

# Again: only what is replaced in place is written; what broke off is made good.
again=$(export_to "$tree")
[ "$(figure "$again" keys)" -eq "$(figure "$first" keys)" ] || fail "again: $again"
[ "$(figure "$again" written)" -eq "$(find "$tree/v1" \( -path '*/maps/*' -o -name timestamp.json -o -name manifest.json \) | wc -l)" ] ||
	fail "written again: $again"
pack=$(find "$tree/v1/packs" -type f | head -n 1)
truncate -s 100 "$pack"
rm "$(find "$tree/v1/recipes" -type f | head -n 1)"
export_to "$tree" >/dev/null
[ "$(sha256sum "$pack" | cut -d' ' -f1)" = "$(basename "$pack")" ] || fail "a torn pack stays torn"
exec 9>"$tree/.lock"
flock 9
fails 1 "another export" ctl -q store export --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" "$tree"
exec 9>&-

# Whoever answers must be who signs: a listener of other keys, and a root that is none.
fails 2 "--index-root" ctl store export --device-url "$DEVICE" "$WORK/none"
"$BIN/flotillad" init --data-dir "$WORK/other" --dev >/dev/null
fails 1 "/v1/index/tuf/1.root.json: not the root in --index-root FILE" \
	ctl store export --index-root "$WORK/other/index.root.json" --device-url "$DEVICE" "$WORK/none"
echo '{}' >"$WORK/bad.root.json"
fails 1 "bad.root.json" ctl store export --index-root "$WORK/bad.root.json" --device-url "$DEVICE" "$WORK/none"
# Asked at the wrong listener, and at one that nothing is published on.
fails 1 "is the admin listener, which serves no devices: name the daemon's device_listen with --device-url" \
	ctl store export --index-root "$WORK/data/index.root.json" --device-url "$ADMIN" "$WORK/none"
PYTHONUNBUFFERED=1 python3 -m http.server --bind 127.0.0.1 --directory "$WORK/other" 0 >"$WORK/nothing.log" 2>&1 &
nothing=$!
until grep -q 'port [0-9]' "$WORK/nothing.log"; do sleep 0.1; done
fails 5 "has no index to copy" ctl store export --index-root "$WORK/data/index.root.json" \
	--device-url "http://127.0.0.1:$(sed -n 's/.*port \([0-9]*\).*/\1/p' "$WORK/nothing.log")" "$WORK/none"
kill $nothing
[ ! -e "$WORK/none/v1" ] || fail "something was written: $(find "$WORK/none")"

# nginx serves it from now on, while it is written.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
FRONT=http://127.0.0.1:$port
sed -e "s|/srv/flotilla|$tree|; s|listen 443 .*|listen 127.0.0.1:$port;|" \
	-e '/listen \[::\]/d; /ssl_certificate/d' deploy/nginx-tree.conf >"$WORK/tree.conf"
cat >"$WORK/nginx.conf" <<EOF
worker_processes 1;
daemon off;
pid $WORK/nginx.pid;
error_log $WORK/nginx.log;
events { }
http {
	client_body_temp_path $WORK/body_tmp;
	proxy_temp_path $WORK/proxy_tmp;
	fastcgi_temp_path $WORK/fastcgi_tmp;
	uwsgi_temp_path $WORK/uwsgi_tmp;
	scgi_temp_path $WORK/scgi_tmp;
	include $WORK/tree.conf;
}
EOF
chmod 755 "$WORK" "$tree" # nginx's workers may be another user
nginx -e "$WORK/nginx.log" -c "$WORK/nginx.conf" 2>>"$WORK/nginx.log" &
front=$!
trap 'kill $front 2>/dev/null || true; finish' EXIT
tuf=/v1/c/stable/default/tuf
i=0
until curl -fsS -o /dev/null "$FRONT$tuf/timestamp.json" 2>/dev/null; do
	i=$((i + 1))
	[ $i -lt 100 ] || fail "nginx does not start: $(cat "$WORK/nginx.log")"
	sleep 0.1
done

# A device of the SDK, unchanged; the first one gets the first release.
installs() { # DEVICE FILE: a new device installs just this
	"$BIN/flotilla-example" "$FRONT" "$WORK/data/index.root.json" "$WORK/$1" 2 >"$WORK/example" 2>&1 ||
		fail "the example from the tree: $(cat "$WORK/example")"
	got=$(find "$WORK/$1" -name '*.gguf')
	[ "$(echo "$got" | wc -l)" -eq 1 ] && cmp "$got" "$2" || fail "installed: $got; $(cat "$WORK/example")"
}
installs device1 "$WORK/one-q8_0.gguf"

# A second release, in use by all; then the daemon is gone.
id=$(ctl -o json rollout start assistant@2.0.0 | sed -n 's/.*"id": "\(r[0-9]*\)".*/\1/p' | head -n 1)
while ! ctl rollout status "$id" | grep -q complete; do ctl -q --yes rollout advance "$id"; done
second=$(export_to --targets "$tree")
[ "$(figure "$second" files)" -eq 1 ] || fail "files: $second"

# The same into a bucket, which checks every signature; again; and with another secret.
AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY='wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'
AWS_REGION=eu-central-1 AWS_SESSION_TOKEN=FwoGZXIvYXdzEXAMPLE==
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION AWS_SESSION_TOKEN
mkdir "$WORK/s3"
python3 tests/system/s3.py "$WORK/s3" "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" "$AWS_REGION" >"$WORK/s3.port" &
bucket=$!
trap 'kill $front $bucket 2>/dev/null || true; finish' EXIT
i=0
until [ -s "$WORK/s3.port" ]; do
	i=$((i + 1))
	[ $i -lt 100 ] || fail "the bucket does not start"
	sleep 0.1
done
AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$WORK/s3.port")
export AWS_ENDPOINT_URL
# What listeners say of types and caches does not get there.
echo headers >"$WORK/lies"
python3 tests/system/liar.py "$DEVICE" "$WORK/lies" >"$WORK/liar.port" 2>/dev/null &
liar=$!
trap 'kill $front $bucket $liar 2>/dev/null || true; finish' EXIT
i=0
until [ -s "$WORK/liar.port" ]; do
	i=$((i + 1))
	[ $i -lt 100 ] || fail "the liar does not start"
	sleep 0.1
done
LIAR=http://127.0.0.1:$(cat "$WORK/liar.port")
through_liar() { ctl -q -o json store export --index-root "$WORK/data/index.root.json" --device-url "$LIAR" "$@"; }
third=$(through_liar s3://fleet/models/v | tr -d ' \n')
objects=$WORK/s3/fleet/models/v
[ "$(figure "$third" written)" -eq "$(find "$objects" -type f ! -name '*#meta' | wc -l)" ] || fail "bucket: $third"
(cd "$objects" && find v1 -type f ! -name '*#meta') | while read -r key; do
	cmp "$objects/$key" "$tree/$key" || exit 1
done || fail "the bucket differs from the tree"
meta() { cat "$(find "$objects/v1/$1" -name "$2#meta" | head -n 1)"; }
meta packs '*' | grep -q '"Content-Type": "application/octet-stream", "Cache-Control": "public, max-age=31536000, immutable", "If-None-Match": "\*"' ||
	fail "a pack in the bucket: $(meta packs '*')"
meta c timestamp.json | grep -q '"Content-Type": "application/json", "Cache-Control": "public, max-age=60", "If-None-Match": null' ||
	fail "a timestamp in the bucket: $(meta c timestamp.json)"
meta maps '*' | grep -q '"Content-Type": "application/octet-stream", "Cache-Control": "public, max-age=3600", "If-None-Match": null' ||
	fail "a map in the bucket: $(meta maps '*')"
meta index 1.root.json | grep -q '"Content-Type": "application/json", "Cache-Control": "public, max-age=31536000, immutable"' ||
	fail "a root in the bucket: $(meta index 1.root.json)"
grep -rlE 'text/html|no-store' "$objects" && fail "the listener's headers are in the bucket"

# A delta that is not the one that its map names is not given to devices; one of another length is replaced.
for lie in delta recipe; do
	echo $lie >"$WORK/lies"
	fails 1 "/v1/deltas/" through_liar "$WORK/lied-$lie"
	[ -z "$(find "$WORK/lied-$lie/v1/deltas" -type f 2>/dev/null)" ] || fail "$lie: a false delta was written"
done
for of in "$tree" "$objects"; do
	delta=$(find "$of/v1/deltas" -type f -name 0 | head -n 1)
	[ -n "$delta" ] || fail "no delta in $of"
	cp "$delta" "$WORK/delta"
	echo more >>"$delta"
	if [ "$of" = "$tree" ]; then export_to "$tree"; else export_to s3://fleet/models/v; fi >/dev/null
	cmp "$delta" "$WORK/delta" || fail "an older delta stays: $delta"
done

# Errors without an end do.
echo endless >"$WORK/lies"
fails 1 "404 with more than 65536 bytes" through_liar "$WORK/lied"
fourth=$(export_to s3://fleet/models/v)
[ "$(figure "$fourth" keys)" -eq "$(figure "$third" keys)" ] || fail "bucket again: $fourth"
[ "$(figure "$fourth" written)" -eq "$(find "$objects/v1" \( -path '*/maps/*' -o -name timestamp.json -o -name manifest.json \) ! -name '*#meta' | wc -l)" ] ||
	fail "bucket, written again: $fourth"
truncate -s 10 "$objects/v1/packs/$(basename "$pack")"
fails 6 "remove it there" ctl store export --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" s3://fleet/models/v
code=0
AWS_SECRET_ACCESS_KEY=another export_to s3://fleet/models/v >"$WORK/out" 2>"$WORK/err" || code=$?
[ $code -eq 4 ] && grep -q 'answered 403' "$WORK/err" || fail "another secret: $code, $(cat "$WORK/err")"
grep -rq EXAMPLEKEY "$WORK/err" "$WORK/out" && fail "the secret is told"
unset AWS_ACCESS_KEY_ID
fails 4 "AWS_ACCESS_KEY_ID" ctl store export --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" s3://fleet/models/v
fails 1 "not s3://BUCKET" ctl store export --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" 's3://b%20d/x'
stop_daemon

installs device2 "$WORK/two-q8_0.gguf"
"$BIN/flotilla-example" "$FRONT" "$WORK/data/index.root.json" "$WORK/device1" 1 >"$WORK/example" 2>&1 ||
	fail "a device that was there before: $(cat "$WORK/example")"

# How long each may be kept; conditions and ranges; nothing else.
kept() { curl -fsSI "$FRONT$1" | tr -d '\r' | sed -n 's/^[Cc]ache-[Cc]ontrol: //p'; }
[ "$(kept $tuf/timestamp.json)" = 'public, max-age=60' ] || fail "timestamp: $(kept $tuf/timestamp.json)"
[ "$(kept /v1/c/stable/default/manifest.json)" = 'public, max-age=60' ] || fail "the manifest"
[ "$(kept /v1/index/tuf/1.root.json)" = 'public, max-age=31536000, immutable' ] || fail "a root"
[ "$(kept "/v1/packs/$(basename "$pack")")" = 'public, max-age=31536000, immutable' ] || fail "a pack"
map=$(basename "$(find "$tree/v1/maps" -type f | head -n 1)")
[ "$(kept "/v1/maps/$map")" = 'public, max-age=3600' ] || fail "a map"
code() { curl -sS -o "$WORK/got" -w '%{http_code}' "$@"; }
etag=$(curl -fsSI "$FRONT$tuf/timestamp.json" | tr -d '\r' | sed -n 's/^ETag: //p')
[ "$(code -H "If-None-Match: $etag" "$FRONT$tuf/timestamp.json")" = 304 ] || fail "no 304"
[ "$(code -H 'Range: bytes=100-199' "$FRONT/v1/packs/$(basename "$pack")")" = 206 ] || fail "no range"
dd if="$pack" bs=1 skip=100 count=100 2>/dev/null | cmp - "$WORK/got" || fail "another range"
sum=$(sha256sum "$WORK/two-q8_0.gguf" | cut -d' ' -f1)
[ "$(code "$FRONT/v1/c/stable/default/targets/assistant/2.0.0/q8_0/$sum.two-q8_0.gguf")" = 200 ] || fail "no raw target"
cmp "$WORK/got" "$WORK/two-q8_0.gguf" || fail "the raw target differs"
for path in /.part /.lock /v1/ /v1/packs/ /admin/v1/status /metrics /v1/index/tuf/9.root.json; do
	[ "$(code "$FRONT$path")" = 404 ] || fail "$path answers $(code "$FRONT$path")"
done
curl -sSI "$FRONT/v1/index/tuf/9.root.json" | grep -qi '^cache-control: public, max-age=60' || fail "how long is a 404 kept?"
[ "$(code -X PUT --data x "$FRONT/v1/packs/x")" = 403 ] || fail "PUT"
