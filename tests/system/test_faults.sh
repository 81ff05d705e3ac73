#!/bin/sh
# A fault in one class, through the real daemon: its lane is taken back by the gate that counts such
# events, and the class without it completes.  `make bench-faults` does this with every kind of fault.
. tests/system/lib.sh
init_data
start_daemon --clock-speed 3600
releases 2
printf '{"schema":1,"rules":[{"class":"sick","any":[{"all":[{"attr":"ram_mib","op":"le","value":4000}]}]},{"class":"well"}]}' >"$WORK/rules.json"
ctl -q class rules-set "$WORK/rules.json"
# An hour is a second: reports are given more of them than they would need elsewhere.
printf '{"devices":400,"poll_s":1200,"candidate_poll_s":1200,"windows":4,"outcome_deadline_s":14400,"jitter_s":7200,"report_grace_s":10800}' >"$WORK/class.json"
for class in sick well; do ctl -q class set $class "$WORK/class.json"; done
ctl -q release bootstrap assistant@1.0.0

class() { # name ram_mib
	printf '{"name":"%s","devices":400,"attributes":{"os":"android","ram_mib":%s},"os_majors":[14,15],"sessions_per_day":30,"spread":0.3,"prone":0.5,"pace":0.2,"night":0.2,"lost":0.01}' "$1" "$2"
}
good='"crash":0.001,"thumb_down":0.02,"ttft_ms":[400,0.3],"energy_mj_1k":[9000,0.2],"probe_pm":[930,30]'
printf '{"schema":1,"model":"assistant","enter_after_s":7200,"classes":[%s,%s],"behaviour":[
	{"class":"sick","variant":"assistant@2.*",%s},{%s}]}' \
	"$(class sick 3000)" "$(class well 8000)" "$(echo "$good" | sed 's/0.001/0.2/')" "$good" >"$WORK/profile.json"
ctl -q simulate "$WORK/profile.json" --url "$DEVICE" --root "$WORK/data/index.root.json" --threads 8 \
	--edge-s 300 --trusting --start-s 3600 --days 30 --status "$WORK/status.json" >"$WORK/sim.log" 2>&1 &
fleet=$!
stop_fleet() { kill $fleet 2>/dev/null && wait $fleet 2>/dev/null || true; }
trap 'stop_fleet; finish' EXIT

# All run stable, and nothing goes back before there is something to go back from.
settled() { [ -e "$WORK/status.json" ] && tr -d '\n' <"$WORK/status.json" >"$WORK/settled" && grep -Eq '"assistant@1.0.0/q8_0": ?400.*"assistant@1.0.0/q8_0": ?400' "$WORK/settled"; }
i=0
until settled; do
	i=$((i + 1))
	[ $i -lt 300 ] || fail "the fleet does not settle: $(cat "$WORK/sim.log" "$WORK/settled")"
	sleep 0.1
done
ctl -q rollout start assistant@2.0.0 --stages 40% --soak 3600 --margin 2.0+0.20 >/dev/null

code=0
ctl -q --timeout 60 rollout status r1 --watch >"$WORK/end" || code=$?
stop_fleet
[ $code -eq 3 ] || fail "the rollout ended with $code: $(cat "$WORK/end" "$WORK/status.json"; ctl rollout gates r1)"
grep -Eq '^sick +rolled_back +1 .*window.crash: [0-9]+ of [0-9]+ candidate units crash in use' "$WORK/end" ||
	fail "not the crash gate: $(cat "$WORK/end")"
grep -Eq '^well +complete' "$WORK/end" || fail "the other class did not complete: $(cat "$WORK/end")"
# Who ran it goes back without a download: stable never left.
tr -d ' \n' <"$WORK/status.json" >"$WORK/settled"
grep -Eq '"returned":[1-9]' "$WORK/settled" || fail "nobody returned: $(cat "$WORK/settled")"
! grep -Eq '"returned_chunks":[1-9]' "$WORK/settled" || fail "who returned fetched chunks: $(cat "$WORK/settled")"
