#include "telemetry/slices.h"

#include "base/grow.h"
#include "base/map.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNTERS (2 * SLICES_MOST) /* as many again wait for a place */
#define MARKS "._/+-"		   /* in a value, besides letters and digits */

const char *const slice_what_names[SLICE_WAYS] = {"os", "runtime"};

/* How often a value came, at the most: others that have no counter wear it down. */
struct counter {
	char value[SLICE_ROOM];
	uint64_t count;
	bool placed;
	uint64_t batch; /* in which number was given; 0: none */
	uint32_t number;
};
struct class_slices {
	struct counter counters[SLICE_WAYS][COUNTERS];
	unsigned placed[SLICE_WAYS]; /* today */
	int64_t day;		     /* the newest that a report was about: at most ten minutes ahead */
};
struct slices {
	struct map *classes; /* name -> struct class_slices * */
	struct counter other[SLICE_WAYS], unknown[SLICE_WAYS];
	uint64_t batch; /* 1.. */
	struct slice *list;
	uint32_t count, room;
};

struct slices *slices_new(void)
{
	AUTO(slices_free) struct slices *slices = calloc(1, sizeof(*slices));
	if (!slices)
		return NULL;
	slices->batch = 1;
	slices->classes = map_new(free);
	for (unsigned i = 0; i < SLICE_WAYS; i++) {
		strcpy(slices->other[i].value, SLICE_OTHER);
		strcpy(slices->unknown[i].value, SLICE_UNKNOWN);
	}
	return slices->classes ? TAKE(slices) : NULL;
}

void slices_free(struct slices *slices)
{
	if (!slices)
		return;
	map_free(slices->classes);
	free(slices->list);
	free(slices);
}

/* ---- places ---- */

/* The value's counter.  Where it has none, the smallest of those without a place loses one, and is
 * the value's once it has none left; NULL: not yet. */
static struct counter *counter_of(struct counter *list, const char *value)
{
	struct counter *least = &list[COUNTERS - 1]; /* not all are placed */
	for (struct counter *c = list; c < list + COUNTERS; c++) {
		if (!strcmp(c->value, value))
			return c;
		if (!c->placed && (least->placed || c->count < least->count))
			least = c;
	}
	if (least->count && --least->count)
		return NULL;
	*least = (struct counter){.count = 0};
	strcpy(least->value, value);
	return least;
}

/* Whether a counter has a place, or gets one now. */
static bool has_place(struct counter *list, struct counter *counter, unsigned *placed)
{
	struct counter *least = NULL;
	unsigned taken = 0;
	if (counter->placed || *placed == SLICES_A_DAY)
		return counter->placed;
	for (struct counter *c = list; c < list + COUNTERS; c++) {
		taken += c->placed;
		if (c->placed && (!least || c->count < least->count))
			least = c;
	}
	if (taken == SLICES_MOST) {
		if (counter->count < 2 * least->count)
			return false;
		least->placed = false;
	}
	counter->placed = true;
	++*placed;
	return true;
}

static void begin_day(struct class_slices *class, int64_t day)
{
	const int64_t passed = day - class->day;
	for (unsigned w = 0; w < SLICE_WAYS; w++) {
		class->placed[w] = 0;
		for (unsigned i = 0; i < COUNTERS; i++)
			class->counters[w][i].count >>= passed < 63 ? passed : 63;
	}
	class->day = day;
}

static struct class_slices *class_of(struct slices *slices, const struct report *report)
{
	const size_t len = strlen(report->class);
	const int64_t day = report->at / REPORT_DAY_S;
	struct class_slices *class = map_get(slices->classes, report->class, len);
	if (!class) {
		class = calloc(1, sizeof(*class));
		if (!class || map_put(slices->classes, report->class, len, class))
			return NULL;
		class->day = day;
	}
	if (day > class->day)
		begin_day(class, day);
	return class;
}

/* ---- values ---- */

static bool good(const char *value)
{
	size_t len = 0;
	for (; value[len]; len++)
		if (len + 1 == SLICE_ROOM ||
		    (!isalnum((unsigned char)value[len]) && !strchr(MARKS, value[len])))
			return false;
	return true;
}

static struct counter *find(struct slices *slices, struct class_slices *class, enum slice_what what,
			    const char *value)
{
	struct counter *list = class->counters[what];
	if (!*value)
		return &slices->unknown[what];
	struct counter *counter = good(value) ? counter_of(list, value) : NULL;
	if (!counter)
		return &slices->other[what];
	counter->count++;
	return has_place(list, counter, &class->placed[what]) ? counter : &slices->other[what];
}

/* Its number in this batch, given if it has none. */
static int number_of(struct slices *slices, struct counter *counter, enum slice_what what,
		     uint32_t *ret_number)
{
	if (counter->batch != slices->batch) {
		struct slice *list =
			grow_array(slices->list, &slices->room, slices->count, sizeof(*list));
		if (!list)
			return -1;
		slices->list = list;
		struct slice *slice = &list[slices->count];
		slice->what = what;
		strcpy(slice->value, counter->value);
		counter->number = slices->count++;
		counter->batch = slices->batch;
	}
	*ret_number = counter->number;
	return 0;
}

int slices_of(struct slices *slices, const struct report *report, uint32_t ret[static SLICE_WAYS],
	      struct err *err)
{
	char os[16] = "";
	uint32_t numbers[SLICE_WAYS];
	struct class_slices *class = class_of(slices, report);
	if (!class)
		return err_nomem(err);
	if (report->os_major)
		snprintf(os, sizeof(os), "%u", report->os_major);
	const char *const values[SLICE_WAYS] = {[SLICE_OS] = os, [SLICE_RUNTIME] = report->runtime};
	for (unsigned w = 0; w < SLICE_WAYS; w++)
		if (number_of(slices, find(slices, class, w, values[w]), w, &numbers[w]))
			return err_nomem(err);
	memcpy(ret, numbers, sizeof(numbers));
	return 0;
}

const struct slice *slices_at(const struct slices *slices, uint32_t number)
{
	return &slices->list[number];
}

void slices_renumber(struct slices *slices)
{
	slices->batch++;
	slices->count = 0;
}
