#!/bin/sh
# Too many reports of one network or relay are told to come later; who is meant by a believed proxy.
. tests/system/lib.sh
init_data
start_daemon --proxies 127.0.0.1 --network-rate 1 --network-burst 5 --relay-rate 1
ctl -q token create gateway --role relay >"$WORK/relay.token"
ctl -q model create assistant

day=$(($(date +%s) / 86400 - 1))
report='{"schema":1,"kind":"usage","nonce":"AAAAAAAAAAAAAAAAAAAAAA==","channel":"stable","class":"default","day":'$day',"entries":[{"model":"assistant","variant":"assistant@1.0.0/q8_0"}]}'
# Sixty times at once, far more than comes back meanwhile: a code a line, the last one's body and head.
posts() { # X-Forwarded-For
	curl -sS -o "$WORK/body" -D "$WORK/head" -w '%{http_code}\n' -H "X-Forwarded-For: $1" \
		--data-binary "$report" "$DEVICE/v1/telemetry?n=[1-60]" >"$WORK/codes"
}
posts 198.51.100.7
[ "$(grep -c 202 "$WORK/codes")" -ge 5 ] || fail "the burst is not given: $(cat "$WORK/codes")"
[ "$(grep -c 429 "$WORK/codes")" -ge 1 ] || fail "there is no limit: $(cat "$WORK/codes")"
[ "$(grep -vc '202\|429' "$WORK/codes")" = 0 ] || fail "$(cat "$WORK/codes" "$WORK/body")"
grep -qi '^retry-after: [0-9]' "$WORK/head" || fail "no Retry-After: $(cat "$WORK/head")"
grep -q network "$WORK/body" || fail "it does not say why: $(cat "$WORK/body")"
posts '203.0.113.1, 198.51.101.9'
[ "$(head -n 1 "$WORK/codes")" = 202 ] || fail "another network: $(cat "$WORK/codes")"

relay() { curl -sS -o "$WORK/body" -w '%{http_code}' -H "Authorization: Bearer $(cat "$WORK/relay.token")" \
	--data-binary @"$WORK/reports" "$DEVICE/v1/telemetry/batch"; }
i=0
while [ $i -lt 900 ]; do
	i=$((i + 1))
	printf '{"schema":1,"kind":"usage","nonce":"%s","channel":"stable","class":"default","day":%s,"entries":[{"model":"assistant","variant":"assistant@1.0.0/q8_0"}]}\n' "$(printf '%012d' $i)AAAAAAAAAA==" "$day"
done >"$WORK/reports"
[ "$(relay)" = 202 ] || fail "the first batch: $(cat "$WORK/body")"
[ "$(relay)" = 202 ] || fail "the second batch: $(cat "$WORK/body")"
[ "$(relay)" = 429 ] || fail "the third batch: $(cat "$WORK/body")"
grep -q token "$WORK/body" || fail "it does not say why: $(cat "$WORK/body")"
