#!/bin/sh
# The operator's hand through the real daemon: what is under way is replaced class by class, tried
# again, revoked, and every step is in the manifest that devices poll next.
. tests/system/lib.sh
init_data
start_daemon
releases 3
printf '{"schema":1,"rules":[{"class":"big","any":[{"all":[{"attr":"ram_mib","op":"ge","value":8000}]}]},{"class":"default"}]}' >"$WORK/rules.json"
ctl -q class rules-set "$WORK/rules.json"
ctl -q release bootstrap assistant@1.0.0
manifest() { curl -sS "$DEVICE/v1/c/stable/$1/manifest.json"; }
has() { manifest "$1" | grep -qF -- "$2" || fail "the manifest of $1 lacks $2: $(manifest "$1")"; }
lacks() { ! manifest "$1" | grep -qF -- "$2" || fail "the manifest of $1 still has $2"; }

# What it would need, before it starts; nothing changes.
ctl rollout plan assistant@2.0.0 >"$WORK/out"
grep -q "^big, from 1.0.0: 10000 devices (as the class says), .* each (chunks)" "$WORK/out" ||
	fail "the plan: $(cat "$WORK/out")"
grep -q "big: 0 device-days of usage are known" "$WORK/out" || fail "no word of the baseline"
grep -q "big: stage 1 needs the reports of 100 candidates for exposure" "$WORK/out" ||
	fail "no word of the size: $(cat "$WORK/out")"
ctl rollout plan assistant@2.0.0 --class big --stages 50% >"$WORK/out"
grep -q "All lanes: about 2 nights" "$WORK/out" || fail "one stage: $(cat "$WORK/out")"
! grep -q "^default" "$WORK/out" || fail "a class that was not named: $(cat "$WORK/out")"
[ "$(http POST /admin/v1/rollout-plan -H 'Content-Type: application/json' \
	-d '{"model":"assistant","release":"2.0.0","channel":"stable"}' | tr -d '\n ' |
	grep -c '"via":"chunks"')" = 1 ] || fail "the API's plan: $(cat "$WORK/body")"
refused 404 "assistant@9.0.0" POST /admin/v1/rollout-plan -H 'Content-Type: application/json' \
	-d '{"model":"assistant","release":"9.0.0","channel":"stable"}'
lacks big '"candidate":["assistant'
[ "$(ctl rollout list | wc -l)" = 1 ] || fail "a plan made a rollout"

# Replaced in one class; the other goes on.
ctl -q rollout start assistant@2.0.0 --abort-after 2 >/dev/null
# A token for another model sees nothing of it; one for this model does.
ctl -q model create other
for model in other assistant; do
	token=$(ctl -q token create "of-$model" --role viewer --model "$model")
	for path in rollouts events rollouts/r1/events; do
		curl -sS -H "Authorization: Bearer $token" "$ADMIN/admin/v1/$path" >"$WORK/seen"
		case $model in
		other) ! grep -q '"assistant"\|"kind"\|"lane' "$WORK/seen" || fail "$path: $(cat "$WORK/seen")" ;;
		*) grep -q '"r1"' "$WORK/seen" || fail "$path: $(cat "$WORK/seen")" ;;
		esac
	done
done
fails 6 "flotilla rollout abort r1 --class big" ctl rollout start assistant@3.0.0
fails 1 "name the classes" ctl rollout start assistant@3.0.0 --supersede
ctl rollout start assistant@3.0.0 --class big --supersede >"$WORK/out" 2>"$WORK/err"
grep -q "big: about 100 devices (1 %) leave 2.0.0 of rollout r1" "$WORK/err" ||
	fail "who leaves: $(cat "$WORK/err")"
has big '"candidate":["assistant@3.0.0/q8_0"]'
has default '"candidate":["assistant@2.0.0/q8_0"]'
ctl rollout status r1 >"$WORK/out" || [ $? -eq 3 ]
grep -q "superseded by r2 (3.0.0)" "$WORK/out" || fail "r1: $(cat "$WORK/out")"
ctl rollout events r1 | grep -q "lane.superseded" || fail "no event of it"
http GET /admin/v1/audit | grep -q '"action":"lane.superseded"' || fail "no audit row of it"

# Beyond 10 % only with a yes.
ctl -q rollout advance r1 --class default
ctl -q rollout advance r1 --class default
fails 6 "(20 %) leave assistant@2.0.0" ctl rollout start assistant@3.0.0 --class default --supersede
has default '"candidate":["assistant@2.0.0/q8_0"]'
ctl -q --yes rollout start assistant@3.0.0 --class default --supersede >/dev/null
has default '"candidate":["assistant@3.0.0/q8_0"]'

# Held, let go on, taken back; again only with --retry, under a new id.
ctl -q rollout pause r3 --reason "wait"
has default '"state":"holding"'
fails 6 "does not wait for approval" ctl rollout approve r3 --class default
ctl -q rollout resume r3
has default '"state":"running"'
for i in 1 2 3 4 5; do ctl -q rollout advance r3; done
has default '"stable":["assistant@3.0.0/q8_0"]'
ctl -q --yes rollout undo r3 --reason "users complain"
has default '"stable":["assistant@1.0.0/q8_0"]'
fails 6 "say --retry" ctl rollout start assistant@3.0.0 --class default
ctl -q rollout start assistant@3.0.0 --class default --retry >/dev/null
has default '"id":"r4"'

# Revoked: one call, and the next poll's manifest has it, without any candidate of it.
ctl --yes revoke assistant@3.0.0/q8_0 --reason "wrong weights" >"$WORK/out" 2>"$WORK/err"
sum=$(sha256sum "$WORK/v3-q8_0.gguf" | cut -d' ' -f1)
for class in big default; do
	has "$class" "\"revoked\":[\"sha256:$sum\"]"
	lacks "$class" '"candidate":["assistant'
done
grep -q "2 lanes had it as their candidate" "$WORK/err" || fail "the lanes: $(cat "$WORK/err")"
ctl rollout status r4 >"$WORK/out" || [ $? -eq 3 ]
grep -q "revoked" "$WORK/out" || fail "r4: $(cat "$WORK/out")"
fails 6 "assistant@3.0.0 is revoked" ctl rollout start assistant@3.0.0 --class default --retry
# And so it is after a restart.
stop_daemon
start_daemon
has big "\"revoked\":[\"sha256:$sum\"]"
lacks big '"candidate":["assistant'

# Two classes too small alone share a lane: what is done to one is done to both.
fails 2 "auto stands alone" ctl rollout start assistant@2.0.0 --group auto --group big,default
fails 1 "tablet is no class of this rollout" ctl rollout start assistant@2.0.0 --group big,tablet
ctl rollout plan assistant@2.0.0 | grep -q -- "--group big,default (or --group auto)" || fail "no group is suggested"
ctl rollout plan assistant@2.0.0 --group auto 2>/dev/null | grep -q "^big,default, from 1.0.0: 20000 devices" ||
	fail "the group's plan: $(ctl rollout plan assistant@2.0.0 --group auto)"
id=$(ctl -q rollout start assistant@2.0.0 --group auto)
ctl rollout status "$id" | grep -Eq '^big +default +running' || fail "who leads: $(ctl rollout status "$id")"
ctl -q rollout advance "$id" --class default
has big '"stage":2'
ctl -q rollout pause "$id"
has big '"state":"holding"'
has default '"state":"holding"'
ctl -o json rollout gates "$id" --class default | tr -d ' \n' | grep -q '"group":\["big","default"\]' ||
	fail "the gates of the group: $(ctl -o json rollout gates "$id" --class default | head -20)"
stop_daemon
start_daemon
ctl -q rollout resume "$id" --class big
has default '"state":"running"'
for i in 1 2 3 4; do ctl -q rollout advance "$id"; done
has default '"stable":["assistant@2.0.0/q8_0"]'
ctl -q --yes rollout undo "$id" --class big
has big '"stable":["assistant@1.0.0/q8_0"]'
has default '"stable":["assistant@2.0.0/q8_0"]'
# Allowed again, by the name under which it was revoked.
ctl -q revoke assistant@3.0.0/q8_0 --undo || fail "not allowed again"
lacks big "\"revoked\":[\"sha256:$sum\"]"
fails 5 "is not revoked" ctl revoke assistant@3.0.0/q8_0 --undo
