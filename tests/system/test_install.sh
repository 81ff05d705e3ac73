#!/bin/sh
# What is installed can be used from elsewhere: programs run, and the examples of the SDK and of the store
# build against the installed library and headers alone.
. tests/system/lib.sh
root=$PWD
make -s install DESTDIR="$WORK/root" PREFIX=/usr
[ "$("$WORK/root/usr/bin/flotillad" --version)" = "$("$BIN/flotillad" --version)" ] || fail "another version"
export PKG_CONFIG_PATH=$WORK/root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$WORK/root
mkdir "$WORK/elsewhere"
cd "$WORK/elsewhere"
# The system's own paths are not below the root.
flags=$(pkg-config --cflags --libs flotilla | sed "s|$WORK/root\(/usr/include/[^f]\)|\1|g")
cp "$root/sdk/example.c" device.c
# shellcheck disable=SC2086
gcc -Wall -Werror device.c $flags -o device
echo '#include <flotilla.h>' | gcc -fsyntax-only $(pkg-config --cflags flotilla) -x c - # as apps name it
cp "$root/store/example.c" .
# shellcheck disable=SC2086
gcc -Wall -Werror example.c $flags -o example
head -c 300000 /dev/urandom >old
{ cat old; echo more; } >new
./example old new | grep -q '^300000 bytes become 300005 by a delta of ' || fail "the store's example"
./example old none 2>error && fail "a file that is not there"
grep -q "none" error || fail "no reason: $(cat error)"
