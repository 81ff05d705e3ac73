#!/bin/sh
# What gates a rollout has: the defaults when none is named, changes when some are, and every one of
# them with its counts, its threshold and a sentence.
. tests/system/lib.sh
init_data
start_daemon
releases 2
ctl -q release bootstrap assistant@1.0.0

order() { # members after the release: start a rollout with them
	printf '{"model":"assistant","release":"2.0.0","channel":"stable"%s}' "$1"
}
json='Content-Type: application/json'
refused 400 'gates[0]: name: there is no gate window.crush' POST /admin/v1/rollouts -H "$json" \
	-d "$(order ',"gates":[{"name":"window.crush"}]')"
refused 400 'say shift, not ratio_pm' POST /admin/v1/rollouts -H "$json" \
	-d "$(order ',"gates":[{"name":"window.ttft_ms.p95","ratio_pm":1100}]')"
http POST /admin/v1/rollouts -H "$json" -d "$(order ',"gates":[
	{"name":"window.regenerate","weight":0},{"name":"window.crash","weight":8}]')" >/dev/null
[ "$(status)" = 201 ] || fail "it did not start: $(cat "$WORK/body")"

# The engine is held to the same as what is shown: one family, made of the rows.
http GET /admin/v1/rollouts/r1/gates | tr -d ' \n' >"$WORK/gates"
for gate in outcome.load outcome.probe_score missing window.crash window.thumb.down \
	window.fallback.cloud window.ttft_ms.p95 window.energy_mj_1k.p95 window.decode_mtps.p95; do
	grep -q "\"metric\":\"$gate\",[^}]*\"role\":\"rollback\"" "$WORK/gates" || fail "no gate $gate: $(cat "$WORK/gates")"
done
for guard in crash err.load err.oom missing ttft_ms.p95; do
	grep -q "\"metric\":\"$guard\",[^}]*\"role\":\"promote\"" "$WORK/gates" || fail "no guard $guard"
done
grep -q 'thisgateisoff' "$WORK/gates" || fail "window.regenerate is not off: $(cat "$WORK/gates")"
ctl rollout gates r1 >"$WORK/table"
grep -q 'window.crash *rollback *watching' "$WORK/table" || fail "the table: $(cat "$WORK/table")"
grep -q 'window.crash: 0 of 0 candidate units crash in use, 0 of 0 in control; waits for units' \
	"$WORK/table" || fail "no sentence: $(cat "$WORK/table")"
grep -q 'not yet shown to be no worse than 2.00 times' "$WORK/table" || fail "no margin: $(cat "$WORK/table")"
fails 5 "no lane other" ctl rollout gates r1 --class other
