# sizes.awk -- the facts that sizes.sh measured as tables and goals.  -v md=FILE -v json=FILE
# A goal is met or RED by the numbers alone.

$1 == "run" { size = $2; date = $3; cores = $4; jobs = $5; took = $6; sha_ni = $7; load = $8 }
$1 == "base" { base = $3 }
$1 == "first" { raw[$2] = $3; sha[$2] = $4; tiers[++tier_count] = $2 }
$1 == "size" { got[$2, $3] = $4; of[$2, $3] = $5 }
$1 == "index" { names[$2] = $3; footers[$2] = $4 }
$1 == "cost" { cpu[$2, $3] = $4 }
$1 == "codec" { encoding[$2] = $3; decoding[$2] = $4 }
$1 == "update" { new[$2, $3] = $4; hash[$2, $3] = $5; copied[$2, $3] = $6; updates[++update_count] = $2 SUBSEP $3 }
$1 == "tool" {
	key = $2 SUBSEP $3 SUBSEP $4
	wire[key] = $5; make_cpu[key] = $6; make_kib[key] = $7; apply_cpu[key] = $8; apply_kib[key] = $9
}

function share(part, whole) { return sprintf(100 * part / whole < 0.1 ? "%.4f" : "%.2f", 100 * part / whole) }
function wire_of(tier, change, tool) {
	return (tier, change, tool) in wire ? share(wire[tier, change, tool], new[tier, change]) : "-"
}
function say(text) { print text > md }

# The least that another tool needs, as a percentage or in bytes, and its name.
function best_other(tier, change, in_bytes,    i, least, name, key) {
	least = -1
	for (i = 2; i <= tool_count; i++) {
		key = tier SUBSEP change SUBSEP tools[i]
		if (key in wire && (least < 0 || wire[key] < least)) {
			least = wire[key]
			name = titles[i]
		}
	}
	if (least < 0)
		return "-"
	return (in_bytes ? least : share(least, new[tier, change])) " (" name ")"
}

# A row of goals: at most goal, in the unit's own figures.  What is told in hashes counts fully only where
# they are as fast as where the goals were set.
function goal(name, limit, ours, unit, other,    met, verdict) {
	met = ours + 0 <= limit + 0
	verdict = !met ? "RED" : unit == " hashes" && sha_ni != "yes" ? "met here" : "met"
	say(sprintf("| %s | %s%s | **%s**%s | %s | %s |", name, limit, unit, ours, unit, other, verdict))
	rows[++row_count] = sprintf("{\"name\":\"%s\",\"goal\":%s,\"ours\":%s,\"unit\":\"%s\",\"met\":%s}", name,
		limit, ours, unit, met ? "true" : "false")
}
function goal_update(tier, change, limit,    key) {
	key = tier SUBSEP change
	if (key in new)
		goal(label[change] ", " tier, limit, wire_of(tier, change, "ours"), " %", best_other(tier, change))
}
# Of what has changed, the part that is sent.
function goal_share(tier, change, limit,    key, changed) {
	key = tier SUBSEP change
	if (!(key in new))
		return
	changed = new[key] - copied[key]
	goal(label[change] ", " tier ", of the " share(changed, new[key]) " % that changed", limit,
		sprintf("%.3f", wire[key, "ours"] / changed), " x", "-")
}
# The worst of all updates, and whose it is.
function worst(what,    i, key, value, most, pair) {
	most = -1
	for (i = 1; i <= update_count; i++) {
		key = updates[i] SUBSEP "ours"
		if (what == "apply_cpu")
			value = apply_cpu[key] / hash[updates[i]]
		else if (what == "make_cpu")
			value = make_cpu[key] / hash[updates[i]]
		else
			value = what == "apply_kib" ? (apply_kib[key] - base) / 1024 : make_kib[key] / 1024
		if (value > most) {
			most = value
			split(updates[i], pair, SUBSEP)
			worst_name = tier_label(pair[1]) ", " label[pair[2]]
		}
	}
	return sprintf(most < 10 ? "%.2f" : "%.1f", most)
}

function report_goals(    i, t, value) {
	say("| measure | goal, at most | ours | best other | |\n|---|---|---|---|---|")
	for (i = 1; i <= tier_count; i++) {
		t = tiers[i]
		if (t in first_goal)
			goal("first install, " t, first_goal[t], share(got[t, "ours"], raw[t]), " %",
				share(got[t, "zstd3"], raw[t]) " (zstd -3)")
	}
	goal_update("bf16", "all1", 31); goal_update("q8_0", "all1", 24); goal_update("q4_0", "all1", 8.5)
	goal_update("bf16", "lora", 6.5); goal_update("q8_0", "lora", 5); goal_update("q4_0", "lora", 1.8)
	goal_share("bf16", "last", 0.35); goal_share("bf16", "head", 0.35)
	goal_share("q4_0", "last", 0.1); goal_share("q4_0", "head", 0.1)
	for (i = 1; i <= tier_count; i++) {
		t = tiers[i]
		if ((t, "meta", "ours") in wire)
			goal("metadata edit, " t, int(20000 + raw[t] / 10000), wire[t, "meta", "ours"], " bytes",
				best_other(t, "meta", 1))
	}
	goal_update("q8_0", "from-q4_0", 50); goal_update("bf16", "from-q8_0", 27)
	value = worst("apply_kib")
	goal("memory to apply, beyond the program's " sprintf("%.1f", base / 1024) " MiB (" worst_name ")", 16, value, " MiB", "-")
	value = worst("apply_cpu")
	goal("CPU to apply, in SHA-256 of the output (" worst_name ")", 3, value, " hashes", "-")
	value = worst("make_cpu")
	goal("CPU to make a delta, both files surveyed (" worst_name ")", 15, value, " hashes", "-")
	value = worst("make_kib")
	goal("memory to make a delta (" worst_name ")", 64, value, " MiB", "-")
	for (i = 1; i <= tier_count; i++) {
		t = tiers[i]
		goal("CPU to take in, zstd -3 -T2 and SHA-256 = 1, " t, 0.75,
			sprintf("%.2f", cpu[t, "ingest"] / (cpu[t, "zstd"] + sha[t])), " x", "-")
	}
	for (i = 1; i <= tier_count; i++) {
		t = tiers[i]
		goal("recipe and map, " t, 0.01, sprintf("%.4f", 100 * names[t] / raw[t]), " %", "-")
	}
}

function report_first(    i, t) {
	say("| tier | MB | ours | zstd -3 | zstd -19, of 32 MiB | encoding, SHA-256 = 1 | decoding | pack footers, on the server |")
	say("|---|---|---|---|---|---|---|---|")
	for (i = 1; i <= tier_count; i++) {
		t = tiers[i]
		say(sprintf("| %s | %.1f | **%s** | %s | %s | %s | %s | %.4f |", t, raw[t] / 1e6, share(got[t, "ours"], raw[t]),
			share(got[t, "zstd3"], raw[t]), of[t, "zstd19"] ? share(got[t, "zstd19"], of[t, "zstd19"]) : "-",
			encoding[t], decoding[t], 100 * footers[t] / raw[t]))
	}
}

function report_updates(    i, key, pair) {
	say("| tier | change | ours | zstd -3 | patch-from -3 | xdelta3 | casync | bsdiff |\n|---|---|---|---|---|---|---|---|")
	for (i = 1; i <= update_count; i++) {
		split(updates[i], pair, SUBSEP)
		say(sprintf("| %s | %s | **%s** | %s | %s | %s | %s | %s |", tier_label(pair[1]), label[pair[2]],
			wire_of(pair[1], pair[2], "ours"), wire_of(pair[1], pair[2], "zstd3"),
			wire_of(pair[1], pair[2], "patch"), wire_of(pair[1], pair[2], "xdelta"),
			wire_of(pair[1], pair[2], "casync"), wire_of(pair[1], pair[2], "bsdiff")))
		data[i] = sprintf("{\"tier\":\"%s\",\"change\":\"%s\",\"bytes\":%s,\"raw\":%s}", pair[1], pair[2],
			wire[pair[1], pair[2], "ours"], new[updates[i]])
	}
}
function tier_label(tier) { return tier == "small" ? "q4_0, 29 M" : tier }

# CPU seconds, multiples of a hash, MiB.
function cost_of(cpu_s, kib, sha_s) {
	if (cpu_s == "-" || cpu_s == "")
		return "- | -"
	return sprintf("%.2f s, %.1f x | %.1f", cpu_s, cpu_s / sha_s, kib / 1024)
}
function report_costs(    i, k, pair, key) {
	say("| tier | change | tool | making: CPU | MiB | applying: CPU | MiB |\n|---|---|---|---|---|---|---|")
	for (i = 1; i <= update_count; i++) {
		split(updates[i], pair, SUBSEP)
		if (pair[2] != "all1" && pair[2] != "lora")
			continue
		for (k = 1; k <= tool_count; k++) {
			key = updates[i] SUBSEP tools[k]
			if (key in wire && tools[k] != "zstd3")
				say(sprintf("| %s | %s | %s | %s | %s |", tier_label(pair[1]), label[pair[2]], titles[k],
					cost_of(make_cpu[key], make_kib[key], hash[updates[i]]),
					cost_of(apply_cpu[key], apply_kib[key], hash[updates[i]])))
		}
	}
}

function define(    i, n, pairs) {
	n = split("all01=all weights by 0.1 % of sigma|all1=all weights by 1 %|all5=all weights by 5 %|" \
		"lora=attention, a LoRA merged|last=last two blocks by 1 %|head=norms and head by 1 %|" \
		"meta=metadata edit|vocab=64 rows of vocabulary|moved=renamed and re-ordered|" \
		"renamed=renamed, all weights by 1 %|sorted=re-ordered, all weights by 1 %|" \
		"both=renamed, re-ordered, all by 1 %|from-q4_0=q4_0 to q8_0|from-q8_0=q8_0 to bf16", pairs, "|")
	for (i = 1; i <= n; i++)
		label[substr(pairs[i], 1, index(pairs[i], "=") - 1)] = substr(pairs[i], index(pairs[i], "=") + 1)
	tool_count = split("ours zstd3 patch xdelta casync bsdiff", tools, " ")
	split("ours|zstd -3|patch-from|xdelta3|casync|bsdiff", titles, "|")
	first_goal["bf16"] = 68; first_goal["q8_0"] = 94; first_goal["q4_0"] = 90; first_goal["q4_K"] = 95
}

function write_json(    i) {
	printf "{\"date\":\"%s\",\"size\":\"%s\",\"cores\":%d,\"seconds\":%d,\"goals\":[", date, size, cores, took > json
	for (i = 1; i <= row_count; i++)
		printf "%s%s", (i == 1 ? "" : ","), rows[i] > json
	printf "],\"updates\":[" > json
	for (i = 1; i <= update_count; i++)
		printf "%s%s", (i == 1 ? "" : ","), data[i] > json
	print "]}" > json
}

END {
	define()
	say("# What is downloaded, and what it costs\n")
	say(sprintf("%s, models of size %s, %d jobs on %d cores, load average %s at the end, %d minutes.", date, size, jobs,
		cores, load, int(took / 60 + 0.5)))
	say("Percent of the raw file; CPU is user and system time of all threads.")
	say(sprintf("SHA-256 is OpenSSL's; this CPU has %s instructions for it%s.\n", sha_ni == "yes" ? "the" : "no",
		sha_ni == "yes" ? "" : ": on one that has, as that on which the goals were set, a multiple of it is up to 3.5 times larger"))
	say("## Goals\n")
	report_goals()
	say("\n## A first install\n")
	report_first()
	say("\n## Updates\n")
	report_updates()
	say("\n## CPU and memory\n")
	report_costs()
	write_json()
}
