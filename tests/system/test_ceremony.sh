#!/bin/sh
# Roots that are signed offline: by one holder, by two of three; rotation of the online seed while a
# device sleeps; a lost online seed; classes that wait for a root; and what an owner of the server
# would try.
. tests/system/lib.sh
"$BIN/flotillad" init --data-dir "$WORK/data" >"$WORK/init.log"
grep -q "none yet" "$WORK/init.log" || fail "init: $(cat "$WORK/init.log")"
start_daemon
echo "correct horse battery" >"$WORK/pass"
echo "another passphrase" >"$WORK/wrong"
vault() { ctl -q keys init "$WORK/$1" --name "$1" --passphrase-file "$WORK/pass"; }
derive() { ctl -q keys derive "$2" --root "$WORK/$1" --passphrase-file "$WORK/pass"; }
sign() { # holder file [options]
	holder=$1 file=$2
	shift 2
	ctl --yes keys sign-root "$file" --root "$WORK/$holder" --passphrase-file "$WORK/pass" "$@"
}
state() { ctl keys list | awk -v repo="$1" '$1 == repo { print $2 " " $3 " " $4 "/" $5 }'; }
is() { [ "$(state "$1")" = "$2" ] || fail "$1 is '$(state "$1")', not '$2'"; }
device() { # name: polls once; what it runs
	"$BIN/flotilla-example" "$DEVICE" "$WORK/index.root.json" "$WORK/$1" 1 >"$WORK/example" 2>&1 || true
	sed -n 's/^class .* runs //p' "$WORK/example"
}
runs() { [ "$(device "$1")" = "$2" ] || fail "$1 does not run '$2': $(cat "$WORK/example")"; }

# Nothing is signed: nothing is served, and the reason is told.
[ "$(curl -s -o /dev/null -w '%{http_code}' "$DEVICE/v1/index/tuf/timestamp.json")" = 404 ] || fail "documents without a root"
curl -s "$ADMIN/readyz" | grep -q "pending roots" || fail "/readyz says nothing"
is index "pending 0 0/0"

# ---- two of three ----
for holder in alice bob carol; do vault $holder; done
[ "$(stat -c %a "$WORK/alice/root.vault")" = 600 ] || fail "others may read the vault"
fails 6 "exists already" ctl keys init "$WORK/alice" --passphrase-file "$WORK/pass"
echo short >"$WORK/short"
fails 1 "passphrase: from 10" ctl keys init "$WORK/dave" --passphrase-file "$WORK/short"
ctl -q keys export "$WORK/roots.json" --holders 3 --threshold 2
fails 4 "passphrase is wrong" ctl keys derive "$WORK/roots.json" --root "$WORK/alice" --passphrase-file "$WORK/wrong"
fails 6 "lack holders' keys" ctl --yes keys sign-root "$WORK/roots.json" --root "$WORK/alice" --passphrase-file "$WORK/pass"
derive alice "$WORK/roots.json"
derive alice "$WORK/roots.json" # again changes nothing
derive bob "$WORK/roots.json"
sign carol "$WORK/roots.json" 2>"$WORK/said" >/dev/null
grep -q "0 of 3 documents" "$WORK/said" || fail "one of two: $(cat "$WORK/said")"
fails 1 "threshold" ctl keys import "$WORK/roots.json"
is index "pending 0 0/0"
sign carol "$WORK/roots.json" >/dev/null 2>&1 # the same holder twice is one
fails 1 "threshold" ctl keys import "$WORK/roots.json"
sign alice "$WORK/roots.json" --index-root "$WORK/index.root.json" >"$WORK/shown" 2>"$WORK/said"
grep -q "3 of 3 documents" "$WORK/said" || fail "two of two: $(cat "$WORK/said")"
grep -q "index: root 1 (its first), 2 of 3 holders" "$WORK/shown" || fail "$(cat "$WORK/shown")"
ctl -q keys import "$WORK/roots.json"
is index "signed 1 2/3"
is c/stable/default "signed 1 2/3"
fails 6 "export the file again" ctl keys import "$WORK/roots.json"
fails 5 "nothing awaits" ctl keys export "$WORK/nothing.json"

synth "$WORK" one
ctl -q model create assistant
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0
runs sleeper assistant@1.0.0/q8_0
ctl -q manifest verify stable default --index-root "$WORK/index.root.json" --device-url "$DEVICE" >/dev/null || fail "verify"

# ---- the online seed is replaced, three times, while a device sleeps ----
for round in 2 3 4; do
	before=$(sha256sum <"$WORK/data/keys/online.seed")
	ctl -q --yes keys rotate
	fails 6 "under way" ctl --yes keys rotate
	is c/stable/default "rotating $((round - 1)) 2/3"
	runs awake assistant@1.0.0/q8_0 # the old seed signs on
	ctl -q keys export "$WORK/roots.json"
	sign bob "$WORK/roots.json" >/dev/null 2>&1
	# A crash in between loses nothing.
	kill -9 "$DAEMON"
	wait "$DAEMON" 2>/dev/null || true
	start_daemon
	sign carol "$WORK/roots.json" >/dev/null 2>&1
	ctl -q keys import "$WORK/roots.json"
	is index "signed $round 2/3"
	is c/stable/default "signed $round 2/3"
	[ ! -e "$WORK/data/keys/online.next.seed" ] || fail "the rotation did not end"
	[ "$(sha256sum <"$WORK/data/keys/online.seed")" != "$before" ] || fail "the old seed is still there"
	runs awake assistant@1.0.0/q8_0
done
runs sleeper assistant@1.0.0/q8_0

# ---- the online seed is lost ----
stop_daemon
mv "$WORK/data/keys/online.seed" "$WORK/lost.seed"
start_daemon 2>/dev/null && fail "started without a seed"
grep -q "online.seed" "$WORK/started.log" || fail "$(cat "$WORK/started.log")"
"$BIN/flotilla" -q keys new "$WORK/data/keys/online.seed" >/dev/null
start_daemon
is c/stable/default "stranded 4 2/3"
curl -s "$ADMIN/readyz" | grep -q "online seed" || fail "/readyz does not say that the seed is gone"
runs awake assistant@1.0.0/q8_0 # until what was signed ends
ctl -q keys export "$WORK/roots.json"
sign alice "$WORK/roots.json" >/dev/null 2>&1
sign bob "$WORK/roots.json" >/dev/null 2>&1
ctl -q keys import "$WORK/roots.json"
is c/stable/default "signed 5 2/3"
runs sleeper assistant@1.0.0/q8_0

# ---- a class waits for its root ----
cat >"$WORK/rules.json" <<'RULES'
{"schema":1,"rules":[{"class":"big","any":[{"all":[{"attr":"ram_mib","op":"ge","value":4096}]}]},{"class":"default"}]}
RULES
fails 6 "class prepare big" ctl class rules-set "$WORK/rules.json"
runs awake assistant@1.0.0/q8_0
ctl -q class prepare big
fails 6 "exists already" ctl class prepare big
fails 6 "no signed root" ctl class rules-set "$WORK/rules.json"
ctl -q keys export "$WORK/roots.json" --holders 3 --threshold 2
derive carol "$WORK/roots.json"
derive bob "$WORK/roots.json"
sign alice "$WORK/roots.json" >/dev/null 2>&1
sign carol "$WORK/roots.json" >/dev/null 2>&1
ctl -q keys import "$WORK/roots.json"
is c/stable/big "signed 1 2/3"
ctl -q class rules-set "$WORK/rules.json"
ctl -q release bootstrap assistant@1.0.0 --class big
[ "$(device awake)" = assistant@1.0.0/q8_0 ] || fail "$(cat "$WORK/example")"
grep -q "^class big" "$WORK/example" || fail "not class big: $(cat "$WORK/example")"

# ---- publishers wait for the holders, and are shown to them ----
ctl -q keys new "$WORK/ci.key" >/dev/null
ctl -q keys publisher ci --key "$WORK/ci.key.pub" --model assistant
ctl keys publishers 2>&1 | grep -q "waits to be signed" || fail "the list is not pending"
ctl -q keys export "$WORK/index.json"
sign alice "$WORK/index.json" >"$WORK/shown" 2>/dev/null
grep -q "+ publisher ci, key .* models \[\"assistant\"\]" "$WORK/shown" || fail "not shown: $(cat "$WORK/shown")"
fails 1 "1 of 2 signatures" ctl keys import "$WORK/index.json"

# Somebody adds a publisher to the file after alice signed it: bob's tool sees it, the server too.
sed 's/"name": "ci"/"name": "mallory"/' "$WORK/index.json" >"$WORK/forged.json"
fails 6 "changed after somebody signed" sign bob "$WORK/forged.json"
fails 1 "not what the file says" ctl keys import "$WORK/forged.json"
sign bob "$WORK/index.json" >/dev/null 2>&1
ctl -q keys import "$WORK/index.json"
synth "$WORK" two --seed 7
ctl -q push "$WORK/two-q8_0.gguf" --release assistant@2.0.0 --tier q8_0 >/dev/null
fails 1 "q8_0" ctl release publish assistant@2.0.0

# ---- a holder leaves: dave for carol ----
vault dave
ctl -q keys export "$WORK/roots.json" --all --holders 3 --threshold 2
derive alice "$WORK/roots.json"
derive bob "$WORK/roots.json"
derive dave "$WORK/roots.json"
sign dave "$WORK/roots.json" >"$WORK/shown" 2>/dev/null
grep -q "  - root key" "$WORK/shown" && grep -q "  + root key" "$WORK/shown" || fail "the change of holders is not shown"
sign alice "$WORK/roots.json" >/dev/null 2>&1
fails 1 "threshold" ctl keys import "$WORK/roots.json" # dave is none of the old holders
sign bob "$WORK/roots.json" >/dev/null 2>&1
ctl -q keys import "$WORK/roots.json"
is index "signed 6 2/3"
runs sleeper assistant@1.0.0/q8_0
runs awake assistant@1.0.0/q8_0
