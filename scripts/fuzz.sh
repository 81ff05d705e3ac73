#!/bin/sh
# fuzz.sh TARGET|all SECONDS -- libFuzzer with ASan and UBSan, each target for SECONDS.
# New inputs are kept in build/fuzz/corpus; crashes in build/fuzz/.
set -eu
target=$1 seconds=$2
make -s -j"$(nproc)" CC=clang VARIANT=fuzz CFLAGS='-fsanitize=address,undefined,fuzzer-no-link -O1 -U_FORTIFY_SOURCE' \
	build/fuzz/libflotilla-all.a
for source in tests/fuzz/fuzz_*.c; do
	name=$(basename "$source" .c); name=${name#fuzz_}
	[ "$target" = all ] || [ "$target" = "$name" ] || continue
	mkdir -p "build/fuzz/corpus/$name"
	clang -std=gnu17 -D_GNU_SOURCE -g -O1 -I. -Ibuild/fuzz/gen -fsanitize=fuzzer,address,undefined \
		"$source" $(grep -L 'check.h' tests/support/*.c | grep -v fault) build/fuzz/libflotilla-all.a \
		$(pkg-config --cflags --libs libmicrohttpd sqlite3 jansson libsodium libzstd zlib libcrypto libcurl) \
		-lm -pthread -o "build/fuzz/fuzz_$name"
	"build/fuzz/fuzz_$name" -max_total_time="$seconds" -artifact_prefix="build/fuzz/$name-" \
		-print_final_stats=1 "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" 2>"build/fuzz/$name.log" || {
		echo "FAIL $name: see build/fuzz/$name.log"; exit 1; }
	printf '%s: %s executions in %s s\n' "$name" \
		"$(sed -n 's/stat::number_of_executed_units: *//p' "build/fuzz/$name.log")" "$seconds"
done
