#!/bin/sh
# A release that cannot load on one OS version: its lane goes back, and the decision names the slice, in the
# log, the events and the gates.
. tests/system/lib.sh
init_data
start_daemon --clock-speed 600
releases 2
ctl -q release bootstrap assistant@1.0.0

# Two populations of one class: the class does not look at the OS version.
cat >"$WORK/profile.json" <<EOT
{"schema":1,"model":"assistant","enter_after_s":600,"classes":[
	{"name":"new","devices":300,"attributes":{"os":"android"},"os_major":15,
	 "runtimes":{"llama.cpp":"4100"},"sessions_per_day":48},
	{"name":"old","devices":100,"attributes":{"os":"android"},"os_major":9,
	 "runtimes":{"llama.cpp":"4000"},"sessions_per_day":48}],
 "behaviour":[{"class":"old","variant":"assistant@2.*","load_fail":1}]}
EOT
mkdir "$WORK/sim"
"$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/data/admin.token" -q simulate "$WORK/profile.json" --url "$DEVICE" --root "$WORK/data/index.root.json" --threads 4 \
	--days 1 --work-dir "$WORK/sim" >"$WORK/sim.log" 2>&1 &
fleet=$!
sleep 5
ctl -q rollout start assistant@2.0.0 --stages 50% >/dev/null
i=0
until ctl rollout status r1 2>/dev/null | grep -q rolled_back; do
	i=$((i + 1))
	[ $i -lt 120 ] || fail "it was not taken back: $(tail -n 3 "$WORK/sim.log"; ctl rollout status r1; ctl rollout gates r1)"
	sleep 0.5
done
kill "$fleet"
wait "$fleet" || true
where=' on \(os 9\|runtime llama.cpp/4000\), where 2[0-9] % of devices are'
ctl rollout events r1 >"$WORK/out"
grep -q "lane.rolled_back.*$where" "$WORK/out" || fail "the event: $(cat "$WORK/out")"
grep '"lane.rolled_back"' "$WORK/flotillad.log" | grep -q "$where" || fail "the log does not say where"
ctl rollout gates r1 >"$WORK/out"
grep -q "this takes the candidate back; [0-9]* of [0-9]*$where" "$WORK/out" || fail "the gates: $(cat "$WORK/out")"
http GET /admin/v1/rollouts/r1/gates | tr -d ' \n' >"$WORK/gates"
grep -q '"slice":{"by":"\(os\|runtime\)"' "$WORK/gates" || fail "the API names no slice: $(cat "$WORK/gates")"
http GET /admin/v1/rollouts/r1/events | tr -d ' \n' | grep -q '"slice":{"by":"\(os\|runtime\)"' ||
	fail "the event's evidence: $(cat "$WORK/body")"

# The census tells runtimes apart, but never both ways at once.
day=$(($(date +%s) / 86400 - 1))
i=0
while [ $i -lt 60 ]; do
	i=$((i + 1))
	printf '{"schema":1,"kind":"usage","nonce":"%s","channel":"stable","class":"default","os_major":15,"runtime":"mlc/0.15","day":%s,"day_first":true,"entries":[{"model":"assistant","variant":"assistant@1.0.0/q8_0","used":1}]}' \
		"$(printf '%016d' $i | base64)" "$day" >"$WORK/report"
	curl -sSf "$DEVICE/v1/telemetry" -H 'Content-Type: application/json' --data-binary "@$WORK/report" >"$WORK/out" ||
		fail "a report was refused: $(cat "$WORK/out")"
done
http GET "/admin/v1/fleet/census?by=release,runtime&day=$day" | tr -d ' \n' >"$WORK/census"
grep -q '"runtime":"mlc/0.15"' "$WORK/census" || fail "the census: $(cat "$WORK/census")"
grep -q '"devices":60' "$WORK/census" || fail "the census counts: $(cat "$WORK/census")"
refused 400 "ask for one of them" GET "/admin/v1/fleet/census?by=os,runtime"
ctl fleet census --by class,runtime >"$WORK/out"
grep -q "CLASS.*RUNTIME.*DEVICES" "$WORK/out" || fail "no column of runtimes: $(cat "$WORK/out")"

# The same reports by the day; what is too little, or not kept, is refused with a remedy.
http GET "/admin/v1/fleet/history?model=assistant&metric=requests&days=5" | tr -d ' \n' >"$WORK/history"
grep -q '"metric":"requests"' "$WORK/history" || fail "the history: $(cat "$WORK/history")"
ctl fleet history assistant crash --days 5 >"$WORK/out"
grep -q "$(date -u -d "@$((day * 86400))" +%F).* 60 .* 60 " "$WORK/out" || fail "no day of 60 devices: $(cat "$WORK/out")"
ctl fleet history assistant ttft_ms --step hour --rollout r1 --arm control >"$WORK/out"
grep -q "FROM.*P95.*AT LEAST" "$WORK/out" || fail "hours of the rollout: $(cat "$WORK/out")"
refused 400 "step=day" GET "/admin/v1/fleet/history?model=assistant&metric=crash&kind=usage&step=hour"
refused 400 "there is no crush" GET "/admin/v1/fleet/history?model=assistant&metric=crush"
refused 400 "metric: missing" GET "/admin/v1/fleet/history?model=assistant"
refused 400 "hours are kept 30 days" GET "/admin/v1/fleet/history?model=assistant&metric=crash&step=hour&days=40"

# A month later cells are daily ones: the chart is the same, and the decision's evidence is the event's.
stop_daemon
start_daemon --clock-speed 100000
i=0
until ctl rollout gates r1 >"$WORK/out" && grep -q "as it was decided at" "$WORK/out"; do
	i=$((i + 1))
	[ $i -lt 240 ] || fail "a month does not pass: $(head -n 3 "$WORK/out")"
	sleep 0.5
done
grep -q "$where" "$WORK/out" || fail "the old gates: $(cat "$WORK/out")"
i=0
until python3 - "$WORK/data/flotilla.db" $((day * 86400)) <<'EOT'
import sqlite3, sys
db = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
fine = "SELECT COUNT(*) FROM cells WHERE at < ?"
sys.exit(0 if db.execute(fine, (int(sys.argv[2]) + 86400,)).fetchone()[0] == 0
         and db.execute("SELECT COUNT(*) FROM cell_days").fetchone()[0] > 0 else 1)
EOT
do
	i=$((i + 1))
	[ $i -lt 120 ] || fail "the old cells were not folded"
	sleep 0.5
done
http GET "/admin/v1/fleet/history?model=assistant&metric=requests&from=$((day * 86400))&to=$(((day + 1) * 86400))" |
	tr -d ' \n' >"$WORK/history"
grep -q '"devices":60' "$WORK/history" || fail "the folded day: $(cat "$WORK/history")"
