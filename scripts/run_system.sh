#!/bin/sh
# run_system.sh BIN [name ...] -- run tests/system/test_*.sh (or those named) against the programs in
# BIN, two at a time; print what fails; end with one line of totals.  A test that exits with 77 is
# skipped: something it needs is not installed.
set -u
BIN=$1
export BIN
shift
logs=$BIN/system
mkdir -p "$logs"
rm -f "$logs"/*.log "$logs"/*.code
names=$*
[ -n "$names" ] || names=$(ls tests/system/test_*.sh | sed 's|.*/test_||; s|\.sh$||')
printf '%s\n' $names | xargs -P 2 -I{} sh -c \
	'sh tests/system/test_{}.sh >"'"$logs"'/{}.log" 2>&1; echo $? >"'"$logs"'/{}.code"'
passed=0 failed=0 skipped=0
for name in $names; do
	case $(cat "$logs/$name.code") in
	0) passed=$((passed + 1)) ;;
	77)
		skipped=$((skipped + 1))
		echo "skipped: $name: $(cat "$logs/$name.log")"
		;;
	*)
		failed=$((failed + 1))
		echo "FAIL system test $name"
		cat "$logs/$name.log"
		;;
	esac
done
echo "system: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
