#!/bin/sh
# The checks by machine: who includes whom, clang-tidy, cppcheck.  Fails on any finding.
set -eu
sh scripts/check_includes.sh
test "$(wc -l <sdk/example.c)" -lt 100 || { echo "sdk/example.c: 100 lines or more" >&2; exit 1; }
flags="-std=gnu17 -D_GNU_SOURCE -I. -DFLOTILLA_VERSION=\"x\" $(pkg-config --cflags libmicrohttpd sqlite3 jansson libsodium libzstd zlib libcrypto libcurl)"
sources=$(ls base/*.c store/*.c manifest/*.c telemetry/*.c rollout/*.c server/*.c sdk/*.c cli/*.c 2>/dev/null)
printf '%s\n' $sources | xargs -P "$(nproc)" -n 4 sh -c '
	flags=$1; shift
	clang-tidy --quiet --warnings-as-errors="*" "$@" -- $flags 2>/dev/null || exit 255' tidy "$flags"
# Two jobs at least: a single one looks across files too, and takes sizeof of a field for a use of it.
# memleak: it does not know __attribute__((cleanup)); LeakSanitizer does.
cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr \
	--suppress=missingIncludeSystem --suppress=memleak --library=scripts/cppcheck.cfg \
	--error-exitcode=1 -I. -j "$(($(nproc) + 1))" \
	base store manifest telemetry rollout server sdk cli
echo "lint: clean"
