#!/bin/sh
# The sample configuration that ships is the one the daemon prints.
set -eu
: "${BIN:=build/release}"
"$BIN/flotillad" --print-config | diff deploy/flotillad.conf - || {
	echo "FAIL: make it anew: build/release/flotillad --print-config >deploy/flotillad.conf" >&2
	exit 1
}
