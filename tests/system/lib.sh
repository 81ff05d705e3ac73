# lib.sh -- what system tests share.  Sourced by each tests/system/test_*.sh, which runs from the
# root of the repository with BIN set to the directory of the programs under test.
set -eu
: "${BIN:=build/release}"
WORK=$(mktemp -d "${TMPDIR:-/tmp}/flotilla-system.XXXXXX")
DAEMON=

# A daemon that ends badly fails its test, whatever the test had found: a sanitizer tells so at the end.
finish() {
	code=$?
	trap - EXIT
	ended=0
	stop_daemon || ended=$?
	if [ $ended -ne 0 ]; then
		echo "FAIL: the daemon ended with $ended" >&2
		[ $code -ne 0 ] || code=1
	fi
	if [ $code -ne 0 ] && [ -e "$WORK/flotillad.log" ]; then
		echo "--- the daemon's last words" >&2
		grep -E -A 60 -m 1 'WARNING: .*Sanitizer|ERROR: .*Sanitizer|runtime error' "$WORK/flotillad.log" >&2 ||
			tail -n 5 "$WORK/flotillad.log" >&2
	fi
	rm -rf "$WORK"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

fail() { echo "FAIL: $*" >&2; exit 1; }

# init_data: a data directory with development keys in $WORK/data.
init_data() { "$BIN/flotillad" init --data-dir "$WORK/data" --dev >"$WORK/init.log"; }

# start_daemon [flags ...]: on free ports; sets DAEMON, DEVICE, ADMIN, TOKEN.
start_daemon() {
	: >"$WORK/started.log"
	"$BIN/flotillad" --data-dir "$WORK/data" --device-listen 127.0.0.1:0 \
		--admin-listen 127.0.0.1:0 "$@" >"$WORK/started.log" 2>&1 &
	DAEMON=$!
	i=0
	until grep -q '"event":"server.started"' "$WORK/started.log"; do
		kill -0 "$DAEMON" 2>/dev/null || { cat "$WORK/started.log" >&2; DAEMON=; return 1; }
		i=$((i + 1))
		[ $i -lt 300 ] || fail "the daemon does not start"
		sleep 0.1
	done
	line=$(grep '"event":"server.started"' "$WORK/started.log")
	DEVICE=http://127.0.0.1:$(echo "$line" | sed 's/.*"device_port":\([0-9]*\).*/\1/')
	ADMIN=http://127.0.0.1:$(echo "$line" | sed 's/.*"admin_port":\([0-9]*\).*/\1/')
	TOKEN=$(cat "$WORK/data/admin.token")
	ln -f "$WORK/started.log" "$WORK/flotillad.log"
}

# stop_daemon: asks it to end and waits; its exit code.
stop_daemon() {
	[ -n "$DAEMON" ] || return 0
	kill "$DAEMON" 2>/dev/null || true
	kill -CONT "$DAEMON" 2>/dev/null || true # one that a test stopped
	code_of=0
	wait "$DAEMON" || code_of=$?
	DAEMON=
	return $code_of
}

ctl() { "$BIN/flotilla" --server "$ADMIN" --token-file "$WORK/data/admin.token" "$@"; }
# http METHOD PATH [curl options ...]: the admin API; the body on stdout, the status in $WORK/status.
http() {
	method=$1 path=$2
	shift 2
	curl -sS -X "$method" -H "Authorization: Bearer $TOKEN" -o "$WORK/body" \
		-w '%{http_code}' "$@" "$ADMIN$path" >"$WORK/status"
	cat "$WORK/body"
}
status() { cat "$WORK/status"; }
# refused CODE TEXT METHOD PATH [curl options ...]: the answer is a problem with this status that
# says TEXT.
refused() {
	want=$1 text=$2
	shift 2
	body=$(http "$@")
	[ "$(status)" = "$want" ] || fail "$* answered $(status), not $want: $body"
	echo "$body" | grep -qF -- "$text" || fail "$* does not say '$text': $body"
	echo "$body" | grep -qF '"request_id"' || fail "$* has no request_id: $body"
}
# fails CODE TEXT command ...: it exits with CODE and says TEXT on stderr.
fails() {
	want=$1 text=$2
	shift 2
	code_of=0
	"$@" >"$WORK/out" 2>"$WORK/err" || code_of=$?
	[ $code_of -eq "$want" ] || fail "'$*' exited with $code_of, not $want: $(cat "$WORK/err")"
	grep -qF -- "$text" "$WORK/err" || fail "'$*' does not say '$text': $(cat "$WORK/err")"
}
synth() { "$BIN/flotilla-synth" --size tiny "$@" >/dev/null; }
# releases COUNT: assistant@1.0.0, @2.0.0 ..., published, of one tier each.
releases() {
	ctl -q model create assistant
	for n in $(seq "$1"); do
		synth --tier q8_0 --seed "$n" "$WORK" "v$n"
		ctl -q push "$WORK/v$n-q8_0.gguf" --release "assistant@$n.0.0" --tier q8_0 --publish >/dev/null
	done
}
