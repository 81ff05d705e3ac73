#!/bin/sh
# deploy/nginx.conf in front of the daemon: what is kept, what is not, and a device that installs
# through it.  Only the addresses differ from what ships, and TLS is left out.
command -v nginx >/dev/null || { echo "nginx is not installed"; exit 77; }
. tests/system/lib.sh
init_data
start_daemon
synth --tier q8_0 "$WORK" one
file=$WORK/one-q8_0.gguf
sum=$(sha256sum "$file" | cut -d' ' -f1)
ctl -q model create assistant
ctl -q push "$file" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
FRONT=http://127.0.0.1:$port
sed -e "s|127.0.0.1:8080|${DEVICE#http://}|; s|/var/cache/nginx/flotilla|$WORK/cache|" \
	-e "s|listen 443 .*|listen 127.0.0.1:$port;|; /listen \[::\]/d; /ssl_certificate/d" \
	-e 's|server_tokens off;|& add_header X-Kept $upstream_cache_status always;|' \
	deploy/nginx.conf >"$WORK/front.conf"
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
	include $WORK/front.conf;
}
EOF
chmod 755 "$WORK" # nginx's workers may be another user
nginx -e "$WORK/nginx.log" -c "$WORK/nginx.conf" 2>>"$WORK/nginx.log" &
front=$!
trap 'kill $front 2>/dev/null || true; finish' EXIT
i=0
until curl -fsS -o /dev/null "$FRONT/healthz" 2>/dev/null; do
	i=$((i + 1))
	[ $i -lt 100 ] || fail "nginx does not start: $(cat "$WORK/nginx.log")"
	sleep 0.1
done

# cached PATH [curl options]: the answer's cache status; empty: not of the cache.  Body in $WORK/got.
cached() {
	path=$1
	shift
	curl -sS -o "$WORK/got" -D - "$@" "$FRONT$path" | tr -d '\r' | sed -n 's/^X-Kept: //p'
}
# kept WANT PATH [curl options]: asked twice, the second answer's status is WANT.
kept() {
	want=$1
	shift
	cached "$@" >"$WORK/first"
	got=$(cached "$@")
	[ "$got" = "$want" ] || fail "$1: '$got', not '$want'"
}
code() { curl -sS -o /dev/null -w '%{http_code}' "$@"; }

"$BIN/flotilla-example" "$FRONT" "$WORK/data/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 ||
	fail "the example through nginx: $(cat "$WORK/example")"
got=$(find "$WORK/device" -name '*.gguf' -exec sha256sum {} + | cut -d' ' -f1)
[ "$got" = "$sum" ] || fail "installed through nginx: $got"

tuf=/v1/c/stable/default/tuf
kept HIT $tuf/timestamp.json
etag=$(curl -fsSI "$FRONT$tuf/timestamp.json" | tr -d '\r' | sed -n 's/^ETag: //p')
[ "$(code -H "If-None-Match: $etag" "$FRONT$tuf/timestamp.json")" = 304 ] || fail "no 304 through nginx"
[ "$etag" = "$(curl -fsSI "$DEVICE$tuf/timestamp.json" | tr -d '\r' | sed -n 's/^ETag: //p')" ] ||
	fail "nginx changed the ETag to $etag"
curl -fsSI "$FRONT$tuf/timestamp.json" | grep -qi '^cache-control: public, max-age=60' ||
	fail "nginx changed how long a timestamp is kept"
[ "$(cached "$tuf/timestamp.json?around=the-cache")" = HIT ] || fail "a query goes around the cache"

pack=$(basename "$(find "$WORK/data/packs" -type f | head -n 1)")
kept HIT "/v1/packs/${pack%.*}" -H 'Range: bytes=100-199'
[ "$(wc -c <"$WORK/got")" -eq 100 ] || fail "a range of a pack has $(wc -c <"$WORK/got") bytes"
curl -fsS "$FRONT/v1/packs/${pack%.*}" | cmp - "$(find "$WORK/data/packs" -type f | head -n 1)" || fail "the pack differs"
target=/v1/c/stable/default/targets/assistant/1.0.0/q8_0/$sum.one-q8_0.gguf
kept HIT "$target"
cmp "$WORK/got" "$file" || fail "the target differs"
kept '' "/v1/blobs/sha256:$sum" -H 'Accept-Encoding: zstd'
grep -q . "$WORK/got" || fail "the blob is empty"

# Reports go through, and too long ones do not; nothing else is to be had.
day=$(($(date +%s) / 86400 - 1))
report="{\"schema\":1,\"kind\":\"usage\",\"nonce\":\"MDAwMDAwMDAwMDAwMDAwMA==\",\"channel\":\"stable\",\"class\":\"default\",\"os_major\":15,\"day\":$day,\"day_first\":true,\"entries\":[{\"model\":\"assistant\",\"variant\":\"assistant@1.0.0/q8_0\",\"used\":1,\"hit\":{},\"n\":{\"requests\":1},\"h\":{}}]}"
kept '' /v1/telemetry --data-binary "$report"
[ "$(code --data-binary "$report" "$FRONT/v1/telemetry")" = 202 ] || fail "a report through nginx"
[ "$(head -c 20000 /dev/zero | code --data-binary @- "$FRONT/v1/telemetry")" = 413 ] || fail "20 kB of report"
for path in /metrics /readyz /admin/v1/status /openapi.yaml /; do
	[ "$(code -H "Authorization: Bearer $TOKEN" "$FRONT$path")" = 404 ] || fail "$path is to be had"
done

# The daemon may be away for a while: what is kept is served.
stop_daemon
[ "$(code "$FRONT$tuf/timestamp.json")" = 200 ] || fail "nothing is served while the daemon is away"
