#!/bin/sh
# sizes.sh -- what devices download and what it costs: a first install, and updates of the kinds that
# trainers make, beside zstd, zstd --patch-from, xdelta3, casync and bsdiff, all in one run, against the
# goals.  Writes build/bench/sizes.md and sizes.json.
# Synthetic models, the same each time (cli/synth.h).  Knobs:
#   SIZE=large     168 M parameters; demo (29 M) takes an eighth of the time
#   TIERS=...      of "bf16 f16 q8_0 q4_0 q4_K"
#   CHANGES=...    only these of those that changes_of() names
#   PEERS=...      of "zstd3 patch xdelta casync bsdiff"
#   SAMPLE=N       bytes that zstd -19 gets, 32 MiB
#   SLOW=...       changes for which xdelta3 is run, which takes a minute each: "lora meta", and of q4_0 also
#                  "all01 all1"; "all" for all
#   JOBS=2         tiers at a time
# CPU seconds are user and system of all threads of a program, memory is its peak.
set -eu
cd "$(dirname "$0")/../.."
: "${SIZE:=large}" "${TIERS:=bf16 q8_0 q4_0 f16 q4_K}" "${SLOW:=lora meta}" "${JOBS:=2}" "${CHANGES:=all}"
: "${PEERS:=zstd3 patch xdelta casync bsdiff}" "${SAMPLE:=33554432}"
sh scripts/setup.sh bench
bin=build/release
make -s -j"$(nproc)" all "$bin/tests/bench_codec" "$bin/tests/bench_ingest" "$bin/tests/bench_measure"
out=$PWD/build/bench dir=$PWD/build/bench/sizes
rm -rf "$dir"
mkdir -p "$dir"
jobs=
finish() {
	code=$?
	trap - EXIT
	for job in $jobs; do kill "$job" 2>/dev/null || true; done
	wait
	rm -rf "$dir"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

bytes() { stat -c %s "$1"; }
cost() { "$bin/tests/bench_measure" "$@" | cut -d' ' -f1,2; } # CPU seconds, KiB
# A tool may give up, which is a result too.
attempt() { cost "$@" || true; }
fact() { echo "$*" >>"$work/facts"; }
synth() { "$bin/flotilla-synth" --size "$SIZE" --tier "$tier" "$@" >/dev/null; }
listed() { case " $1 " in *" $2 "* | " all ") return 0 ;; esac; return 1; }
peer() { listed "$PEERS" "$1"; }

# ---- a first install ----

first() {
	old=$work/old-$tier.gguf raw=$(bytes "$work/old-$tier.gguf")
	sha=$("$bin/tests/bench_measure" --sha "$old")
	fact first "$tier" "$raw" "$sha"
	# shellcheck disable=SC2046 # five numbers
	set -- $("$bin/tests/bench_ingest" "$work/store" "$old")
	rm -rf "$work/store"
	fact size "$tier" ours $(($2 + $3 + $4)) "$raw"
	fact index "$tier" $(($3 + $4)) "$5"
	fact cost "$tier" ingest "$1" 0
	fact cost "$tier" zstd $(cost zstd -q -3 -T2 -f "$old" -o "$work/zstd")
	fact size "$tier" zstd3 "$(bytes "$work/zstd")" "$raw"
	head -c "$SAMPLE" "$old" >"$work/sample"
	zstd -q -19 -f "$work/sample" -o "$work/zstd"
	fact size "$tier" zstd19 "$(bytes "$work/zstd")" "$(bytes "$work/sample")"
	fact codec "$tier" $(QUICK=1 "$bin/tests/bench_codec" "$old" | sed 's/.*encode \([0-9.]*\) *decode \([0-9.]*\).*/\1 \2/')
	! peer casync || casync make --store="$work/casync" "$work/old.caibx" "$old" >/dev/null
}

# ---- an update, by each tool ----

ours() { # tier, change: from $old to $new
	made=$(cost sh -c "'$bin/flotilla' -q -o json delta make '$old' '$new' --out '$work/delta' >'$work/stat'")
	applied=$(cost "$bin/flotilla" -q delta apply "$old" "$work/delta" --out "$work/made")
	cmp "$work/made" "$new"
	fact tool "$1" "$2" ours "$(bytes "$work/delta")" $made $applied
	copied=$(tr -d ' \n' <"$work/stat" | sed 's/.*"chunks_are":"copied",[^}]*"raw":\([0-9]*\).*/\1/')
	fact update "$1" "$2" "$(bytes "$new")" "$("$bin/tests/bench_measure" --sha "$new")" "$copied"
	rm -f "$work/made"
}
full() {
	zstd -q -3 -f "$new" -o "$work/zstd"
	fact tool "$1" "$2" zstd3 "$(bytes "$work/zstd")" - - - -
}
patch_from() {
	made=$(cost zstd -q -3 -f --long=31 --patch-from="$old" "$new" -o "$work/patch")
	applied=$(cost zstd -q -d -f --long=31 --patch-from="$old" "$work/patch" -o "$work/made")
	fact tool "$1" "$2" patch "$(bytes "$work/patch")" $made $applied
	rm -f "$work/made"
}
xdelta() {
	made=$(cost xdelta3 -q -f -3 -B 536870912 -e -s "$old" "$new" "$work/xdelta")
	applied=$(cost xdelta3 -q -f -B 536870912 -d -s "$old" "$work/xdelta" "$work/made")
	fact tool "$1" "$2" xdelta "$(bytes "$work/xdelta")" $made $applied
	rm -f "$work/made"
}
# New chunks, and the index.
casync_() {
	touch "$work/before"
	made=$(cost casync make --store="$work/casync" "$work/new.caibx" "$new")
	chunks=$(find "$work/casync" -type f -newer "$work/before" -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }')
	applied="- -"
	if [ "$2" = all1 ]; then
		applied=$(attempt casync extract --store="$work/casync" --seed="$old" "$work/new.caibx" "$work/made")
		cmp -s "$work/made" "$new" || applied="- -"
	fi
	fact tool "$1" "$2" casync $((chunks + $(bytes "$work/new.caibx"))) $made $applied
	find "$work/casync" -type f -newer "$work/before" -delete
	rm -rf "$work/made"
}
bsdiff_() {
	made=$(cost bsdiff "$old" "$new" "$work/bsdiff")
	applied=$(cost bspatch "$old" "$work/made" "$work/bsdiff")
	fact tool "$1" "$2" bsdiff "$(bytes "$work/bsdiff")" $made $applied
	rm -f "$work/made"
}

NOTE=$(awk 'BEGIN { for (i = 0; i < 300; i++) printf "sentence %d. ", i }')
# What makes $new of $old.
change() {
	case $1 in
	all01) synth --step 0.001 "$work" new ;;
	all1) synth --step 0.01 "$work" new ;;
	all5) synth --step 0.05 "$work" new ;;
	lora | last | head) synth --step 0.01 --part "$1" "$work" new ;;
	meta) synth --note "$NOTE" "$work" new ;;
	vocab) synth --rows 64 "$work" new ;;
	moved) synth --renamed --sorted "$work" new ;;
	renamed) synth --step 0.01 --renamed "$work" new ;;
	sorted) synth --step 0.01 --sorted "$work" new ;;
	both) synth --step 0.01 --renamed --sorted "$work" new ;;
	esac
}
changes_of() {
	case $1 in
	q4_0) echo all01 all1 all5 lora last head meta vocab moved renamed sorted both ;;
	bf16 | q8_0) echo all01 all1 all5 lora last head meta vocab moved both ;;
	*) echo all01 all1 all5 lora ;;
	esac
}
update() { # change
	change "$1"
	new=$work/new-$tier.gguf
	ours "$tier" "$1"
	! peer zstd3 || full "$tier" "$1"
	! peer patch || patch_from "$tier" "$1"
	slow=$SLOW
	[ "$tier" != q4_0 ] || slow="$SLOW all01 all1"
	if peer xdelta && listed "$slow" "$1"; then xdelta "$tier" "$1"; fi
	! peer casync || casync_ "$tier" "$1"
	echo "$tier, $1" >&2
}

# bsdiff wants the memory of 17 files and the time of thousands of hashes: small ones only.
small() {
	peer bsdiff || return 0
	work=$dir/small SIZE=demo tier=q4_0
	mkdir "$work"
	synth "$work" old
	old=$work/old-$tier.gguf new=$work/new-$tier.gguf
	for change in all01 all1 lora; do
		change $change
		ours small $change
		bsdiff_ small $change
		echo "small $tier, $change" >&2
	done
}

# The same numbers in a larger tier.
upgrade() { # from, to
	work=$dir/$2 old=$dir/$1/old-$1.gguf new=$dir/$2/old-$2.gguf
	if [ -e "$old" ] && [ -e "$new" ]; then
		ours "$2" "from-$1"
		! peer patch || patch_from "$2" "from-$1"
		echo "$1 to $2" >&2
	fi
}

run_tiers() {
	for tier in "$@"; do
		work=$dir/$tier
		mkdir "$work"
		synth "$work" old
		first
		for change in $(changes_of "$tier"); do ! listed "$CHANGES" "$change" || update "$change"; done
		rm -rf "$work/casync" "$work"/new-* "$work"/delta "$work"/patch "$work"/xdelta "$work"/zstd "$work"/sample
	done
}

began=$(date +%s)
# Dealt out like cards; those with the most bytes come first.
job=0
while [ $job -lt "$JOBS" ]; do
	mine=$(echo "$TIERS" | tr ' ' '\n' | awk -v n="$JOBS" -v i=$job 'NF && at++ % n == i')
	# shellcheck disable=SC2086 # words
	(run_tiers $mine; [ $((job + 1)) -lt "$JOBS" ] || small) & jobs="$jobs $!"
	job=$((job + 1))
done
for job in $jobs; do wait "$job"; done
jobs=
upgrade q4_0 q8_0
upgrade q8_0 bf16
work=$dir
fact base $(cost "$bin/flotilla" --version)
fact run "$SIZE" "$(date -u +%Y-%m-%d)" "$(nproc)" "$JOBS" $(($(date +%s) - began)) \
	"$(grep -qw sha_ni /proc/cpuinfo && echo yes || echo no)" "$(cut -d' ' -f1 /proc/loadavg)"
cat "$dir/facts" "$dir"/*/facts >"$out/sizes.facts"
awk -v md="$out/sizes.md" -v json="$out/sizes.json" -f tests/bench/sizes.awk "$out/sizes.facts"
cat "$out/sizes.md"
