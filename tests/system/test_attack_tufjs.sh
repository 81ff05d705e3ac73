#!/bin/sh
# The attack suite with tuf-js, unmodified; and tuf-js against the real daemon: the index and a class,
# a rotation of all online keys, a target downloaded.
[ -e build/attack/done ] && command -v node >/dev/null || {
	echo "tuf-js is not installed: scripts/setup_node.sh says why"
	exit 77
}
MODULES=$PWD/build/attack
export MODULES
CLIENT="node tests/attack/client.mjs" OURS=false sh tests/system/test_attack.sh || exit 1

. tests/system/lib.sh
init_data
start_daemon
synth "$WORK" one
ctl -q model create assistant
ctl -q push "$WORK/one-q8_0.gguf" --release assistant@1.0.0 --tier q8_0 --publish >/dev/null
ctl -q release bootstrap assistant@1.0.0
js() { # base name-of-metadata command [operand]
	base=$1 name=$2
	shift 2
	mkdir -p "$WORK/got"
	node tests/attack/client.mjs --metadata-dir "$WORK/$name" --metadata-url "$DEVICE/v1/$base/tuf" \
		--target-base-url "$DEVICE/v1/$base/targets" --target-dir "$WORK/got" "$@"
}
class=c/stable/default
curl -fsS "$DEVICE/v1/$class/tuf/1.root.json" >"$WORK/class.root.json"
js index index init "$WORK/data/index.root.json"
js $class class init "$WORK/class.root.json"
follow() {
	js index index refresh || fail "tuf-js: the index"
	rm -rf "$WORK/got"
	js index index --target-name rules.json download || fail "tuf-js: rules.json by delegation"
	js index index --target-name publishers.json download || fail "tuf-js: publishers.json"
	js $class class --target-name assistant/1.0.0/q8_0/one-q8_0.gguf download || fail "tuf-js: a model"
	find "$WORK/got" -name '*one-q8_0.gguf' -exec cmp {} "$WORK/one-q8_0.gguf" \; | grep . && fail "another file"
	[ "$(find "$WORK/got" -type f | wc -l)" -eq 3 ] || fail "files are missing"
}
follow
for _ in 1 2 3; do ctl -q --yes keys rotate; done
curl -fsS "$DEVICE/v1/index/tuf/4.root.json" >/dev/null || fail "three rotations made no root 4"
follow
