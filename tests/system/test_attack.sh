#!/bin/sh
# The attack suite: our TUF client and the SDK against every scene of tests/attack/scenes.c, each state
# of a server in turn.  CLIENT chooses another client (test_attack_tufjs.sh).  Prints a table.
. tests/system/lib.sh
client=${CLIENT:-$BIN/tests/attack_tuf_client}
ours=${OURS:-true} # whether that is our client, and the SDK is to be asked, too
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
		--target-base-url "$url/targets" \
		--target-dir "$WORK/got/$scene" "$@" 2>"$WORK/why" || {
		ended=$?
		# Our client ends by itself; one that waits for as long as the server likes is cut off.
		[ $ended -ne 124 ] || ! $ours || fail "$scene: the client does not end"
		[ $ended -ne 124 ] || echo "still waiting after 20 s, cut off" >"$WORK/why"
		return 1
	}
}

says() { grep -qF -- "$1" "$WORK/why" || fail "$scene, state $state: not '$1': $(cat "$WORK/why")"; }
# The SDK gives its code, and goes on with what it has.
ask_sdk() { # scene state code
	mkdir -p "$WORK/device"
	answer=$("$BIN/tests/attack_poll" "${url%/v1/*}" "$WORK/scenes/$1/index.json" "$WORK/device/$1" 2>"$WORK/sdk")
	[ "$answer" = "$3 runs" ] || fail "$1, state $2: the SDK: '$answer', not '$3 runs': $(cat "$WORK/sdk")"
}

printf '%-32s %-6s %s\n' scene state answer
for scene in $(ls "$WORK/scenes"); do
	run "$scene" init "$WORK/scenes/$scene/root.json" || fail "$scene: init: $(cat "$WORK/why")"
	state=0
	while read -r want target why code words; do
		state=$((state + 1))
		offer "$scene" $state
		case $scene in
		endless-data | slow-retrieval) [ "$want" = ok ] || echo "${scene%%-*}" >"$WORK/scenes/$scene/hostile" ;;
		esac
		rm -f "$WORK/got/$scene"/*
		began=$(date +%s)
		if run "$scene" --target-name "$target" download; then got=ok; else got=refused; fi
		took=$(($(date +%s) - began))
		if $ours; then ask_sdk "$scene" $state "${code:-OK}"; fi
		rm -f "$WORK/scenes/$scene/hostile"
		printf '%-32s %-6s %s\n' "$scene" $state "$got $(head -n 1 "$WORK/why" | cut -c 1-100)"
		[ $got = "$want" ] || fail "$scene, state $state: $got, not $want: $(cat "$WORK/why")"
		[ $took -lt 30 ] || fail "$scene, state $state: $took s"
		files=$(find "$WORK/got/$scene" -type f -name '*model.gguf' | wc -l)
		[ $got = refused ] || [ "$files" -eq 1 ] || fail "$scene: no file"
		[ $got = ok ] || [ "$files" -eq 0 ] || fail "$scene: a file was kept"
		[ $got = ok ] || if $ours; then says "$why"; else says "$words"; fi
	done <"$WORK/scenes/$scene/plan"
done
exec 9>&-
