#!/bin/sh
# demo.sh [--once] -- a release goes out to 3,600 simulated devices and comes back by itself in the
# one class where it is bad.  Installs what is missing, builds, and leaves the daemon running;
# --once stops everything it started and ends with one line of JSON.
set -eu
cd "$(dirname "$0")/.."

once=false
case ${1:-} in
--once) once=true ;;
'') ;;
*) sed -n '2,4s/^# //p' "$0" >&2; exit 2 ;;
esac

dir=build/demo
bin=build/release
speed=3600
began=$(date +%s)
daemon= fleet=

say() { printf '\n== %s\n' "$*"; }
ctl() { "$bin/flotilla" --server "$admin" --token-file "$dir/data/admin.token" "$@"; }

json() { ctl -o json "$@" | tr -d ' \n'; } # one line, for sed

# The number behind "name": in a file of compact JSON, below class $3 when that is given.
figure() {
	if [ $# -eq 3 ]; then
		sed -n "s/.*\"$3\":{\([^{}]*{[^{}]*}[^{}]*\|[^{}]*\)}.*/\1/p" "$1" | sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p"
	else
		sed -n "s/.*\"$2\":\([0-9]*\).*/\1/p" "$1"
	fi
}

stop() { # pid
	[ -n "$1" ] || return 0
	kill "$1" 2>/dev/null || return 0
	wait "$1" 2>/dev/null || true
}

finish() {
	code=$?
	trap - EXIT INT TERM
	stop "$fleet"
	if $once || [ $code -ne 0 ]; then stop "$daemon"; fi
	if [ $code -ne 0 ]; then
		echo "demo: failed; see $dir/flotillad.log and $dir/simulate.log" >&2
	fi
	exit $code
}

fail() {
	echo "demo: $*" >&2
	if $once; then printf '{"story":"failed","why":"%s"}\n' "$*"; fi
	exit 1
}

# ---- building ----

sh scripts/setup.sh build
say "building"
make -s -j"$(nproc)"

mkdir -p "$dir"
# A daemon that an earlier demo left running ends first: only the one whose lock file it is.
if [ -e "$dir/flotillad.pid" ]; then
	old=$(cat "$dir/flotillad.pid")
	if [ "$(readlink "/proc/$old/exe" 2>/dev/null)" = "$PWD/$bin/flotillad" ]; then
		kill "$old"
		while [ -e "/proc/$old" ]; do sleep 0.1; done
	fi
fi
rm -rf "$dir/data" "$dir"/*.log "$dir"/*.json "$dir/flotillad.pid"

models=build/demo-models
if [ ! -e "$models/done" ]; then
	say "making a synthetic checkpoint and a fine-tune of it: f16, q8_0 and q4_0 of each"
	mkdir -p "$models"
	"$bin/flotilla-synth" "$models" assistant-1.0.0
	"$bin/flotilla-synth" --step 0.01 "$models" assistant-2.0.0
	touch "$models/done"
fi

# ---- the daemon ----

trap finish EXIT
trap 'exit 130' INT TERM

start_daemon() { # device address, admin address
	"$bin/flotillad" --data-dir "$dir/data" --device-listen "$1" --admin-listen "$2" \
		--clock-speed "$speed" --ingest-token-file "$dir/ingest.token" \
		>>"$dir/flotillad.log" 2>&1 &
	daemon=$!
	for _ in $(seq 100); do
		grep -q '"event":"server.started"' "$dir/flotillad.log" && return 0
		kill -0 "$daemon" 2>/dev/null || break
		sleep 0.1
	done
	daemon=
	return 1
}

say "starting flotillad with development keys and a clock at ${speed}x: an hour a second"
"$bin/flotillad" init --data-dir "$dir/data" --dev >"$dir/init.log" 2>&1 ||
	{ cat "$dir/init.log" >&2; exit 1; }
(umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$dir/ingest.token")
if $once; then
	start_daemon 127.0.0.1:0 127.0.0.1:0 || fail "the daemon does not start"
elif ! start_daemon 127.0.0.1:8080 127.0.0.1:8081; then
	echo "ports 8080 and 8081 are taken; any will do"
	start_daemon 127.0.0.1:0 127.0.0.1:0 || fail "the daemon does not start"
fi
echo "$daemon" >"$dir/flotillad.pid"
started=$(grep '"event":"server.started"' "$dir/flotillad.log" | tail -n 1 | tr -d '\n')
device=http://127.0.0.1:$(echo "$started" | sed -n 's/.*"device_port":\([0-9]*\).*/\1/p')
admin=http://127.0.0.1:$(echo "$started" | sed -n 's/.*"admin_port":\([0-9]*\).*/\1/p')

# ---- what is served to whom ----

say "classes: flagship, mid, budget"
ctl -q model create assistant
ctl -q --if-version 1 class rules-set deploy/profiles/three-classes.rules.json
set_class() { # name, tiers
	printf '{"tiers":[%s],"devices":1200,"poll_s":7200,"candidate_poll_s":1800,"jitter_s":7200,"spread_s":3600}' "$2" |
		ctl -q --if-version 1 class set "$1" - >/dev/null
}
set_class flagship '"f16","q8_0","q4_0"'
set_class mid '"q8_0","q4_0"'
set_class budget '"q4_0"'
ctl class list

push() { # release
	for tier in f16 q8_0 q4_0; do
		ctl -q push "$models/assistant-$1-$tier.gguf" --release "assistant@$1" --tier $tier \
			--name model.gguf --runtime llama.cpp=4000
	done
	ctl -q release publish "assistant@$1"
}

say "assistant@1.0.0 becomes stable everywhere"
push 1.0.0
ctl -q release bootstrap assistant@1.0.0

# ---- the fleet ----

say "3,600 devices wake up and are used for a day and more"
# Not through ctl: its process id is needed.
"$bin/flotilla" --server "$admin" --token-file "$dir/data/admin.token" -o json \
	simulate deploy/profiles/three-classes.json --url "$device" --status "$dir/fleet.json" \
	--ingest-token-file "$dir/ingest.token" >"$dir/fleet-end.json" 2>"$dir/simulate.log" &
fleet=$!

# Until each class has so many devices in the census; a UTC day must end for that.
census() { # least devices, seconds
	for _ in $(seq "$2"); do
		kill -0 "$fleet" 2>/dev/null || { tail -n 3 "$dir/simulate.log" >&2; fail "the simulated fleet ended"; }
		json fleet census >"$dir/census.json"
		counted=true
		for class in flagship mid budget; do
			n=$(tr '{' '\n' <"$dir/census.json" | grep "\"class\":\"$class\"" |
				sed -n 's/.*"devices":\([0-9]*\).*/\1/p' | awk '{ n += $1 } END { print n + 0 }')
			[ "$n" -ge "$1" ] || counted=false
		done
		$counted && return 0
		sleep 1
	done
	return 1
}

census 1000 90 || fail "the census does not show the fleet"
ctl fleet census

# ---- the release ----

say "assistant@2.0.0 goes out: 20 %, then 50 %, then everyone; its q4_0 is bad on budget devices"
push 2.0.0
rollout=$(ctl -q rollout start assistant@2.0.0 --stages 20%,50% --margin 2.0+0.10)
# A lane this small may have heard all its devices before the last guard is sure, and holds: somebody decides.
operate() {
	while sleep 3 && kill -0 "$fleet" 2>/dev/null; do
		for class in flagship mid; do
			json rollout status "$rollout" | sed 's/},{/}\n{/g' | grep "\"class\":\"$class\"" |
				grep -q '"state":"holding"' || continue
			ctl -q rollout advance "$rollout" --class "$class" --reason "no gate is suspicious" || true
		done
	done
}
operate &
operator=$!
watched=0
ctl rollout status "$rollout" --watch || watched=$?
kill "$operator" 2>/dev/null || true
[ $watched -eq 3 ] || fail "the rollout ended with exit code $watched; 3 was expected: one lane taken back"

say "why, in the class where it was taken back"
ctl rollout gates "$rollout" --class budget
ctl rollout events "$rollout"

json rollout status "$rollout" | sed 's/},{/}\n{/g' >"$dir/lanes.json"
lane() { # class: its state
	grep "\"class\":\"$1\"" "$dir/lanes.json" | sed -n 's/.*"state":"\([a-z_]*\)".*/\1/p' | tail -n 1
}
for pair in flagship:complete mid:complete budget:rolled_back; do
	class=${pair%:*} state=${pair#*:}
	[ "$(lane "$class")" = "$state" ] || fail "lane $class is $(lane "$class"), not $state"
done

# ---- afterwards ----

say "a day later"
sleep 30
settled=false
for _ in $(seq 60); do
	census 1000 5 || true
	shown=$(tr '{' '\n' <"$dir/census.json" | grep '"class":"budget"' | grep -c '2\.0\.0' || true)
	new=$(tr '{' '\n' <"$dir/census.json" | grep -E '"class":"(flagship|mid)"' | grep -c '2\.0\.0' || true)
	if [ "$shown" -eq 0 ] && [ "$new" -ge 2 ]; then settled=true; break; fi
	sleep 1
done
ctl fleet census
$settled || fail "the census does not show budget on 1.0.0 and the others on 2.0.0"

returned=$(figure "$dir/fleet.json" returned budget)
chunks=$(figure "$dir/fleet.json" returned_chunks budget)
bytes=$(figure "$dir/fleet.json" bytes)
kill "$fleet"; wait "$fleet" || true
fleet=
[ "${returned:-0}" -gt 0 ] || fail "no budget device went back"
[ "${chunks:-1}" -eq 0 ] || fail "going back downloaded $chunks chunks"
say "$returned budget devices went back to 1.0.0 and downloaded nothing for it"

seconds=$(($(date +%s) - began))
if $once; then
	daemon_pid=$daemon
	stop "$daemon_pid"
	daemon=
	printf '{"story":"ok","lanes":{"flagship":"complete","mid":"complete","budget":"rolled_back"},"bytes":{"release":%s,"devices":%s},"returned":%s,"seconds":%s}\n' \
		"$(cat "$models"/assistant-2.0.0-*.gguf | wc -c)" "$bytes" "$returned" "$seconds"
else
	cat <<EOF

The daemon goes on:
  devices  $device
  admin    $admin        token in $dir/data/admin.token
  try      $bin/flotilla --server $admin --token-file $dir/data/admin.token rollout list
  end it   kill $daemon
EOF
	trap - EXIT
fi
