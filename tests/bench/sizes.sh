#!/bin/sh
# sizes.sh -- what devices download, as percent of the raw file: a first install, and updates of the kinds
# that trainers make, beside zstd, zstd --patch-from, xdelta3 and, for files below 20 MB, bsdiff.
# Synthetic models, the same each time; SIZE=demo (28 M parameters) or large (186 M).
# Writes build/bench/sizes.md.
set -eu
cd "$(dirname "$0")/../.."
: "${SIZE:=demo}" "${TIERS:=bf16 f16 q8_0 q4_0}"
sh scripts/setup.sh bench
bin=build/release
make -s -j"$(nproc)" all $bin/tests/bench_codec
dir=$PWD/build/bench/sizes
rm -rf "$dir"
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
bytes() { stat -c %s "$1"; }
share() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", 100 * a / b }'; }
ours() { "$bin/flotilla" -o json delta stat "$1" "$2" | sed -n 's/.*"delta": *\([0-9]*\),*$/\1/p' | head -n 1; }

report=$PWD/build/bench/sizes.md
{
	echo "# What is downloaded"
	echo
	echo "$(date -u +%Y-%m-%d), models of size $SIZE, percent of the raw file."
	echo
	echo "First install:"
	echo
	echo "| tier | ours | zstd -3 | zstd -19 | encoding, SHA-256 = 1 | decoding | zstd -3 |"
	echo "|---|---|---|---|---|---|---|"
} >"$report"
for tier in $TIERS; do
	"$bin/flotilla-synth" --size "$SIZE" --tier "$tier" "$dir" old >/dev/null
	"$bin/tests/bench_codec" "$dir/old-$tier.gguf" | sed 's/|/ /g' |
		awk -v t="$tier" '{ printf "| %s | **%s** | %s | %s | %s | %s | %s |\n", t, $5, $7, $9, $11, $13, $15 }' >>"$report"
	echo "first install, $tier" >&2
done
{
	echo
	echo "Updates:"
	echo
	echo "| tier | change | ours | zstd -3 | patch-from -3 | xdelta3 | bsdiff |"
	echo "|---|---|---|---|---|---|---|"
} >>"$report"
update() { # tier name synth-options ...
	tier=$1 name=$2
	shift 2
	"$bin/flotilla-synth" --size "$SIZE" --tier "$tier" "$@" "$dir" new >/dev/null
	old=$dir/old-$tier.gguf new=$dir/new-$tier.gguf raw=$(bytes "$dir/new-$tier.gguf")
	zstd -q -3 -f "$new" -o "$dir/zstd"
	zstd -q -3 -f --long=27 --patch-from="$old" "$new" -o "$dir/patch"
	xdelta3 -q -f -3 -B 536870912 -e -s "$old" "$new" "$dir/xdelta" 2>/dev/null
	diff=-
	if [ "$raw" -lt 20000000 ]; then
		bsdiff "$old" "$new" "$dir/bsdiff"
		diff=$(share "$(bytes "$dir/bsdiff")" "$raw")
	fi
	printf '| %s | %s | **%s** | %s | %s | %s | %s |\n' "$tier" "$name" "$(share "$(ours "$old" "$new")" "$raw")" \
		"$(share "$(bytes "$dir/zstd")" "$raw")" "$(share "$(bytes "$dir/patch")" "$raw")" \
		"$(share "$(bytes "$dir/xdelta")" "$raw")" "$diff" >>"$report"
	echo "$tier, $name" >&2
}
for tier in $TIERS; do
	update "$tier" "all weights by 0.1 % of sigma" --step 0.001
	update "$tier" "all weights by 1 %" --step 0.01
	update "$tier" "all weights by 5 %" --step 0.05
	update "$tier" "attention by 1 %" --step 0.01 --part attention
	update "$tier" "last two blocks by 1 %" --step 0.01 --part last
	update "$tier" "norms and head by 1 %" --step 0.01 --part head
	update "$tier" "64 rows of vocabulary" --rows 64
done
cat "$report"
