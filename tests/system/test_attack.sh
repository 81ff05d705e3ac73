#!/bin/sh
# The attack suite: our client against every scene of tests/attack/scenes.c, each state of a server in
# turn.  CLIENT chooses another client (test_attack_tufjs.sh).  Prints a table.
. tests/system/lib.sh
client=${CLIENT:-$BIN/tests/attack_tuf_client}
strict=${STRICT:-true} # whether the reason of a refusal is told in our words
SERVER=
cleanup() {
	code=$?
	trap - EXIT
	[ -z "$SERVER" ] || kill "$SERVER" 2>/dev/null || true
	rm -rf "$WORK"
	exit $code
}
trap cleanup EXIT

"$BIN/tests/attack_scenes" "$WORK/scenes"
mkfifo "$WORK/alive"
ln -s "$WORK/scenes" "$WORK/now"
"$BIN/tests/attack_serve" "$WORK/now" <"$WORK/alive" >"$WORK/port" &
SERVER=$!
exec 9>"$WORK/alive"
i=0
until [ -s "$WORK/port" ]; do
	i=$((i + 1))
	[ $i -lt 100 ] || fail "attack_serve does not start"
	sleep 0.1
done
url=http://127.0.0.1:$(cat "$WORK/port")/v1/c/stable/phone

offer() { # scene state: what the server has from now on
	rm -f "$WORK/now"
	ln -s "$WORK/scenes/$1/$2" "$WORK/now"
}
run() { # scene command [operand]
	mkdir -p "$WORK/got/$1"
	scene=$1
	shift
	# shellcheck disable=SC2086
	timeout 20 $client --metadata-dir "$WORK/client/$scene" --metadata-url "$url/tuf" --timeout-ms 4000 \
		--target-name assistant/1.0.0/q8_0/model.gguf --target-base-url "$url/targets" \
		--target-dir "$WORK/got/$scene" "$@" 2>"$WORK/why" || {
		code=$?
		# Our client ends by itself; one that waits for as long as the server likes is cut off.
		[ $code -ne 124 ] || ! $strict || fail "$scene: the client does not end"
		[ $code -ne 124 ] || echo "still waiting after 20 s, cut off" >"$WORK/why"
		return 1
	}
}

printf '%-32s %-6s %s\n' scene state answer
for scene in $(ls "$WORK/scenes"); do
	run "$scene" init "$WORK/scenes/$scene/root.json" || fail "$scene: init: $(cat "$WORK/why")"
	state=0
	while read -r want why; do
		state=$((state + 1))
		offer "$scene" $state
		case $scene in
		endless-data | slow-retrieval) [ "$want" = ok ] || echo "${scene%%-*}" >"$WORK/scenes/$scene/hostile" ;;
		esac
		rm -f "$WORK/got/$scene"/*
		began=$(date +%s)
		if run "$scene" download; then got=ok; else got=refused; fi
		took=$(($(date +%s) - began))
		rm -f "$WORK/scenes/$scene/hostile"
		printf '%-32s %-6s %s\n' "$scene" $state "$got $(head -n 1 "$WORK/why" | cut -c 1-100)"
		[ $got = "$want" ] || fail "$scene, state $state: $got, not $want: $(cat "$WORK/why")"
		[ $took -lt 30 ] || fail "$scene, state $state: $took s"
		files=$(find "$WORK/got/$scene" -type f -name '*model.gguf' | wc -l)
		[ $got = refused ] || [ "$files" -eq 1 ] || fail "$scene: no file"
		[ $got = ok ] || [ "$files" -eq 0 ] || fail "$scene: a file was kept"
		if [ $got = refused ] && $strict && [ "$why" != - ]; then
			grep -qF -- "$why" "$WORK/why" || fail "$scene, state $state: not '$why': $(cat "$WORK/why")"
		fi
	done <"$WORK/scenes/$scene/expect"
done
exec 9>&-
