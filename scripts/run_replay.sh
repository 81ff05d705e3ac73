#!/bin/sh
# Run each replay program over its parser's corpus; end with one line of totals.
set -u
passed=0 failed=0
for program in "$@"; do
	name=$(basename "$program" | sed 's/^replay_//')
	corpus=tests/fuzz/corpus/$name
	if [ ! -d "$corpus" ] || [ -z "$(ls -A "$corpus")" ]; then
		echo "FAIL $name: no corpus in $corpus"; failed=$((failed + 1)); continue
	fi
	if find "$corpus" -type f -print0 | xargs -0 "$program" >"$program.log" 2>&1; then
		passed=$((passed + 1))
	else
		echo "FAIL $program"; cat "$program.log"; failed=$((failed + 1))
	fi
done
echo "corpora: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
