#!/bin/sh
# Run each unit test program named, as many at a time as there are processors; print what fails; end with
# one line of totals.
set -u
# A limit for what hangs, not a measure: Check's own 4 seconds are too few on a busy machine.
export CK_DEFAULT_TIMEOUT=60 CK_TIMEOUT_MULTIPLIER=4
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} sh -c '{} >{}.log 2>&1; echo $? >{}.code'
passed=0 failed=0
for program in "$@"; do
	log=$program.log
	code=$(cat "$program.code")
	# Check prints "NN%: Checks: N, Failures: F, Errors: E".
	n=$(sed -n 's/.*Checks: \([0-9]*\), Failures.*/\1/p' "$log" | tail -n 1)
	f=$(sed -n 's/.*Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2/p' "$log" | tail -n 1)
	bad=0
	for x in $f; do bad=$((bad + x)); done
	if [ -z "$n" ] || [ "$n" -eq 0 ]; then
		echo "FAIL $program: ran no test (exit $code)"; cat "$log"
		failed=$((failed + 1)); continue
	fi
	if [ "$code" -ne 0 ]; then
		[ "$bad" -eq 0 ] && bad=1 && n=$((n + 1))
		echo "FAIL $program (exit $code)"; cat "$log"
	fi
	passed=$((passed + n - bad)) failed=$((failed + bad))
done
echo "unit: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
