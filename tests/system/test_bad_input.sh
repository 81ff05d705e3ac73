#!/bin/sh
# What users do by mistake gets a clear answer, and nothing is lost by it.
. tests/system/lib.sh
init_data
start_daemon --clock-speed 600
synth "$WORK" one
ctl -q model create assistant

json='Content-Type: application/json'
api=/admin/v1

# JSON that is none, members that are unknown, wrong or missing.
refused 400 "not valid JSON" POST $api/models -H "$json" -d '{"name":'
refused 400 "nmae: unknown member" POST $api/models -H "$json" -d '{"name":"x","nmae":"x"}'
refused 400 "name: missing" POST $api/models -H "$json" -d '{}'
refused 400 "name: must be a name" POST $api/models -H "$json" -d '{"name":"Grand Model"}'
refused 409 "exists" POST $api/models -H "$json" -d '{"name":"assistant"}'
head -c 2000000 /dev/zero | tr '\0' ' ' >"$WORK/spaces"
refused 413 "" POST $api/models -H "$json" --data-binary @"$WORK/spaces"
deep=$(printf '%040d' 0 | sed 's/0/[/g')$(printf '%040d' 0 | sed 's/0/]/g')
refused 400 "nested more than 32 deep" POST $api/models -H "$json" -d '{"name":"x","more":'"$deep"'}'
refused 404 "" GET $api/no/such/route
refused 405 "" DELETE $api/models

# Who may not.
saved=$TOKEN
TOKEN=flt_wrong
refused 401 "" GET $api/models
TOKEN=$saved
http POST $api/tokens -H "$json" -d '{"name":"watcher","role":"viewer"}' >"$WORK/viewer"
http POST $api/tokens -H "$json" -d '{"name":"brief","role":"operator","expires_s":60}' >"$WORK/brief"
TOKEN=$(sed 's/.*"token": *"\([^"]*\)".*/\1/' "$WORK/viewer")
refused 403 "publisher" POST $api/models -H "$json" -d '{"name":"mine"}'
sleep 1 # ten minutes of the daemon's clock
TOKEN=$(sed 's/.*"token": *"\([^"]*\)".*/\1/' "$WORK/brief")
refused 401 "expired" GET $api/models
TOKEN=$saved

# A token for some models does nothing that concerns others, whatever its role; its secret is kept nowhere.
ctl -q model create other
synth --tier q8_0 "$WORK" two
ctl -q push "$WORK/two-q8_0.gguf" --release other@1.0.0 --tier q8_0 >/dev/null
refused 400 "models: an admin is for all" POST $api/tokens -H "$json" \
	-d '{"name":"evil","role":"admin","models":["assistant"]}'
for n in 1 2; do
	http POST $api/tokens -H "$json" -H 'Idempotency-Key: once' \
		-d '{"name":"some","role":"operator","models":["assistant"]}' >"$WORK/some.$n"
done
! cmp -s "$WORK/some.1" "$WORK/some.2" || fail "a token's secret is told again: $(cat "$WORK/some.2")"
TOKEN=$(sed 's/.*"token": *"\([^"]*\)".*/\1/' "$WORK/some.1")
refused 403 "concerns all models" POST $api/channels -H "$json" -d '{"name":"mine"}'
refused 403 "concerns all models" PUT $api/classes/default -H "$json" -d '{}'
for variant in other@1.0.0/q8_0 other@9.0.0/q8_0; do
	refused 403 "model other: this token is not for it" POST $api/revocations -H "$json" -d '{"variant":"'$variant'"}'
done
refused 403 "name one" GET $api/fleet/census
refused 403 "model other: this token is not for it" GET "$api/fleet/census?model=other"
http GET "$api/fleet/census?model=assistant" >/dev/null
[ "$(status)" = 200 ] || fail "its own model's census is refused"
refused 403 "a variant of theirs" POST $api/revocations -H "$json" \
	-d '{"digest":"'"$(sha256sum "$WORK/two-q8_0.gguf" | cut -d' ' -f1)"'"}'
TOKEN=$saved

# The command tells where the token was looked for, and how to have one; never the token.
bare() { env -u FLOTILLA_TOKEN_FILE HOME="$WORK" XDG_CONFIG_HOME= "$BIN/flotilla" --server "$ADMIN" "$@"; }
kept() { # the file of the token: what was said has not a word of it.
	grep -qF "$(cut -c5-20 "$1")" "$WORK/err" "$WORK/out" && fail "the token is told: $(cat "$WORK/err")"
	return 0
}
make_one='`flotilla token create NAME --role ROLE` makes one'
fails 4 "neither by --token-file FILE, FLOTILLA_TOKEN_FILE nor token_file in $WORK/.config/flotilla/config" \
	bare model list
fails 4 "$make_one" bare model list
fails 4 "looked for in $WORK/no.token, which --token-file names" bare --token-file "$WORK/no.token" model list
sed 's/.*"token": *"\([^"]*\)".*/\1/' "$WORK/viewer" >"$WORK/viewer.token"
fails 4 "this needs the role publisher; the token watcher has viewer" \
	bare --token-file "$WORK/viewer.token" model create mine
grep -qF "that of $WORK/viewer.token, which --token-file names; another: $make_one" "$WORK/err" ||
	fail "wrong role: $(cat "$WORK/err")"
kept "$WORK/viewer.token"
http GET $api/tokens >"$WORK/tokens"
watcher=$(python3 -c 'import json, sys
print(next(t["id"] for t in json.load(sys.stdin)["items"] if t["name"] == "watcher"))' <"$WORK/tokens")
ctl -q token revoke "$watcher"
for how in revoked mistyped; do
	mkdir -p "$WORK/.config/flotilla"
	echo "token_file = $WORK/viewer.token" >"$WORK/.config/flotilla/config"
	fails 4 "looked for in $WORK/viewer.token, which $WORK/.config/flotilla/config names; if it is there, it is mistyped, expired, revoked" \
		bare model list
	kept "$WORK/viewer.token"
	sed -i 's/.$/?/' "$WORK/viewer.token"
done
fails 4 "which FLOTILLA_TOKEN_FILE names" env FLOTILLA_TOKEN_FILE="$WORK/viewer.token" "$BIN/flotilla" \
	--server "$ADMIN" model list
rm -r "$WORK/.config"

# Releases, variants, classes, rollouts that do not fit together.
fails 2 "MODEL@RELEASE" ctl release show assistant
fails 5 "assistant@9.9.9" ctl release publish assistant@9.9.9
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
fails 5 "no-such-class" ctl release bootstrap assistant@1.0.0 --class no-such-class
echo '{"tiers":["q8_0"],"poll_s":1}' >"$WORK/class.json"
fails 1 "poll_s" ctl --if-version 1 class set default "$WORK/class.json"
echo '{"tiers":["f16"]}' >"$WORK/class.json"
ctl -q --if-version 1 class set default "$WORK/class.json" >/dev/null
fails 6 "changed since" ctl --if-version 1 class set default "$WORK/class.json"
refused 428 "If-Match" PUT $api/classes/default -H "$json" -d '{"tiers":["f16"]}'
echo '{"schema":1,"rules":[{"class":"a"},{"class":"b"}]}' >"$WORK/rules.json"
fails 1 "rules" ctl --if-version 1 class rules-set "$WORK/rules.json"
fails 1 "stages" ctl rollout start assistant@1.0.0 --stages 50%,20%
fails 2 "--stages" ctl rollout start assistant@1.0.0 --stages half
fails 5 "r77" ctl rollout status r77

# Bytes that are not what they are said to be.
head -c 5000 /dev/urandom >"$WORK/noise"
zeros=0000000000000000000000000000000000000000000000000000000000000000
octets='Content-Type: application/octet-stream'
refused 422 "not its name" PUT $api/store/packs/$zeros -H "$octets" --data-binary @"$WORK/noise"
refused 400 "" POST $api/store/recipes -H "$octets" --data-binary @"$WORK/noise"
http POST $api/store/uploads -H "$json" -d '{"length":5000}' >"$WORK/upload"
id=$(sed 's/.*"id": *"\([^"]*\)".*/\1/' "$WORK/upload")
http PATCH $api/store/uploads/$id -H "$octets" -H 'Upload-Offset: 0' --data-binary @"$WORK/noise" >/dev/null
[ "$(status)" = 204 ] || fail "the upload answered $(status)"
refused 422 "" POST $api/store/uploads/$id/finish -H "$json" -d "{\"sha256\":\"$zeros\"}"
refused 404 "" GET $api/store/files/$zeros

# Telemetry of any kind of nonsense.
[ "$(curl -s -o "$WORK/body" -w '%{http_code}' -H "$json" -d '{"schema":1}' "$DEVICE/v1/telemetry")" = 400 ] ||
	fail "telemetry: $(cat "$WORK/body")"
head -c 40000 /dev/zero >"$WORK/large"
[ "$(curl -s -o "$WORK/body" -w '%{http_code}' -H "$json" --data-binary @"$WORK/large" "$DEVICE/v1/telemetry")" = 413 ] ||
	fail "large telemetry: $(cat "$WORK/body")"
stop_daemon

# A disk that is all but full: uploads are refused with the reason, reads go on, nothing is lost.
start_daemon --reserve-mib 1048576
refused 507 "" POST $api/store/uploads -H "$json" -d '{"length":5000}'
fails 1 "make room" ctl push "$WORK/one-f16.gguf" --release assistant@1.1.0 --tier f16
curl -fsS "$DEVICE/v1/index/tuf/timestamp.json" >/dev/null || fail "polls fail on a full disk"
[ "$(curl -s -o /dev/null -w '%{http_code}' "$ADMIN/readyz")" = 503 ] || fail "ready on a full disk"
stop_daemon
start_daemon
ctl -q push "$WORK/one-f16.gguf" --release assistant@1.1.0 --tier f16 >/dev/null
ctl release show assistant@1.0.0 | grep -q q8_0 || fail "a release was lost"
