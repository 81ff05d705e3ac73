#!/bin/sh
# Deltas of plain files: made, applied, told about; refused where they do not belong, and nothing is left of
# what failed.
. tests/system/lib.sh
flotilla() { "$BIN/flotilla" "$@"; }
synth "$WORK" old
synth --step 0.01 "$WORK" new
for tier in f16 q8_0 q4_0; do
	flotilla -q delta make "$WORK/old-$tier.gguf" "$WORK/new-$tier.gguf" --out "$WORK/delta"
	flotilla -q delta apply "$WORK/old-$tier.gguf" "$WORK/delta" --out "$WORK/made"
	cmp "$WORK/made" "$WORK/new-$tier.gguf" || fail "$tier: another file was made"
	flotilla -o json delta stat "$WORK/old-$tier.gguf" "$WORK/new-$tier.gguf" | tr -d ' \n' >"$WORK/stat"
	grep -q "\"delta\":$(stat -c %s "$WORK/delta")," "$WORK/stat" ||
		fail "stat tells another size than $(stat -c %s "$WORK/delta"): $(cat "$WORK/stat")"
	[ $(($(stat -c %s "$WORK/delta") * 2)) -lt "$(stat -c %s "$WORK/made")" ] ||
		fail "$tier: the delta has $(stat -c %s "$WORK/delta") bytes"
done
rm "$WORK/made"

# From q4_0; another old file, a damaged delta, none at all.
fails 1 "made from a file of" flotilla delta apply "$WORK/old-f16.gguf" "$WORK/delta" --out "$WORK/made"
cp "$WORK/old-q4_0.gguf" "$WORK/damaged"
printf 'x' | dd of="$WORK/damaged" bs=1 seek=100000 conv=notrunc 2>/dev/null
fails 1 "not the one that the delta was made from" flotilla delta apply "$WORK/damaged" "$WORK/delta" --out "$WORK/made"
head -c 5000 "$WORK/delta" >"$WORK/short"
fails 1 "ends early" flotilla delta apply "$WORK/old-q4_0.gguf" "$WORK/short" --out "$WORK/made"
fails 1 "delta: not one" flotilla delta apply "$WORK/old-q4_0.gguf" "$WORK/old-q4_0.gguf" --out "$WORK/made"
fails 5 "$WORK/none" flotilla delta make "$WORK/none" "$WORK/new-q4_0.gguf" --out "$WORK/made"
fails 1 "not a file" flotilla delta stat "$WORK" "$WORK/new-q4_0.gguf"
fails 2 "--out FILE" flotilla delta make "$WORK/old-q4_0.gguf" "$WORK/new-q4_0.gguf"
ls "$WORK"/made* >/dev/null 2>&1 && fail "something is left: $(ls "$WORK"/made*)"
exit 0
