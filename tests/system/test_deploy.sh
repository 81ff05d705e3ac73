#!/bin/sh
# What surrounds the daemon says what is true: the manual pages have each key, command and option in
# the words of --help, and the alerts ask for metrics that exist.
. tests/system/lib.sh

# Lines of a page's keys or options and of its commands: "--name value: help" and "name: help".
# Macros that only set type are dropped, and a default in .Bq joins its help.
page_lines() {
	awk '
	function flush() { if (name != "") print name ": " text; name = "" }
	/^\.It Fl Fl / { flush(); name = substr($0, 11); sub(/ Ar /, " ", name); name = "--" name; text = ""; next }
	/^\.It Ic / { flush(); name = substr($0, 8); sub(/ Ar /, " ", name); text = ""; next }
	name != "" && text == "" && !/^\./ { text = $0; next }
	name != "" && /^\.Bq / { text = text " [" substr($0, 5) "]"; next }
	/^\.S[hs] / { flush() }
	END { flush() }' "$1"
}
# The same of --help: names end at two spaces or at the column where helps begin.
option_lines() { sed -n 's/^  \(--[a-z0-9-]*\)\( [^ ]\{1,\}\)\{0,1\}  *\(.*\)$/\1\2: \3/p'; }

"$BIN/flotillad" --help | sed '1,/--help, --version/d' | option_lines >"$WORK/keys.help"
page_lines deploy/flotillad.8 | sed 's/^\(--[a-z0-9-]*\) value: /\1: /' |
	grep -vE '^--(config|check-config|print-config|help)[ :]' >"$WORK/keys.page"
[ "$(wc -l <"$WORK/keys.help")" -gt 15 ] || fail "no keys in --help"
diff "$WORK/keys.page" "$WORK/keys.help" || fail "deploy/flotillad.8 differs from --help"

"$BIN/flotilla" --help >"$WORK/all"
sed -n '/^Options of every/,$p' "$WORK/all" | option_lines >"$WORK/commands.help"
sed -n '/^Commands:/,/^Options of every/s/^  \(.\{46\}\) \(.*\)$/\1: \2./p' "$WORK/all" |
	sed 's/ *: /: /' | while IFS= read -r line; do
	echo "$line"
	words=$(echo "$line" | sed 's/:.*//; s/ [A-Z].*//')
	# shellcheck disable=SC2086
	"$BIN/flotilla" $words --help | option_lines
done >>"$WORK/commands.help"
[ "$(wc -l <"$WORK/commands.help")" -gt 60 ] || fail "no commands in --help"
page_lines deploy/flotilla.1 >"$WORK/commands.page"
diff "$WORK/commands.page" "$WORK/commands.help" || fail "deploy/flotilla.1 differs from --help"

init_data
start_daemon
curl -fsS "$ADMIN/metrics" >"$WORK/metrics"
# Every sample has its type and help, and a name as Prometheus has them.
python3 - "$WORK/metrics" <<'END' || fail "/metrics"
import re, sys
types, helps, wrong = {}, {}, []
for line in open(sys.argv[1]):
    word = line.split()
    if line.startswith("# TYPE "):
        types[word[2]] = word[3]
    elif line.startswith("# HELP "):
        helps[word[2]] = " ".join(word[3:])
    else:
        name = re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]*", line).group()
        if name not in types or not helps.get(name):
            wrong.append(f"{name}: no type or help")
        float(word[-1])
for name, kind in types.items():
    if not re.fullmatch(r"flotilla_[a-z_]+", name) or kind not in ("counter", "gauge"):
        wrong.append(f"{name} {kind}")
    if (kind == "counter") != name.endswith("_total"):
        wrong.append(f"{name}: counters end in _total, and only they")
for name in ("flotilla_engine_ticks_total", "flotilla_lanes", "flotilla_store_damaged",
             "flotilla_store_scrubbed_timestamp_seconds", "flotilla_workers_busy"):
    if name not in types:
        wrong.append(f"{name} is not there")
print("\n".join(wrong), file=sys.stderr)
sys.exit(bool(wrong))
END
sed -n '/expr:/,/\(for\|labels\):/p' deploy/prometheus-rules.yml | grep -o 'flotilla_[a-z_]*' | sort -u >"$WORK/wanted"
[ "$(wc -l <"$WORK/wanted")" -gt 5 ] || fail "no metrics in the alerts"
while read -r name; do
	grep -q "^# TYPE $name " "$WORK/metrics" || fail "prometheus-rules.yml: there is no metric $name"
done <"$WORK/wanted"
