#!/bin/sh
# run.sh -- flotillad against its peers in one run, alternating, so that a noisy machine is noisy for
# both.  Writes build/bench/report.md and report.json: medians of ROUNDS (7) of SECONDS_EACH (2) each.
# ROWS: which of them, all by default.
set -eu
cd "$(dirname "$0")/../.."
: "${ROUNDS:=7}" "${SECONDS_EACH:=2}" "${ROWS:=poll304 poll304_loaded poll200 poll200_large pack telemetry relay resign tick}"
wanted() { case " $ROWS " in *" $1 "*) true ;; *) false ;; esac }
sh scripts/setup.sh bench
bin=build/release
make -s -j"$(nproc)" all $bin/tests/bench_relay $bin/tests/bench_resign $bin/tests/bench_tick
dir=$PWD/build/bench
rm -rf "$dir"
mkdir -p "$dir/www"
daemon= nginx=
finish() {
	code=$?
	trap - EXIT
	for pid in $daemon $nginx; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
	rm -rf "$dir/data" "$dir/www" "$dir"/*.gguf "$dir/relay.token"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

# ---- the daemon, with something to serve ----

"$bin/flotillad" init --data-dir "$dir/data" --dev >/dev/null
"$bin/flotillad" --data-dir "$dir/data" --device-listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
	--relay-rate 10000000 --network-rate 1000000 --network-burst 100000000 >"$dir/flotillad.log" 2>&1 &
daemon=$!
until grep -q server.started "$dir/flotillad.log"; do sleep 0.1; done
port() { sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p" "$dir/flotillad.log" | head -n 1; }
device=http://127.0.0.1:$(port device_port)
ctl() { "$bin/flotilla" -q --server "http://127.0.0.1:$(port admin_port)" --token-file "$dir/data/admin.token" "$@"; }
ctl model create assistant
"$bin/flotilla-synth" --size demo --tier q8_0 "$dir" model >/dev/null
head -c 80000000 /dev/urandom >"$dir/noise.gguf"
ctl push "$dir/model-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 >/dev/null
ctl push "$dir/noise.gguf" --release assistant@1.0.0 --tier f16 --pack-mib 63 --publish >/dev/null
ctl release bootstrap assistant@1.0.0
ctl token create relay --role relay >"$dir/relay.token"
raw=$(sha256sum "$dir/model-q8_0.gguf" | cut -d' ' -f1)
# Manifests of devices that run several models.
head -c 100000 "$dir/noise.gguf" >"$dir/small.gguf"
several() { # channel, models
	ctl channel create "$1"
	for i in $(seq "$2"); do
		ctl release show "m$i@1.0.0" >/dev/null 2>&1 || {
			ctl model create "m$i"
			ctl push "$dir/small.gguf" --release "m$i@1.0.0" --tier q8_0 --publish >/dev/null
		}
		ctl release bootstrap "m$i@1.0.0" --channel "$1"
	done
}
! wanted poll200 || several few 6
! wanted poll200_large || several many 28

# ---- the peer serves the same bytes ----

manifest=/v1/c/stable/default/manifest.json
curl -fsS "$device$manifest" >"$dir/www/manifest.json"
for channel in few many; do
	curl -sS "$device/v1/c/$channel/default/manifest.json" >"$dir/www/$channel.json"
done
pack=$(find "$dir/data/packs" -type f -size +60M | head -n 1)
install -m 644 "$pack" "$dir/www/pack" # its worker is another user
peer_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
sed "s|@DIR@|$dir|g; s|@PORT@|$peer_port|g" tests/bench/nginx.conf >"$dir/nginx.conf"
nginx -c "$dir/nginx.conf" -p "$dir" 2>/dev/null &
nginx=$!
peer=http://127.0.0.1:$peer_port
until curl -fsS -o /dev/null "$peer/manifest.json" 2>/dev/null; do sleep 0.1; done
etag() { curl -fsSI "$1" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p'; }
our_etag=$(etag "$device$manifest") peer_etag=$(etag "$peer/manifest.json")

# ---- measuring ----

# rate NAME connections url [wrk options]: requests/s and bytes/s of one turn, as a line of NAME.
rate() {
	name=$1 connections=$2 url=$3
	shift 3
	wrk -t2 -c"$connections" -d"${SECONDS_EACH}s" --latency "$@" "$url" >"$dir/turn"
	grep -q 'Non-2xx' "$dir/turn" && [ "${allow_errors:-}" != "$name" ] &&
		{ echo "bench: $name was answered with errors:" >&2; cat "$dir/turn" >&2; exit 1; }
	awk '/Requests\/sec/ { r = $2 }
	     /99%/ { p = $2; u = p; sub(/[0-9.]*/, "", u); sub(/[a-z]*$/, "", p); p *= u == "us" ? .001 : u == "s" ? 1000 : 1 }
	     / requests in / { n = $1; s = $4; b = $5; sub(/s,/, "", s)
		u = b; sub(/[0-9.]*/, "", u); sub(/[A-Z]*$/, "", b)
		b *= u == "GB" ? 1073741824 : u == "MB" ? 1048576 : u == "KB" ? 1024 : 1 }
	     END { printf "%.1f %.0f %.3f\n", r, b / s, p }' "$dir/turn" >>"$dir/$name.figures"
}
# loaded NAME ...: as rate, while 16 clients have a raw file unpacked from packs that are not in memory.
# Both sides are measured beside that load, which is our daemon's.
loaded() {
	find "$dir/data/packs" -type f -exec dd of={} oflag=nocache conv=notrunc count=0 status=none \;
	wrk -t1 -c16 -d"$((SECONDS_EACH + 1))s" "$device/v1/blobs/sha256:$raw" >"$dir/load" &
	load=$!
	sleep 0.5
	rate "$@"
	wait $load
	grep -q 'Non-2xx' "$dir/load" && { cat "$dir/load" >&2; exit 1; }
	return 0
}
pair() { # one round of everything
	if wanted poll304; then
		rate poll304 64 "$device$manifest" -H "If-None-Match: $our_etag"
		rate poll304.peer 64 "$peer/manifest.json" -H "If-None-Match: $peer_etag"
	fi
	if wanted poll304_loaded; then
		loaded poll304_loaded 64 "$device$manifest" -H "If-None-Match: $our_etag"
		loaded poll304_loaded.peer 64 "$peer/manifest.json" -H "If-None-Match: $peer_etag"
	fi
	if wanted poll200; then
		rate poll200 64 "$device/v1/c/few/default/manifest.json"
		rate poll200.peer 64 "$peer/few.json"
	fi
	if wanted poll200_large; then
		rate poll200_large 64 "$device/v1/c/many/default/manifest.json"
		rate poll200_large.peer 64 "$peer/many.json"
	fi
	if wanted pack; then
		rate pack 8 "$device/v1/packs/$(basename "$pack")"
		rate pack.peer 8 "$peer/pack"
	fi
	if wanted telemetry; then
		rate telemetry 256 "$device" -s tests/bench/telemetry.lua
		rate telemetry.peer 64 "$peer/manifest.json" -H "If-None-Match: $peer_etag"
	fi
	if wanted relay; then
		$bin/tests/bench_relay daemon "$device" "$dir/relay.token" "$SECONDS_EACH" >>"$dir/relay.figures"
		$bin/tests/bench_relay sqlite "$dir" "$SECONDS_EACH" >>"$dir/relay.peer.figures"
	fi
}
i=0
while [ $i -lt "$ROUNDS" ]; do
	i=$((i + 1))
	printf 'round %s of %s\n' $i "$ROUNDS" >&2
	pair
done

if wanted resign; then
	echo "signing 10,000 manifests anew, $ROUNDS times" >&2
	$bin/tests/bench_resign "$dir/resign" "$ROUNDS" >"$dir/resign.both"
	cut -d' ' -f1 "$dir/resign.both" >"$dir/resign.figures"
	cut -d' ' -f2 "$dir/resign.both" >"$dir/resign.peer.figures"
	rm -rf "$dir/resign"
fi

if wanted tick; then
	echo "closing windows of 1,000 lanes" >&2
	sh tests/bench/tick.sh "$dir" >"$dir/tick.rounds"
	cat "$dir/tick.rounds" >&2
fi

median() { # file, column
	awk -v c="$2" '{ print $c }' "$dir/$1.figures" | sort -g |
		awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}
# row NAME work against column unit goal divisor
row() {
	wanted "$1" || return 0
	ours=$(median "$1" "$4") theirs=$(median "$1.peer" "$4")
	awk -v o="$ours" -v t="$theirs" -v d="$7" -v name="$1" -v work="$2" -v against="$3" \
		-v unit="$5" -v goal="$6" -v md="$dir/report.md" -v js="$dir/rows" 'BEGIN {
		r = o / t
		printf "| %s | %s | %.0f %s | %.0f %s | **%.2f** | %s | %s |\n", work, against, o / d, unit,
			t / d, unit, r, goal, (r >= goal ? "met" : "RED") >>md
		printf "%s{\"name\":\"%s\",\"ours\":%.1f,\"peer\":%.1f,\"ratio\":%.3f,\"goal\":%s}", sep, name, o,
			t, r, goal >>js
		printf "\n" >>js }'
}
{
	echo "# flotillad and its peers"
	echo
	echo "$(date -u +%Y-%m-%d), $(nproc) cores shared with the load, medians of $ROUNDS rounds of $SECONDS_EACH s;"
	echo "load average before: $(cut -d' ' -f1-3 /proc/loadavg). Only the ratios carry over to another day."
	echo
	echo "| work | against | flotillad | peer | ratio | goal | |"
	echo "|---|---|---|---|---|---|---|"
} >"$dir/report.md"
size() { wc -c <"$dir/www/$1.json"; }
row poll304 "poll, 304" "nginx, static file" 1 "req/s" 1.0 1
row poll304_loaded "poll, 304, while 16 raw files are unpacked" "nginx, static file, beside the same load" 1 "req/s" 1.0 1
row poll200 "poll, 200, $(size few) bytes" "nginx, static file" 1 "req/s" 1.05 1
row poll200_large "poll, 200, $(size many) bytes" "nginx, static file" 1 "req/s" 1.05 1
row pack "pack download" "nginx, sendfile" 2 "MB/s" 1.5 1000000
row telemetry "telemetry, one report a POST, durable before 202" "nginx, 304" 1 "req/s" 0.3 1
row relay "telemetry, relayed, 1,000 a batch, durable" "SQLite, the same reports raw, 1,000 a commit" 1 "reports/s" 0.5 1
row resign "10,000 manifests signed anew and published" "30,000 signatures and one commit" 1 "manifests/s" 0.67 1
wanted tick && awk -v md="$dir/report.md" -v js="$dir/rows" -v bad="${BAD:-25}" '$1 == "all" {
	printf "| a window closes over 1,000 lanes, %d of them go back: manifest served | 250 ms | p99 %d ms, p50 %d ms |" \
		" | **%.2f** | 1 | %s |\n", bad, $4, $3, 250 / $4, ($4 <= 250 ? "met" : "RED") >>md
	printf "{\"name\":\"tick\",\"ours\":%d,\"peer\":250,\"ratio\":%.3f,\"goal\":1}\n", $4, 250 / $4 >>js }' "$dir/tick.rounds"
{
	echo
	wanted poll304 && echo "p99 of a 304: $(median poll304 3) ms; nginx: $(median poll304.peer 3) ms."
	echo "Telemetry has 256 connections: its rate is that of group commits times the reports that wait for one."
} >>"$dir/report.md"
awk -v rounds="$ROUNDS" 'BEGIN { printf "{\"rounds\":%s,\"rows\":[", rounds } { printf "%s%s", (NR > 1 ? "," : ""), $0 } END { print "]}" }' \
	"$dir/rows" >"$dir/report.json"
rm -f "$dir/rows" "$dir/turn" "$dir/load"
cat "$dir/report.md"
