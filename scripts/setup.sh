#!/bin/sh
# Install what building, testing or the demo needs, from Debian, by name; nothing when all is there.
# usage: setup.sh build|check|bench
set -eu
build="gcc make pkg-config libc6-dev libmicrohttpd-dev libsqlite3-dev libjansson-dev libsodium-dev
 libzstd-dev zlib1g-dev libssl-dev libcurl4-openssl-dev ca-certificates"
check="$build check clang clang-tidy cppcheck libclang-rt-14-dev python3-minimal curl zstd sqlite3
 nginx-light"
bench="$check wrk xdelta3 bsdiff casync"
case ${1:-build} in
build) want=$build ;;
check) want=$check ;;
bench) want=$bench ;;
*) echo "usage: setup.sh build|check|bench" >&2; exit 2 ;;
esac
# Node may come from elsewhere, with npm in it.
if [ "${1:-}" != build ]; then
	command -v node >/dev/null || want="$want nodejs"
	command -v npm >/dev/null || want="$want npm"
fi
missing=
for package in $want; do
	dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' ||
		missing="$missing $package"
done
[ -n "$missing" ] || exit 0
sudo=
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "setup: run as root, or install sudo; missing:$missing" >&2; exit 1; }
	sudo=sudo
fi
echo "setup: installing$missing" >&2
$sudo apt-get update -qq >&2
# No service may start on its own while packages are installed.
$sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >&2
