#!/bin/sh
# The off-the-shelf TUF client of the attack suite, into build/attack: by name, from npm, as locked by
# tests/attack/package-lock.json.  Nothing when it is there.  A machine that cannot reach the
# registry goes on without; tests that need it then say that they were skipped.
set -eu
cd "$(dirname "$0")/.."
to=build/attack
cmp -s tests/attack/package-lock.json $to/done && exit 0
command -v npm >/dev/null || { echo "setup: npm is missing" >&2; exit 1; }
rm -rf $to
mkdir -p $to
cp tests/attack/package.json tests/attack/package-lock.json $to/
(cd $to && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >npm.log 2>&1) || {
	echo "setup: npm could not install tests/attack/package.json: $(tail -n 1 $to/npm.log)" >&2
	exit 1
}
cp tests/attack/package-lock.json $to/done
