#!/bin/sh
# Rooms may include only the rooms above them, and only server/ may know libmicrohttpd (and the
# server of the attack suite, which must misbehave as no room of ours does).
# Prints each offending line as file:line: text; exits 1 if there is one.
set -u
cd "$(dirname "$0")/.." || exit 2

find base store manifest telemetry rollout server sdk cli tests -name '*.[ch]' 2>/dev/null |
	LC_ALL=C sort | xargs -r awk '
BEGIN {
	may["base"] = "base"
	may["store"] = may["base"] " store"
	may["manifest"] = may["store"] " manifest"
	may["telemetry"] = may["manifest"] " telemetry"
	may["rollout"] = may["telemetry"] " rollout"
	may["server"] = may["rollout"] " server"
	may["sdk"] = may["telemetry"] " sdk"
	may["cli"] = may["sdk"] " cli"
	may["tests"] = may["server"] " sdk cli tests"
	pure["cli", "rollout/stage.h"] = 1 # stages as a value: no state, no I/O
}

function refuse(why) {
	printf "%s:%d: %s\n\t%s\n", FILENAME, FNR, $0, why
	bad = 1
}

/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
	room = FILENAME
	sub(/\/.*/, "", room)
	match($0, /[<"][^>"]*/)
	quote = substr($0, RSTART, 1)
	header = substr($0, RSTART + 1, RLENGTH - 1)
	seen++
	if (header ~ /microhttpd/ && room != "server" && FILENAME != "tests/attack/serve.c")
		refuse("only server/ may include microhttpd.h")
	if (quote == "<")
		next
	other = header
	if (!sub(/\/.*/, "", other) || header ~ /\.\./)
		refuse("write \"room/file.h\", from the root of the repository")
	else if (index(" " may[room] " ", " " other " ") == 0 && !((room, header) in pure))
		refuse(room "/ may include: " may[room])
}

END {
	if (!seen) {
		print "check_includes: found no source; run it inside the repository"
		exit 1
	}
	exit bad
}'
