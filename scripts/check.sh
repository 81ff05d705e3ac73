#!/bin/sh
# check.sh [--long] -- everything that must be green: both compilers without a warning, unit, fault
# and corpus tests, the same with ASan and UBSan, the threaded parts with TSan, the checks by
# machine, and system tests against the real programs.  Installs what is missing.
# --long adds the loops that take hours and writes build/check/report.md.
set -u
cd "$(dirname "$0")/.." || exit 2
long=false
case ${1:-} in
--long) long=true ;;
'') ;;
*) sed -n '2,5s/^# //p' "$0" >&2; exit 2 ;;
esac
sh scripts/setup.sh check || exit 1
sh scripts/setup_node.sh || echo "going on without tuf-js: its tests are skipped"

logs=build/check
mkdir -p "$logs"
jobs=$(nproc)
passed=0 failed=0 skipped=0

# step NAME command ...: its output goes to a log; totals "label: N passed, N failed, N skipped" in
# it are added up, and a step without any counts as one.
step() {
	name=$1
	shift
	printf '%s ... ' "$name"
	began=$(date +%s)
	if "$@" >"$logs/$name.log" 2>&1; then code=0; else code=$?; fi
	totals=$(sed -n 's/^[a-z]*: \([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$logs/$name.log")
	if [ -n "$totals" ]; then
		p=$(echo "$totals" | awk '{ n += $1 } END { print n }')
		f=$(echo "$totals" | awk '{ n += $2 } END { print n }')
		s=$(echo "$totals" | awk '{ n += $3 } END { print n }')
	else
		p=0 f=0 s=0
		[ $code -eq 0 ] && p=1
	fi
	# Totals without a failure do not hide that the step ended badly.
	[ $code -ne 0 ] && [ "$f" -eq 0 ] && f=1
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	printf '%s passed, %s failed, %s skipped (%s s)\n' "$p" "$f" "$s" $(($(date +%s) - began))
	[ "$f" -eq 0 ] || tail -n 40 "$logs/$name.log"
}

compile() { # variant, compiler: no warning
	make -j"$jobs" VARIANT="$1" CC="$2" WERROR=1 all tests
}
unit() { make -j"$jobs" VARIANT="$1" WERROR=1 all unit; }

# What runs on several threads: base's log, the ledger, intake, publishing, the engine, the server.
threaded() {
	tests=$(grep -lE 'pthread|crew_run|family_update|ledger_new|engine_new|intake_new|workers_new|publisher_new|house_open' tests/unit/test_*.c |
		sed 's|tests/unit/\(.*\)\.c|build/tsan/tests/\1|')
	# shellcheck disable=SC2086
	make -j"$jobs" VARIANT=tsan WERROR=1 $tests build/tsan/flotillad build/tsan/flotilla \
		build/tsan/flotilla-synth build/tsan/flotilla-example build/tsan/tests/kill_loop &&
		sh scripts/run_unit.sh $tests &&
		KILLS=5 sh scripts/run_system.sh build/tsan start_stop push kill
}

step gcc compile release gcc
step clang compile clang clang
step unit unit release
step unit-asan unit asan
step threads-tsan threaded
step lint make -s lint
step system sh scripts/run_system.sh build/release
step system-asan env KILLS=10 sh scripts/run_system.sh build/asan

if $long; then
	seed=$(date +%s)
	step demo sh scripts/demo.sh --once
	step kills env KILLS=5000 SEED="$seed" sh scripts/run_system.sh build/release kill
	step kills-asan env KILLS=500 SEED="$seed" sh scripts/run_system.sh build/asan kill
	step fuzz make -s fuzz TARGET=all SECONDS=600
	{
		echo "# Long check"
		echo
		echo "- commit $(git rev-parse HEAD 2>/dev/null || echo unknown), seed $seed, $(date -u +%Y-%m-%d)"
		echo "- $passed passed, $failed failed, $skipped skipped"
		sed -n 's/^\([0-9]* kills: .*\)/- \1/p' build/release/system/kill.log build/asan/system/kill.log
		sed -n 's/^\(.* executions in .*\)/- fuzz \1/p' "$logs/fuzz.log"
		sed -n 's/^\({"story".*\)/- demo \1/p' "$logs/demo.log"
	} >"$logs/report.md"
	echo "report: $logs/report.md"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
