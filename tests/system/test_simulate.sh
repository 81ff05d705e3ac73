#!/bin/sh
# A rehearsal: a small fleet of every kind of trouble lives a day; profiles are checked field by field.
. tests/system/lib.sh
init_data
start_daemon --clock-speed 7200
synth --tier q8_0 "$WORK" one
ctl -q model create assistant
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0

profile() { # members of a class
	printf '{"schema":1,"model":"assistant","classes":[{"name":"default","attributes":{"os":"android"},%s}],"behaviour":[{"crash":0.2}]}' "$1" >"$WORK/profile.json"
}
profile '"devices":0'
fails 1 "classes[0]: devices" ctl simulate "$WORK/profile.json" --url "$DEVICE"
profile '"devices":5,"colour":"red"'
fails 1 "colour: unknown member" ctl simulate "$WORK/profile.json" --url "$DEVICE"
profile '"devices":5,"offline":1'
fails 1 "offline" ctl simulate "$WORK/profile.json" --url "$DEVICE"
profile '"devices":5,"lost":2'
fails 1 "classes[0]: lost" ctl simulate "$WORK/profile.json" --url "$DEVICE"
profile '"devices":5,"night":-1'
fails 1 "classes[0]: night" ctl simulate "$WORK/profile.json" --url "$DEVICE"
profile '"devices":5,"os_majors":[14,"15"]'
fails 1 "classes[0]: os_majors: must be numbers from 1 to 1000" ctl simulate "$WORK/profile.json" --url "$DEVICE"
behaves() { # members of the behaviour
	printf '{"schema":1,"model":"assistant","classes":[{"name":"default","attributes":{},"devices":5}],"behaviour":[{%s}]}' "$1" >"$WORK/profile.json"
}
behaves '"brick":2'
fails 1 "behaviour[0]: brick" ctl simulate "$WORK/profile.json" --url "$DEVICE"
behaves '"probe_pm":[1200,10]'
fails 1 "behaviour[0]: probe_pm: must be [mean per mille, 1 to 1000" ctl simulate "$WORK/profile.json" --url "$DEVICE"
behaves '"energy_mj_1k":[0,0.2]'
fails 1 "behaviour[0]: energy_mj_1k: must be [median" ctl simulate "$WORK/profile.json" --url "$DEVICE"
behaves '"os_major":"14"'
fails 1 "behaviour[0]: os_major" ctl simulate "$WORK/profile.json" --url "$DEVICE"
fails 5 "no-such-file" ctl simulate "$WORK/no-such-file" --url "$DEVICE"

profile '"devices":60,"full":3,"offline":0.1,"offline_s":3600,"slow":0.5,"killed":0.2,"sessions_per_day":12'
mkdir "$WORK/sim"
ctl -q -o json simulate "$WORK/profile.json" --url "$DEVICE" --root "$WORK/data/index.root.json" \
	--threads 4 --days 1 --work-dir "$WORK/sim" --status "$WORK/status.json" |
	tr -d ' \n' >"$WORK/end.json"
grep -q '"devices":60' "$WORK/status.json" || fail "the status: $(cat "$WORK/status.json")"
grep -q '"running":{"assistant@1.0.0/q8_0":60}' "$WORK/end.json" || fail "not all run it: $(cat "$WORK/end.json")"
for figure in sessions crashes kills shared; do
	grep -q "\"$figure\":[1-9]" "$WORK/end.json" || fail "no $figure: $(cat "$WORK/end.json")"
done
grep -q '"report_errors":0' "$WORK/end.json" || fail "reports were refused: $(cat "$WORK/end.json")"
# On one OS of two every first load bricks a device: about half are never heard of again, though reports
# go through a relay and documents through an edge.
printf '{"schema":1,"model":"assistant","classes":[{"name":"default","attributes":{},"devices":60,"os_majors":[14,15],"sessions_per_day":24,"night":0.5,"growth":0.1,"prone":1,"pace":0.3,"lost":0.1}],"behaviour":[{"os_major":15,"brick":1},{"thumb_down":0.5,"regenerate":0.5,"energy_mj_1k":[9000,0.2],"decode_mtps":[12000,0.2],"probe_pm":[930,30]}]}' >"$WORK/profile.json"
ctl -q token create gateway --role relay >"$WORK/relay.token"
ctl -q -o json simulate "$WORK/profile.json" --url "$DEVICE" --threads 4 --days 2 --edge-s 600 --trusting \
	--relay-token-file "$WORK/relay.token" | tr -d ' \n' >"$WORK/end.json"
grep -q '"running":{"assistant@1.0.0/q8_0":30,"bricked":30}' "$WORK/end.json" ||
	fail "not half are bricked: $(cat "$WORK/end.json")"
grep -q '"reports":[1-9]' "$WORK/end.json" || fail "nothing was reported: $(cat "$WORK/end.json")"
grep -q '"report_errors":0' "$WORK/end.json" || fail "the relay's reports were refused: $(cat "$WORK/end.json")"
fails 4 "no-such-token" ctl simulate "$WORK/profile.json" --url "$DEVICE" --relay-token-file "$WORK/no-such-token"
# What devices installed is what was pushed.
find "$WORK/sim" -name '*.gguf' | while read -r file; do cmp "$file" "$WORK/one-q8_0.gguf" || exit 1; done ||
	fail "a device has another file"
