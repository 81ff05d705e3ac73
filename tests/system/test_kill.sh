#!/bin/sh
# kill -9 at any moment loses nothing that was acknowledged.  KILLS: how often (60).
set -eu
: "${BIN:=build/release}" "${KILLS:=60}" "${SEED:=$(date +%s)}"
echo "seed $SEED"
"$BIN/tests/kill_loop" "$BIN" "$KILLS" "$SEED"
