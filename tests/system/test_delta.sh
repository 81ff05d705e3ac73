#!/bin/sh
# Deltas of plain files: made, applied, told about; refused where they do not belong, and nothing is left of
# what failed.
. tests/system/lib.sh
flotilla() { "$BIN/flotilla" "$@"; }
synth "$WORK" old
synth --step 0.01 "$WORK" new
for tier in f16 q8_0 q4_0; do
	flotilla -o json delta make "$WORK/old-$tier.gguf" "$WORK/new-$tier.gguf" -o "$WORK/delta" |
		tr -d ' \n' >"$WORK/told"
	flotilla -q delta apply "$WORK/old-$tier.gguf" "$WORK/delta" -o "$WORK/made"
	cmp "$WORK/made" "$WORK/new-$tier.gguf" || fail "$tier: another file was made"
	flotilla -o json delta stat "$WORK/old-$tier.gguf" "$WORK/new-$tier.gguf" | tr -d ' \n' >"$WORK/stat"
	grep -q "\"delta\":$(stat -c %s "$WORK/delta")," "$WORK/stat" ||
		fail "stat tells another size than $(stat -c %s "$WORK/delta"): $(cat "$WORK/stat")"
	cmp "$WORK/told" "$WORK/stat" || fail "make tells $(cat "$WORK/told"), stat $(cat "$WORK/stat")"
	[ $(($(stat -c %s "$WORK/delta") * 2)) -lt "$(stat -c %s "$WORK/made")" ] ||
		fail "$tier: the delta has $(stat -c %s "$WORK/delta") bytes"
done
rm "$WORK/made"

# From q4_0; another old file, a damaged delta, none at all.
fails 1 "made from a file of" flotilla delta apply "$WORK/old-f16.gguf" "$WORK/delta" -o "$WORK/made"
cp "$WORK/old-q4_0.gguf" "$WORK/damaged"
printf 'x' | dd of="$WORK/damaged" bs=1 seek=100000 conv=notrunc 2>/dev/null
fails 1 "not the one that the delta was made from" flotilla delta apply "$WORK/damaged" "$WORK/delta" -o "$WORK/made"
head -c 5000 "$WORK/delta" >"$WORK/short"
fails 1 "ends early" flotilla delta apply "$WORK/old-q4_0.gguf" "$WORK/short" -o "$WORK/made"
fails 1 "delta: not one" flotilla delta apply "$WORK/old-q4_0.gguf" "$WORK/old-q4_0.gguf" -o "$WORK/made"
fails 5 "$WORK/none" flotilla delta make "$WORK/none" "$WORK/new-q4_0.gguf" -o "$WORK/made"
fails 1 "$WORK is a directory; name a regular file" flotilla delta stat "$WORK" "$WORK/new-q4_0.gguf"
fails 2 "neither table nor json" flotilla delta stat "$WORK/old-q4_0.gguf" "$WORK/new-q4_0.gguf" -o yaml
fails 2 "-o FILE" flotilla delta make "$WORK/old-q4_0.gguf" "$WORK/new-q4_0.gguf"

# A pipe that nobody writes to is not waited for, and nothing is written over what is read: by another name, a
# link, or the name of a file that is not whole yet.
mkfifo "$WORK/pipe"
for what in "inspect $WORK/pipe" "delta stat $WORK/old-q4_0.gguf $WORK/pipe" \
	"delta apply $WORK/pipe $WORK/delta -o $WORK/made"; do
	fails 1 "$WORK/pipe is a pipe; name a regular file" timeout 10 "$BIN/flotilla" $what
done
fails 1 "$WORK is a directory; name a regular file" flotilla inspect "$WORK"
ln "$WORK/old-q4_0.gguf" "$WORK/hard"
ln -s old-q4_0.gguf "$WORK/soft"
ln "$WORK/old-q4_0.gguf" "$WORK/other.part"
for out in old-q4_0.gguf hard soft other; do
	[ "$out" = other ] && said="-o $WORK/other.part" || said="-o $WORK/$out"
	fails 1 "$said: it is one of the files that are read; name another" \
		flotilla delta make "$WORK/old-q4_0.gguf" "$WORK/new-q4_0.gguf" -o "$WORK/$out"
	fails 1 "$said: it is one of the files that are read; name another" \
		flotilla delta apply "$WORK/old-q4_0.gguf" "$WORK/delta" -o "$WORK/$out"
done
fails 1 "one of the files that are read" \
	flotilla delta apply "$WORK/old-q4_0.gguf" "$WORK/delta" -o "$WORK/delta"
fails 1 "-o $WORK/pipe: it is a pipe; name a regular file, or one that is not there" \
	flotilla delta make "$WORK/old-q4_0.gguf" "$WORK/new-q4_0.gguf" -o "$WORK/pipe"
fails 1 "-o $WORK: it is a directory" \
	flotilla delta make "$WORK/old-q4_0.gguf" "$WORK/new-q4_0.gguf" -o "$WORK"
[ -p "$WORK/pipe" ] || fail "the pipe is gone"
cmp "$WORK/old-q4_0.gguf" "$WORK/hard" && [ "$(stat -c %h "$WORK/old-q4_0.gguf")" -eq 3 ] ||
	fail "an input was replaced"
rm "$WORK/hard" "$WORK/soft" "$WORK/other.part"

# A delta says itself what it makes: longer than the old file allows, longer than told, another than told.
truncate -s 1100M "$WORK/zeros"
flotilla -q delta make "$0" "$WORK/zeros" -o "$WORK/bomb"
[ "$(stat -c %s "$WORK/bomb")" -lt 1000000 ] || fail "the bomb has $(stat -c %s "$WORK/bomb") bytes"
fails 1 "delta: makes a file of 1153433600 bytes, more than" flotilla delta apply "$0" "$WORK/bomb" -o "$WORK/made"
rm "$WORK/zeros"
size=$(stat -c %s "$WORK/new-q4_0.gguf")
sum=$(sha256sum <"$WORK/new-q4_0.gguf" | cut -d' ' -f1)
apply() { flotilla -q delta apply "$WORK/old-q4_0.gguf" "$WORK/delta" -o "$WORK/made" "$@"; }
fails 1 "more than the $((size - 1)) that --max-bytes allows" apply --max-bytes $((size - 1))
fails 1 "another SHA-256" apply --sha256 "$(sha256sum <"$WORK/old-q4_0.gguf" | cut -d' ' -f1)"
fails 2 "64 lower-case hex digits" apply --sha256 12
fails 2 "max-bytes" apply --max-bytes -1
ls "$WORK"/made* >/dev/null 2>&1 && fail "something is left: $(ls "$WORK"/made*)"
apply --max-bytes "$size" --sha256 "$sum"
cmp "$WORK/made" "$WORK/new-q4_0.gguf" || fail "another file was made"
rm "$WORK/made"
ls "$WORK"/made* >/dev/null 2>&1 && fail "something is left: $(ls "$WORK"/made*)"
exit 0
