/* Who runs what. */
#include "cli/cli.h"
#include "cli/commands.h"
#include "telemetry/metric.h"

#include <stdlib.h>
#include <string.h>

#define BASE "/admin/v1/fleet/"

/* BASE and what, with each option of the command that was given as a query. */
static void path_of(const struct args *args, const char *what, char *path, size_t room)
{
	size_t len = (size_t)snprintf(path, room, BASE "%s", what);
	char mark = strchr(what, '?') ? '&' : '?';
	for (unsigned i = 0; i < args->command->option_count; i++) {
		const char *name = args->command->options[i].name, *value = args_text(args, name);
		char *escaped = value ? api_escape(value) : NULL;
		if (escaped && len < room) {
			len += (size_t)snprintf(path + len, room - len, "%c%s=%.100s", mark, name,
						escaped);
			mark = '&';
		}
		free(escaped);
	}
}

static int show(struct cli *cli, const struct args *args, const struct column *columns,
		unsigned count)
{
	char path[1024];
	path_of(args, args->command->name, path, sizeof(path));
	return cli_list(cli, path, columns, count);
}

/* The columns of what is told apart, then what was counted. */
static int fleet_census(struct cli *cli, const struct args *args)
{
	static const struct column apart[] = {{"DATE", "date", COL_TEXT},
					      {"CHANNEL", "channel", COL_TEXT},
					      {"CLASS", "class", COL_TEXT},
					      {"MODEL", "model", COL_TEXT},
					      {"RELEASE", "release", COL_TEXT},
					      {"TIER", "tier", COL_TEXT},
					      {"OS", "os", COL_TEXT},
					      {"RUNTIME", "runtime", COL_TEXT}};
	static const struct column counted[] = {{"DEVICES", "devices", COL_INT},
						{"SHARE", "share_ppm", COL_PPM}};
	struct column columns[COUNT_OF(apart) + COUNT_OF(counted)];
	const char *by = args_text(args, "by") ? args_text(args, "by") : "channel,class,release,tier";
	unsigned n = 0;
	for (unsigned i = 0; i < COUNT_OF(apart); i++)
		if (i == 0 || !strcmp(apart[i].path, "model") || strstr(by, apart[i].path))
			columns[n++] = apart[i];
	for (unsigned i = 0; i < COUNT_OF(counted); i++)
		columns[n++] = counted[i];
	return show(cli, args, columns, n);
}

static int fleet_adoption(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"CHANNEL", "channel", COL_TEXT},    {"CLASS", "class", COL_TEXT},
		{"MODEL", "model", COL_TEXT},	     {"RELEASE", "release", COL_TEXT},
		{"FIRST SEEN", "first", COL_TEXT},   {"DAYS TO 50 %", "days_to_50", COL_INT},
		{"90 %", "days_to_90", COL_INT},     {"99 %", "days_to_99", COL_INT},
		{"DEVICES", "devices", COL_INT},     {"SHARE", "share_ppm", COL_PPM},
		{"ON", "date", COL_TEXT}};
	return show(cli, args, columns, COUNT_OF(columns));
}

static int fleet_drift(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {
		{"CHANNEL", "channel", COL_TEXT}, {"CLASS", "class", COL_TEXT},
		{"RUNS", "variant", COL_TEXT},	  {"DEVICES", "devices", COL_INT},
		{"SHARE", "share_ppm", COL_PPM},  {"WHY", "why", COL_TEXT},
		{"WHAT THAT MEANS", "text", COL_TEXT}};
	return show(cli, args, columns, COUNT_OF(columns));
}

/* The columns of a counter, or of a histogram. */
static int fleet_history(struct cli *cli, const struct args *args)
{
	static const struct column counter[] = {
		{"FROM", "time", COL_TEXT},    {"DEVICES", "devices", COL_INT},
		{"UNITS", "units", COL_INT},   {"EVENTS", "events", COL_INT},
		{"RATE", "rate", COL_REAL},    {"A UNIT", "mean", COL_REAL}};
	static const struct column histogram[] = {
		{"FROM", "time", COL_TEXT},	  {"DEVICES", "devices", COL_INT},
		{"N", "n", COL_INT},		  {"MEAN", "mean", COL_REAL},
		{"P50", "p50.value", COL_REAL},	  {"P95", "p95.value", COL_REAL},
		{"AT LEAST", "p95.low", COL_REAL}, {"AT MOST", "p95.high", COL_REAL},
		{"P99", "p99.value", COL_REAL}};
	const struct metric *metric = metric_find(args->positional[1]);
	const bool counts = metric && metric->kind == METRIC_COUNTER;
	char what[256], path[1024];
	char *model = api_escape(args->positional[0]), *name = api_escape(args->positional[1]);
	snprintf(what, sizeof(what), "history?model=%.100s&metric=%.100s", model ? model : "",
		 name ? name : "");
	free(model);
	free(name);
	path_of(args, what, path, sizeof(path));
	return counts ? cli_list(cli, path, counter, COUNT_OF(counter))
		      : cli_list(cli, path, histogram, COUNT_OF(histogram));
}

/* Their names are the query's. */
#define PLACES                                                                                     \
	{"channel", "NAME", "only this channel", false},                                           \
	{"class", "NAME", "only this device class", false}
#define FILTERS PLACES, {"model", "NAME", "only this model", false}
static const struct cli_option census_options[] = {
	FILTERS,
	{"by", "LIST", "tell apart channel, class, release, tier (all of them), os or runtime", false},
	{"days", "N", "so many days, each by itself (1)", false},
};
static const struct cli_option adoption_options[] = {
	FILTERS,
	{"by", "class", "each device class by itself", false},
	{"days", "N", "look so many days back (90)", false},
};
static const struct cli_option drift_options[] = {FILTERS};
static const struct cli_option history_options[] = {
	PLACES,
	{"variant", "VARIANT", "only this variant: MODEL@RELEASE/TIER", false},
	{"rollout", "ID", "only devices in this rollout (with --kind window)", false},
	{"arm", "ARM", "only candidate or control of rollouts", false},
	{"kind", "KIND", "usage of every device, or window: of devices in rollouts (by the step)", false},
	{"step", "STEP", "hour, kept for 30 days, or day, for 400 (day)", false},
	{"days", "N", "look so many days back (30; 2 of hours)", false},
};

/* clang-format off */
const struct command fleet_commands[FLEET_COMMANDS] = {
	{"fleet", "census", "", 0, 0, "Count the devices active in the last day, by what they run",
	 "Counted without ids, from daily usage reports.  Groups smaller than the configured\n"
	 "min_cohort are not shown.\n"
	 "  flotilla fleet census --by class,release --days 7\n"
	 "  flotilla fleet census --by release,runtime",
	 census_options, COUNT_OF(census_options), fleet_census},
	{"fleet", "adoption", "", 0, 0, "Show how fast releases spread",
	 "Days from the first on which enough devices ran a release until that share of all did.",
	 adoption_options, COUNT_OF(adoption_options), fleet_adoption},
	{"fleet", "drift", "", 0, 0, "Find devices that run what no manifest of theirs names",
	 "Stragglers after a completion, devices that kept what was taken back, tiers that a class\n"
	 "is no longer offered.", drift_options, COUNT_OF(drift_options), fleet_drift},
	{"fleet", "history", "MODEL METRIC", 2, 2, "Show a metric over time, by the day or hour",
	 "Counters (crash, requests, thumb.down ...): events, share of units with any, events a unit.\n"
	 "Histograms (ttft_ms, load_ms ...): mean and quantiles; a quantile lies between AT LEAST and AT\n"
	 "MOST with 95 % confidence.  A unit is a device's day, or its hour with --step hour.\n"
	 "  flotilla fleet history assistant ttft_ms --class budget --days 90\n"
	 "  flotilla fleet history assistant crash --step hour --rollout r17 --arm candidate",
	 history_options, COUNT_OF(history_options), fleet_history},
};
