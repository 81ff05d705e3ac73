/* told.h -- for unit tests of the SDK: reports that arrived at the fake server, read as the server
 * reads them. */
#ifndef TESTS_SUPPORT_TOLD_H
#define TESTS_SUPPORT_TOLD_H

#include "telemetry/metric.h"
#include "telemetry/report.h"
#include "tests/support/sdk_fixture.h"

#include <jansson.h>

/* One of them, as the server reads it: report points into text. */
struct told {
	char *text;
	struct report *report;
	const struct report_entry *entry; /* its only one */
	json_t *json;
};

UNUSED static void told_done(struct told *told)
{
	free(told->report);
	free(told->text);
	json_decref(told->json);
}
#define AUTO_TOLD __attribute__((cleanup(told_done)))

UNUSED static struct told read_report(const char *text, int64_t now)
{
	struct told told = {.text = strdup(text), .report = malloc(sizeof(struct report))};
	struct err err;
	ck_assert(told.text && told.report);
	ck_assert_msg(!report_read(told.text, strlen(text), now, told.report, &err),
		      "%s: %s", err.text, text);
	ck_assert_uint_eq(told.report->unknown, 0);
	ck_assert_uint_eq(told.report->entry_len, 1);
	told.entry = &told.report->entries[0];
	told.json = json_loads(text, 0, NULL);
	return told;
}

UNUSED static bool is_kind(const char *text, enum report_kind kind)
{
	char part[40];
	snprintf(part, sizeof(part), "\"kind\":\"%s\"", report_kind_names[kind]);
	return strstr(text, part) != NULL;
}

UNUSED static unsigned count_of(const struct fixture *t, enum report_kind kind)
{
	unsigned count = 0;
	for (unsigned i = 0; i < t->s->post_count; i++)
		count += is_kind(t->s->posts[i], kind);
	return count;
}

/* The nth (0 is the first) of that kind. */
UNUSED static struct told told(const struct fixture *t, enum report_kind kind, unsigned nth)
{
	for (unsigned i = 0; i < t->s->post_count; i++)
		if (is_kind(t->s->posts[i], kind) && !nth--)
			return read_report(t->s->posts[i], t->s->now);
	ck_abort_msg("there is no such %s", report_kind_names[kind]);
}

/* The members are exactly these, blank-separated and sorted. */
UNUSED static void has_members(const json_t *object, const char *names)
{
	char have[400] = "";
	json_auto_t *copy = json_deep_copy(object);
	char *text = json_dumps(copy, JSON_SORT_KEYS | JSON_COMPACT);
	json_auto_t *sorted = json_loads(text, 0, NULL);
	const char *name;
	json_t *value;
	json_object_foreach (sorted, name, value)
		snprintf(have + strlen(have), sizeof(have) - strlen(have), "%s%s",
			 have[0] ? " " : "", name);
	ck_assert_str_eq(have, names);
	free(text);
}

UNUSED static const json_t *entry_json(const struct told *told)
{
	return json_array_get(json_object_get(told->json, "entries"), 0);
}

UNUSED static uint32_t count_in(const struct report_entry *e, const char *name, bool hits)
{
	for (unsigned i = 0; i < e->count_len; i++)
		if (e->counts[i].metric == metric_index(metric_find(name)))
			return hits ? e->counts[i].hit : e->counts[i].n;
	return 0;
}

#endif
