#!/bin/sh
# Class rules from the shell: which rule matches and why, tests beside the rules, what a change would
# move, and that it does not spoil a rollout unasked.
. tests/system/lib.sh
says() { # words command...: its output has them
	words=$1
	shift
	"$@" >"$WORK/said" 2>&1 || true
	grep -q -- "$words" "$WORK/said" || fail "$* does not say \"$words\": $(cat "$WORK/said")"
}
cat >"$WORK/rules.json" <<'JSON'
{"schema": 1, "rules": [
  {"class": "big", "any": [{"all": [{"attr": "ram_mib", "op": "ge", "value": 8000}]}]},
  {"class": "small"}]}
JSON
cat >"$WORK/carved.json" <<'JSON'
{"schema": 1, "rules": [
  {"class": "huge", "any": [{"all": [{"attr": "ram_mib", "op": "ge", "value": 16000}]}]},
  {"class": "big", "any": [{"all": [{"attr": "ram_mib", "op": "ge", "value": 8000}]}]},
  {"class": "small"}]}
JSON
cat >"$WORK/devices.json" <<'JSON'
[{"name": "Pixel 8", "attributes": {"os": "android", "ram_mib": 8192}, "class": "big"},
 {"name": "unknown", "attributes": {}, "class": "small"},
 {"name": "anything", "attributes": {"ram_mib": 99999}}]
JSON

# Without a server.
flotilla() { "$BIN/flotilla" --server http://127.0.0.1:1 "$@"; }
flotilla class test "$WORK/devices.json" --rules "$WORK/rules.json" >"$WORK/table" ||
	fail "class test: $(cat "$WORK/table")"
grep -q 'Pixel 8 *big *0 *big *ok' "$WORK/table" || fail "class test: $(cat "$WORK/table")"
grep -q 'unknown *small *1 *small *ok' "$WORK/table" || fail "class test: $(cat "$WORK/table")"
sed 's/"class": "big"/"class": "small"/' "$WORK/devices.json" >"$WORK/wrong.json"
fails 1 'not where they are expected' flotilla class test "$WORK/wrong.json" --rules "$WORK/rules.json"
flotilla -o json class test "$WORK/wrong.json" --rules "$WORK/rules.json" >"$WORK/json" || true
says 'any\[0\]: ram_mib ge 8000: it is missing' cat "$WORK/json"
echo '[{"attributes": {"ram_mib": "lots"}}]' >"$WORK/bad.json"
fails 1 'devices[0]: attributes: ram_mib' flotilla class test "$WORK/bad.json" --rules "$WORK/rules.json"
echo '{"schema": 1, "rules": [{"class": "a"}, {"class": "b"}]}' >"$WORK/unreachable.json"
says 'rules: rules\[0\] (class a): matches all' flotilla class test "$WORK/devices.json" --rules "$WORK/unreachable.json"

# With one: plan, and a rollout under way.
init_data
start_daemon
synth --tier q8_0 "$WORK" m
ctl -q model create assistant
ctl -q push "$WORK/m-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q push "$WORK/m-q8_0.gguf" --release assistant@2.0.0 --tier q8_0 --publish >/dev/null
ctl -q class rules-set "$WORK/rules.json"
ctl -q release bootstrap assistant@1.0.0
ctl class test "$WORK/devices.json" >/dev/null || fail "class test against the server"
echo '{"ram_mib": 4000}' >"$WORK/device.json"
says 'any\[0\]: ram_mib ge 8000: it is 4000' ctl class explain "$WORK/device.json"

# What is not named stays; null is as it was at first; a tier that no release has is warned of, or refused.
setting() { ctl class show big | tr -d ' \n' | sed "s/.*\"$1\":\(\[[^]]*\]\|[0-9]*\).*/\1/"; }
echo '{"poll_s": 1800, "ram_mib": 5000}' | ctl -q class set big -
echo '{"tiers": ["q8_0", "q4_9"]}' | ctl class set big - 2>"$WORK/err" || fail "class set: $(cat "$WORK/err")"
grep -qF 'warning: no release has a tier q4_9 yet' "$WORK/err" || fail "no warning: $(cat "$WORK/err")"
grep -qF 'tier q8_0' "$WORK/err" && fail "a tier that is there: $(cat "$WORK/err")"
[ "$(setting poll_s) $(setting ram_mib) $(setting tiers)" = '1800 5000 ["q8_0","q4_9"]' ] ||
	fail "settings were lost: $(ctl class show big)"
echo '{"ram_mib": 1, "tiers": ["q4_9"]}' >"$WORK/settings.json"
fails 1 'tiers: no release has a tier q4_9' ctl class set --strict big "$WORK/settings.json"
[ "$(setting ram_mib)" = 5000 ] || fail "refused, and set"
echo '{"poll_s": null, "tiers": ["q8_0"]}' >"$WORK/settings.json"
ctl -q class set --strict big "$WORK/settings.json"
[ "$(setting poll_s) $(setting ram_mib) $(setting tiers)" = '3600 5000 ["q8_0"]' ] ||
	fail "null: $(ctl class show big)"
echo '[]' >"$WORK/settings.json"
fails 1 'settings: must be an object' ctl class set big "$WORK/settings.json"
echo '{"tiers": []}' | ctl -q class set big -

says 'big.*huge' ctl class plan "$WORK/carved.json"
ctl -o json class plan "$WORK/carved.json" | tr -d ' \n' >"$WORK/plan"
grep -q '"class":"small","devices":null,"may_move_to":\[\]' "$WORK/plan" || fail "the plan: $(cat "$WORK/plan")"
grep -q '"lanes":\[\]' "$WORK/plan" || fail "lanes that are not: $(cat "$WORK/plan")"
says 'rules\[0\] (class a): matches all' ctl class plan "$WORK/unreachable.json"

ctl -q rollout start assistant@2.0.0 --class big >/dev/null
says 'r1/big' ctl class plan "$WORK/carved.json"
says 'lane r1/big is under way' ctl class rules-set "$WORK/carved.json"
ctl class list | grep -q huge && fail "refused rules made a class"
# Rules that touch only others are taken.
sed 's/{"class": "small"}/{"class": "tiny", "any": [{"all": [{"attr": "ram_mib", "op": "le", "value": 2000}]}]}, {"class": "small"}/' \
	"$WORK/rules.json" >"$WORK/tiny.json"
ctl -q class rules-set "$WORK/tiny.json" || fail "rules that touch no lane are refused"
ctl -q class rules-set "$WORK/rules.json"
ctl rollout status r1 | grep -q running || fail "r1 does not run: $(ctl rollout status r1)"
ctl -q class rules-set --hold "$WORK/carved.json" || fail "rules-set --hold"
ctl rollout status r1 | grep -q holding || fail "r1 does not hold: $(ctl rollout status r1)"
says 'class rules changed' ctl rollout events r1
