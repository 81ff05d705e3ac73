#!/bin/sh
# A token for one model: what it may bring a day, and that it never learns what others have stored.
. tests/system/lib.sh
init_data
start_daemon
synth "$WORK" one
file=$WORK/one-q8_0.gguf
small=$WORK/one-q4_0.gguf
ctl -q model create ours
ctl -q model create theirs
ctl -q token create ci --role publisher --model ours --quota-bytes 250000 --uploads 2 >"$WORK/ci.token"
ctl token list -o json | grep -q '"quota_bytes": 250000' || fail "the list does not tell the quota"
ci() { "$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/ci.token" -q "$@"; }
as_ci() { TOKEN=$(cat "$WORK/ci.token"); }
sent() { sed -n 's/.*"sent": \([0-9]*\).*/\1/p' "$1"; }

# Others have the file: it is sent, counted and stored as if they had not; again, it is known.
ctl -q push "$file" --release theirs@1.0.0 --tier q8_0 >/dev/null
ci push "$file" --release ours@1.0.0 --tier q8_0 -o json >"$WORK/push"
[ "$(sent "$WORK/push")" -gt 100000 ] || fail "it was told what others have: $(cat "$WORK/push")"
ci push "$file" --release ours@1.0.0 --tier q8_0 -o json >"$WORK/push"
[ "$(sent "$WORK/push")" = 0 ] || fail "its own file was sent again: $(cat "$WORK/push")"
fails 4 "not for it" ci push "$file" --release theirs@1.0.0 --tier q8_0

# What does not fit is refused at once, with when to come again; what others may is not touched.
fails 1 "quota_bytes" ci push "$small" --release ours@1.0.0 --tier q4_0
grep -q "wait 14[0-9][0-9] minutes" "$WORK/err" || fail "no time: $(cat "$WORK/err")"
as_ci
refused 429 "quota_bytes" POST /admin/v1/store/uploads -D "$WORK/head" -H 'Content-Type: application/json' \
	--data '{"length":200000}'
grep -qi '^retry-after: 86[0-9][0-9][0-9]' "$WORK/head" || fail "no Retry-After: $(cat "$WORK/head")"
for length in 1 2; do
	http POST /admin/v1/store/uploads -H 'Content-Type: application/json' --data "{\"length\":$length}" >"$WORK/up"
	[ "$(status)" = 201 ] || fail "an upload was refused: $(cat "$WORK/up")"
done
refused 429 "uploads: " POST /admin/v1/store/uploads -H 'Content-Type: application/json' --data '{"length":3}'
refused 403 "all models" GET /admin/v1/store
refused 403 "all models" GET /admin/v1/audit
ctl -q push "$small" --release theirs@1.0.0 --tier q4_0 >/dev/null

# Nor does a name that it heard of help.
recipe=$(sed -n 's/.*"recipe": "\([0-9a-f]*\)".*/\1/p' "$WORK/push")
ctl push "$small" --release theirs@1.0.0 --tier q4_0 -o json >"$WORK/theirs" 2>/dev/null
other=$(sed -n 's/.*"recipe": "\([0-9a-f]*\)".*/\1/p' "$WORK/theirs")
variant() { printf '{"format":"gguf","files":[{"name":"w.gguf","recipe":"%s"}]}' "$1"; }
refused 404 "no such recipe" PUT /admin/v1/models/ours/releases/1.0.0/variants/q4_0 \
	-H 'Content-Type: application/json' --data "$(variant "sha256:$other")"
http PUT /admin/v1/models/ours/releases/1.0.0/variants/again -H 'Content-Type: application/json' \
	--data "$(variant "$recipe")" >"$WORK/own"
[ "$(status)" = 200 ] || fail "its own recipe was refused: $(cat "$WORK/own")"

# A restart forgets nothing of what was brought.
stop_daemon
start_daemon
fails 1 "quota_bytes" ci push "$small" --release ours@1.0.0 --tier q4_0
