#!/bin/sh
# A relay's batch: compressed or not, each report once, bad lines named, and only with its own token.
. tests/system/lib.sh
init_data
start_daemon
ctl -q token create gateway --role relay >"$WORK/relay.token"
ctl -q model create assistant
synth --tier q8_0 "$WORK" one
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0

# The last day that the census tells of: it waits some hours after midnight for the late.
day=$((($(date +%s) - 5 * 3600) / 86400 - 1))
i=0
while [ $i -lt 200 ]; do
	nonce=$(printf '%016d' $i | base64)
	printf '{"schema":1,"kind":"usage","nonce":"%s","channel":"stable","class":"default","os_major":15,"day":%s,"day_first":true,"entries":[{"model":"assistant","variant":"assistant@1.0.0/q8_0","used":1,"hit":{},"n":{"requests":1},"h":{}}]}\n' "$nonce" "$day"
	i=$((i + 1))
done >"$WORK/reports"
relay() { # file [curl options]: status, body in $WORK/body
	file=$1
	shift
	curl -sS -o "$WORK/body" -w '%{http_code}' -H "Authorization: Bearer $(cat "$WORK/relay.token")" \
		--data-binary @"$file" "$@" "$DEVICE/v1/telemetry/batch"
}
has() { tr -d ' \n' <"$WORK/body" | grep -qF "$1" || fail "no $1 in $(cat "$WORK/body")"; }

[ "$(relay "$WORK/reports")" = 202 ] || fail "relayed: $(cat "$WORK/body")"
has '"merged":200'
zstd -q "$WORK/reports" -o "$WORK/reports.zst"
[ "$(relay "$WORK/reports.zst" -H 'Content-Encoding: zstd')" = 202 ] || fail "compressed: $(cat "$WORK/body")"
has '"duplicate":200'
{ echo '{"schema":1}'; head -n 1 "$WORK/reports"; echo 'nonsense'; } >"$WORK/mixed"
[ "$(relay "$WORK/mixed")" = 202 ] || fail "mixed: $(cat "$WORK/body")"
has '"refused":2'
has '"line":3'
sed 's/"class":"default"/"class":"nobody-gave-it"/; s/"nonce":"MDAw/"nonce":"MDAx/' "$WORK/reports" >"$WORK/strange"
[ "$(relay "$WORK/strange")" = 202 ] || fail "unknown class: $(cat "$WORK/body")"
has '"unknown":200'
head -c -10 "$WORK/reports.zst" >"$WORK/cut"
[ "$(relay "$WORK/cut" -H 'Content-Encoding: zstd')" = 400 ] || fail "a cut frame: $(cat "$WORK/body")"
head -c 100000000 /dev/zero | zstd -q >"$WORK/bomb"
[ "$(relay "$WORK/bomb" -H 'Content-Encoding: zstd')" = 413 ] || fail "a bomb: $(cat "$WORK/body")"
gzip -k "$WORK/reports"
[ "$(relay "$WORK/reports.gz" -H 'Content-Encoding: gzip')" = 202 ] || fail "gzip: $(cat "$WORK/body")"
has '"duplicate":200'
[ "$(relay "$WORK/reports" -H 'Content-Encoding: gzip')" = 400 ] || fail "no gzip: $(cat "$WORK/body")"
[ "$(relay "$WORK/reports" -H 'Content-Encoding: br')" = 400 ] || fail "brotli: $(cat "$WORK/body")"
head -c 100000000 /dev/zero | gzip >"$WORK/gzip.bomb"
[ "$(relay "$WORK/gzip.bomb" -H 'Content-Encoding: gzip')" = 413 ] || fail "a gzip bomb: $(cat "$WORK/body")"
cat "$WORK/reports" "$WORK/reports" "$WORK/reports" "$WORK/reports" "$WORK/reports" "$WORK/mixed" >"$WORK/many"
[ "$(relay "$WORK/many")" = 413 ] || fail "1,003 lines: $(cat "$WORK/body")"
[ "$(curl -s -o /dev/null -w '%{http_code}' --data-binary @"$WORK/reports" "$DEVICE/v1/telemetry/batch")" = 401 ] ||
	fail "without a token"
[ "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $TOKEN" --data-binary @"$WORK/reports" "$DEVICE/v1/telemetry/batch")" = 403 ] ||
	fail "with the admin's token"
ctl -o json fleet census --days 2 | tr -d ' \n' | grep -q '"devices":200' || fail "the census: $(ctl fleet census)"
# The same 200 devices, told apart by less, over days, and beside what manifests say.
ctl fleet census --by release --days 3 | grep -Eq '^[0-9-]{10} +assistant +[0-9.]+ +200 +100 %' ||
	fail "by release: $(ctl fleet census --by release --days 3)"
fails 1 "there are channel, class, release, tier" ctl fleet census --by colour
ctl fleet adoption --by class | grep -Eq ' 0 +0 +0 +200 +100 %' || fail "adoption: $(ctl fleet adoption)"
ctl fleet drift >"$WORK/drift" || fail "drift"
[ "$(wc -l <"$WORK/drift")" = 1 ] || fail "drift of what the manifest names: $(cat "$WORK/drift")"
