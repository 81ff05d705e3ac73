#!/bin/sh
# run_system.sh BIN [name ...] -- run tests/system/test_*.sh (or those named) against the programs in
# BIN, two at a time; print what fails; end with one line of totals.
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
passed=0 failed=0
for name in $names; do
	if [ "$(cat "$logs/$name.code")" = 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAIL system test $name"
		cat "$logs/$name.log"
	fi
done
echo "system: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
