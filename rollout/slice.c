#include "rollout/slice.h"

#include "base/arena.h"
#include "telemetry/cells.h"
#include "telemetry/slices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_ARENA (4 << 20)
#define PRIOR_DEVICES 100 /* weight of the class's rate in a slice's */
#define LEAST_EVENTS 3
#define LEAST_UNITS 3 /* graded ones, of each arm, in a slice and beside it */
#define MILLION 1000000

enum { CANDIDATE, CONTROL };

struct row {
	struct cells_slice cells;
	struct row *next;
};
struct slice_table {
	struct arena *arena;
	struct row *rows;
	int64_t min_cohort;
};

/* ---- reading ---- */

static int keep(void *arg, const struct cells_slice *cells, struct err *err)
{
	struct slice_table *table = arg;
	struct row *row = arena_alloc(table->arena, sizeof(*row));
	if (cells->what < 0 || cells->what >= SLICE_WAYS)
		return 0;
	if (!row)
		return err_nomem(err);
	*row = (struct row){*cells, table->rows};
	row->cells.kind = arena_strdup(table->arena, cells->kind);
	row->cells.metric = arena_strdup(table->arena, cells->metric);
	row->cells.value = arena_strdup(table->arena, cells->value);
	if (!row->cells.kind || !row->cells.metric || !row->cells.value)
		return err_nomem(err);
	table->rows = row;
	return 0;
}

int slice_table_read(struct slice_table **ret_table, struct db *db, const char *rollout,
		     const char *class, int64_t min_cohort, struct err *err)
{
	AUTO(slice_table_free) struct slice_table *table = calloc(1, sizeof(*table));
	if (table)
		table->arena = arena_new(TABLE_ARENA);
	if (!table || !table->arena)
		return err_nomem(err);
	table->min_cohort = min_cohort;
	if (cells_read_slices(db, rollout, class, keep, table, err))
		return err_in(err, "slices of lane %s/%s", rollout, class);
	*ret_table = TAKE(table);
	return 0;
}

void slice_table_free(struct slice_table *table)
{
	if (!table)
		return;
	arena_free(table->arena);
	free(table);
}

int64_t slice_min_cohort(const struct slice_table *table)
{
	return table->min_cohort;
}

/* ---- parts ---- */

/* What is asked about: k of (kind, metric), or of missing: enters without arrivals. */
struct question {
	const char *kind, *metric;
	bool missing, graded, low_is_bad;
	double phi;
};
/* One slice, or several together. */
struct part {
	double devices[2], n[2], k[2], nn[2];
};

static const struct cells_slice *find(const struct slice_table *table, const char *kind,
				      const char *metric, const struct cells_slice *like)
{
	for (const struct row *row = table->rows; row; row = row->next)
		if (row->cells.what == like->what && !strcmp(row->cells.value, like->value) &&
		    !strcmp(row->cells.kind, kind) && !strcmp(row->cells.metric, metric))
			return &row->cells;
	return NULL;
}

/* The slice whose devices that entered stand in a row. */
static struct part part_of(const struct slice_table *table, const struct question *q,
			   const struct cells_slice *entered)
{
	struct part part = {.k = {0}};
	const struct cells_slice *cells = q->missing ? find(table, "arrived", "outcome", entered)
						     : find(table, q->kind, q->metric, entered);
	for (unsigned a = 0; a < 2; a++) {
		part.devices[a] = (double)entered->n[a];
		part.n[a] = cells ? (double)cells->n[a] : 0;
		part.k[a] = cells ? (double)cells->k[a] : 0;
		part.nn[a] = cells ? (double)cells->nn[a] : 0;
		if (q->missing)
			part.k[a] = fmax(0, part.devices[a] - part.n[a]);
	}
	return part;
}

static void add(struct part *sum, const struct part *part, double sign)
{
	for (unsigned a = 0; a < 2; a++) {
		sum->devices[a] += sign * part->devices[a];
		sum->n[a] += sign * part->n[a];
		sum->k[a] += sign * part->k[a];
		sum->nn[a] += sign * part->nn[a];
	}
}

/* Whether a row tells who entered in a slice of this kind. */
static bool tells(const struct row *row, enum slice_what what)
{
	return row->cells.what == what && !strcmp(row->cells.kind, "enter");
}

/* ---- scores: log likelihood ratios of a fault here against one everywhere ---- */

/* Events that the slice's candidates would have if they were as its control is, for shares. */
static double prone(const struct part *part, const struct part *all)
{
	const double rate = (all->k[CONTROL] + 0.5) / fmax(1, all->devices[CONTROL]);
	const double half = 0.5 * part->devices[CONTROL] / fmax(1, all->devices[CONTROL]);
	return part->devices[CANDIDATE] * (part->k[CONTROL] + half + PRIOR_DEVICES * rate) /
	       (part->devices[CONTROL] + PRIOR_DEVICES);
}

static double score_events(const struct part *part, const struct part *all, double prone_all)
{
	const double k = part->k[CANDIDATE], of = all->k[CANDIDATE];
	const double even = prone_all > 0 ? of * prone(part, all) / prone_all : 0;
	if (k < LEAST_EVENTS || k <= even || even <= 0)
		return 0;
	const double rest = of - k;
	return k * log(k / even) + (rest > 0 ? rest * log(rest / (of - even)) : 0);
}

static double mean(const struct part *part, unsigned arm)
{
	return part->n[arm] > 0 ? part->k[arm] / part->n[arm] : 0;
}

static double score_grades(const struct part *part, const struct part *all, bool low_is_bad)
{
	struct part rest = *all;
	double inverse = 0, square = 0, n = 0;
	add(&rest, part, -1);
	for (unsigned a = 0; a < 2; a++) {
		if (part->n[a] < LEAST_UNITS || rest.n[a] < LEAST_UNITS)
			return 0;
		inverse += 1 / part->n[a] + 1 / rest.n[a];
		square += all->nn[a] - all->k[a] * mean(all, a);
		n += all->n[a];
	}
	const double worse = (mean(part, CANDIDATE) - mean(part, CONTROL)) -
			     (mean(&rest, CANDIDATE) - mean(&rest, CONTROL));
	const double z = (low_is_bad ? -worse : worse) / sqrt(fmax(square / n, 1e-6) * inverse);
	return z > 0 ? z * z / 2 : 0;
}

/* ---- the most telling slice ---- */

static void note(struct slice_fault *fault, const struct question *q, const struct row *row,
		 const struct part *part, const struct part *all)
{
	*fault = (struct slice_fault){
		.what = slice_what_names[row->cells.what], .value = row->cells.value,
		.graded = q->graded, .of = all->k[CANDIDATE],
		.all_devices = all->devices[CANDIDATE] + all->devices[CONTROL]};
	for (unsigned a = 0; a < 2; a++) {
		fault->k[a] = part->k[a];
		fault->mean[a] = mean(part, a);
		fault->devices[a] = part->devices[a];
	}
}

static double search(const struct slice_table *table, const struct question *q, enum slice_what what,
		     double most, struct slice_fault *fault)
{
	struct part all = {.k = {0}};
	double prone_all = 0;
	for (const struct row *row = table->rows; row; row = row->next)
		if (tells(row, what)) {
			const struct part part = part_of(table, q, &row->cells);
			add(&all, &part, 1);
		}
	for (const struct row *row = table->rows; row; row = row->next)
		if (tells(row, what)) {
			const struct part part = part_of(table, q, &row->cells);
			prone_all += prone(&part, &all);
		}
	for (const struct row *row = table->rows; row; row = row->next) {
		if (!tells(row, what))
			continue;
		const struct part part = part_of(table, q, &row->cells);
		const double score = (q->graded ? score_grades(&part, &all, q->low_is_bad)
						: score_events(&part, &all, prone_all)) / q->phi;
		if (score > most) {
			most = score;
			note(fault, q, row, &part, &all);
		}
	}
	return most;
}

static double devices_of(const struct slice_fault *fault)
{
	return fault->devices[CANDIDATE] + fault->devices[CONTROL];
}

static bool answer(const struct slice_table *table, const struct question *q,
		   struct slice_fault *ret_fault)
{
	struct slice_fault fault = {.named = false};
	double most = SLICE_TELLING;
	for (unsigned w = 0; w < SLICE_WAYS; w++)
		most = search(table, q, (enum slice_what)w, most, &fault);
	if (most <= SLICE_TELLING)
		return false;
	/* Nor may it tell the others, by what is left of all. */
	const double in = devices_of(&fault), out = fault.all_devices - in;
	fault.named = in >= (double)table->min_cohort && (out <= 0 || out >= (double)table->min_cohort);
	*ret_fault = fault;
	return true;
}

bool slice_of_gate(const struct slice_table *table, const struct policy_gate *gate, double phi,
		   struct slice_fault *ret_fault)
{
	struct question q = {.kind = "outcome", .metric = gate->metric, .phi = phi > 1 ? phi : 1};
	switch (gate->source) {
	case GATE_WINDOW:
		q.kind = "window";
		break;
	case GATE_MISSING:
		q.missing = true;
		break;
	case GATE_WINDOW_VIEWS:
		/* Few enough windows are counted by slice to stand for devices. */
		q = (struct question){.kind = "window", .graded = true, .phi = 1};
		break;
	case GATE_OUTCOME_MEAN:
		q.graded = true;
		break;
	case GATE_OUTCOME:
		break;
	}
	if (q.graded) {
		q.metric = policy_hists[gate->hist].metric;
		q.low_is_bad = policy_hists[gate->hist].low_is_bad;
	}
	return answer(table, &q, ret_fault);
}

bool slice_of_guard(const struct slice_table *table, const struct policy_guard *guard,
		    struct slice_fault *ret_fault)
{
	const struct question q = {.kind = "summary", .phi = 1,
				   .metric = guard->source == GUARD_P95
						     ? policy_hists[HIST_TTFT].metric : guard->metric,
				   .missing = guard->source == GUARD_MISSING,
				   .graded = guard->source == GUARD_P95};
	return answer(table, &q, ret_fault);
}

/* ---- telling ---- */

void slice_sentence(const struct slice_fault *f, int64_t min_cohort, char out[static SLICE_TEXT])
{
	const double share = f->all_devices > 0 ? devices_of(f) / f->all_devices * 100 : 0;
	char where[40] = "under 1 %";
	if (share >= 0.5)
		snprintf(where, sizeof(where), "%.0f %%", share);
	if (!f->named)
		snprintf(out, SLICE_TEXT, "mostly in a slice by %s of fewer than %lld devices, not named",
			 f->what, (long long)min_cohort);
	else if (f->graded)
		snprintf(out, SLICE_TEXT, "mostly on %s %.48s, where %s of devices are", f->what, f->value,
			 where);
	else
		snprintf(out, SLICE_TEXT, "%.0f of %.0f on %s %.48s, where %s of devices are",
			 f->k[CANDIDATE], f->of, f->what, f->value, where);
}

static json_t *arm_json(const struct slice_fault *f, unsigned arm)
{
	json_t *object = json_pack("{s:I}", "devices", (json_int_t)f->devices[arm]);
	if (f->graded)
		json_object_set_new(object, "mean_bucket", json_real(f->mean[arm]));
	else
		json_object_set_new(object, "k", json_integer((json_int_t)f->k[arm]));
	return object;
}

json_t *slice_json(const struct slice_table *table, const struct slice_fault *f)
{
	char sentence[SLICE_TEXT];
	slice_sentence(f, table->min_cohort, sentence);
	if (!f->named)
		return json_pack("{s:s}", "sentence", sentence);
	json_t *object = json_pack("{s:s, s:s, s:o, s:o, s:I, s:s}", "by", f->what, "value", f->value,
				   "candidate", arm_json(f, CANDIDATE), "control", arm_json(f, CONTROL),
				   "devices_ppm", (json_int_t)(devices_of(f) / f->all_devices * MILLION),
				   "sentence", sentence);
	if (object && !f->graded)
		json_object_set_new(object, "of", json_integer((json_int_t)f->of));
	return object;
}
