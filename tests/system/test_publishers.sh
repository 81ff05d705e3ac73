#!/bin/sh
# Publishers: CI signs what it pushes, the daemon checks that before it publishes, and the device
# checks it again.  Floors, revoked variants, revoked keys.
. tests/system/lib.sh
init_data
start_daemon
for name in one two three; do synth "$WORK" $name --seed "$(printf %d "'$name")"; done
push() { # release file [options]
	release=$1 file=$2
	shift 2
	ctl -q push "$WORK/$file" --release "assistant@$release" --tier q8_0 "$@" >/dev/null
}
device() { # what a device runs now
	"$BIN/flotilla-example" "$DEVICE" "$WORK/data/index.root.json" "$WORK/device" 1 >"$WORK/example" 2>&1 || true
	sed -n 's/^class .* runs //p' "$WORK/example"
}
runs() { # variant [what stderr says]
	got=$(device)
	[ "$got" = "$1" ] || fail "the device runs '$got', not '$1': $(cat "$WORK/example")"
	[ $# -eq 1 ] || grep -qF -- "$2" "$WORK/example" || fail "no '$2' in: $(cat "$WORK/example")"
}

# Nobody is named: nothing need be signed.
ctl -q model create assistant
push 1.0.0 one-q8_0.gguf --publish
ctl -q release bootstrap assistant@1.0.0
runs assistant@1.0.0/q8_0

# From now on assistant is CI's.
ctl -q keys new "$WORK/ci.key" >/dev/null
ctl -q keys new "$WORK/rogue.key" >/dev/null
[ "$(stat -c %a "$WORK/ci.key")" = 600 ] || fail "others may read ci.key"
fails 6 "exists already" ctl keys new "$WORK/ci.key"
ctl -q keys publisher ci --key "$WORK/ci.key.pub" --model assistant
fails 6 "another publisher" ctl keys publisher other --key "$WORK/ci.key.pub" --model assistant
ctl keys publishers | grep -q '^ci ' || fail "no ci in the list"

push 2.0.0 two-q8_0.gguf
fails 1 "q8_0" ctl release publish assistant@2.0.0
push 2.0.0 two-q8_0.gguf --sign "$WORK/rogue.key"
fails 1 "no publisher" ctl release publish assistant@2.0.0
chmod 644 "$WORK/ci.key"
fails 1 "chmod 600" ctl push "$WORK/two-q8_0.gguf" --release assistant@2.0.0 --tier q8_0 --sign "$WORK/ci.key"
chmod 600 "$WORK/ci.key"
push 2.0.0 two-q8_0.gguf --sign "$WORK/ci.key" --publish
runs assistant@1.0.0/q8_0
# Another server, whose assistant is CI's from the start.
stop_daemon
rm -rf "$WORK/data" "$WORK/device"
init_data
start_daemon
ctl -q model create assistant
ctl -q keys publisher ci --key "$WORK/ci.key.pub" --model assistant
ctl -q keys policy --required on
push 1.0.0 one-q8_0.gguf --sign "$WORK/ci.key" --publish
[ "$(ctl release list assistant -o json | sed -n 's/.*"counter": *\([0-9]*\).*/\1/p')" = 1 ] || fail "the first counter is not 1"
ctl -q release bootstrap assistant@1.0.0
runs assistant@1.0.0/q8_0
"$BIN/flotilla" manifest verify stable default --index-root "$WORK/data/index.root.json" --device-url "$DEVICE" >/dev/null ||
	fail "manifest verify"

# The envelope is there for anybody to read, under the digest that the manifest names.
attest=$(curl -fsS "$DEVICE/v1/c/stable/default/manifest.json" | grep -o '"attest":"[0-9a-f]*' | grep -o '[0-9a-f]\{64\}')
curl -fsS "$DEVICE/v1/attest/$attest" >"$WORK/envelope"
[ "$(sha256sum <"$WORK/envelope" | cut -d' ' -f1)" = "$attest" ] || fail "not the envelope that is named"
grep -q '"payloadType":"application/vnd.in-toto+json"' "$WORK/envelope" || fail "$(cat "$WORK/envelope")"

# A revoked variant is not loaded; allowed again, it is.
ctl -q --yes revoke assistant@1.0.0/q8_0 --reason "wrong weights"
ctl revocations | grep -q "wrong weights" || fail "no reason in the list"
runs nothing
digest=$(ctl revocations -o json | sed -n 's/.*"digest": *"\([^"]*\)".*/\1/p' | head -n 1)
ctl -q --yes revoke "$digest" --undo
runs assistant@1.0.0/q8_0

# A revoked key: nothing it signed is published, and devices install none of it.
push 3.0.0 three-q8_0.gguf --sign "$WORK/ci.key"
ctl -q --yes keys revoke ci --reason "laptop stolen"
fails 1 "q8_0" ctl release publish assistant@3.0.0
fails 6 "revoked" ctl keys publisher again --key "$WORK/ci.key.pub" --model assistant
runs assistant@1.0.0/q8_0
rm -rf "$WORK/device"
runs nothing "no publisher"
ctl -q keys new "$WORK/new.key" >/dev/null
ctl -q keys publisher ci --key "$WORK/new.key.pub" --model assistant
push 3.0.0 three-q8_0.gguf --sign "$WORK/new.key" --publish

push 4.0.0 two-q8_0.gguf --sign "$WORK/new.key" --counter 1 --floor 1 --publish

# Floors only rise; what is below is refused by devices that have nothing else.
ctl -q keys policy --floor assistant=2
fails 6 "floor" ctl keys policy --floor assistant=1

# Nor is a rollout begun, or undone, that devices would refuse.
fails 6 "below the floor of 2 that the index" ctl rollout start assistant@4.0.0
push 5.0.0 two-q8_0.gguf --sign "$WORK/new.key" --counter 9 --floor 9 --publish
id=$(ctl rollout start -o json assistant@5.0.0 | sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' | head -n 1)
i=0
until ctl rollout status "$id" | grep -q complete; do
	i=$((i + 1))
	[ $i -lt 20 ] || fail "$id does not complete: $(ctl rollout status "$id")"
	ctl -q --yes rollout advance "$id"
done
fails 6 "below the floor of 9" ctl --yes rollout undo "$id"
push 6.0.0 one-q8_0.gguf --sign "$WORK/new.key" --counter 8 --floor 8 --publish
fails 6 "below the floor of 9" ctl rollout start assistant@6.0.0
