/* Closed cells into strata, in order of their time. */
#include "rollout/evidence_internal.h"

#include "base/grow.h"

#include <stdlib.h>
#include <string.h>

/* One mark's rows on their way into strata: those of one time meet, and are then fed. */
struct reading {
	struct evidence *e;
	struct db *db;
	const struct span *span; /* what is to be read; NULL: it is asked of db */
	enum cells_mark mark;
	int64_t at;		/* of the strata */
	struct stratum *strata; /* one a stage */

	/* Buckets of all times, ordered by them, and the first that was not met yet. */
	struct bucket_row {
		int64_t at, n;
		unsigned stage, arm, bucket;
		enum policy_hist hist;
	} *buckets;
	uint32_t count, room, next;
	enum policy_hist hist; /* being read */
};

/* What a mark reads: cells of a kind, or two, and histograms. */
static const struct {
	const char *kind, *other;
	bool hists[POLICY_HISTS];
} reads[CELLS_MARKS] = {
	[CELLS_SLOT] = {"outcome", "enter", {[HIST_PROBE] = true}},
	[CELLS_WINDOW] = {"window", NULL,
			  {[HIST_TTFT] = true, [HIST_ENERGY] = true, [HIST_DECODE] = true}},
	[CELLS_SUMMARY] = {"summary", "enter", {[HIST_TTFT] = true}},
	[CELLS_MISSING] = {"arrived", "enter", {false}},
};

static unsigned arm_index(enum report_arm arm)
{
	return arm == REPORT_ARM_CANDIDATE ? EVIDENCE_CANDIDATE : EVIDENCE_CONTROL;
}

/* ---- buckets ---- */

static int keep_bucket(void *arg, const struct cells_row *row, struct err *err)
{
	struct reading *r = arg;
	const struct policy_hist_info *info = &policy_hists[r->hist];
	if (row->arm == REPORT_ARM_NONE || !row->stage ||
	    row->stage > r->e->policy.stage_count || row->bucket >= info->len)
		return 0;
	struct bucket_row *rows = grow_array(r->buckets, &r->room, r->count, sizeof(*rows));
	if (!rows)
		return err_nomem(err);
	r->buckets = rows;
	rows[r->count++] = (struct bucket_row){
		.at = row->at, .n = row->cell.n, .stage = row->stage, .arm = arm_index(row->arm),
		.bucket = info->low_is_bad ? info->len - 1 - row->bucket : row->bucket,
		.hist = r->hist};
	return 0;
}

static int by_time(const void *a, const void *b)
{
	const int64_t x = ((const struct bucket_row *)a)->at, y = ((const struct bucket_row *)b)->at;
	return (x > y) - (x < y);
}

static int read_hist(struct reading *r, const struct cells_lane *lane, int64_t to, struct err *err)
{
	const char *metric = policy_hists[r->hist].metric;
	const int64_t from = r->e->closed[r->mark];
	return r->span ? span_lane_buckets(r->span, r->db, lane, metric, from, to, keep_bucket, r, err)
		       : cells_read_lane_buckets(r->db, lane, metric, from, to, keep_bucket, r, err);
}

static int read_buckets(struct reading *r, const struct cells_lane *lane, int64_t to,
			struct err *err)
{
	for (unsigned h = 0; h < POLICY_HISTS; h++) {
		r->hist = (enum policy_hist)h;
		if (reads[r->mark].hists[h] && read_hist(r, lane, to, err))
			return -1;
	}
	if (r->count)
		qsort(r->buckets, r->count, sizeof(*r->buckets), by_time);
	return 0;
}

/* Buckets of a time join its strata.  A time that has buckets has rows too. */
static void join(struct reading *r)
{
	for (; r->next < r->count && r->buckets[r->next].at <= r->at; r->next++) {
		const struct bucket_row *b = &r->buckets[r->next];
		if (b->at != r->at)
			continue;
		r->strata[b->stage - 1].any = true;
		r->strata[b->stage - 1].hist[b->hist][b->arm][b->bucket] += (double)b->n;
	}
}

/* ---- rows ---- */

static void note_entered(struct evidence *e, const struct cells_row *row)
{
	int64_t *last = &e->stages[row->stage - 1].seen.last_entered;
	if (row->at > *last)
		*last = row->at;
}

static void add_events(struct stratum *s, const struct cells_row *row, unsigned arm)
{
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (!strcmp(policy_gates[i].metric, row->metric))
			s->gates[i][arm] += row->cell.k;
	for (unsigned i = 0; i < policy_guard_count; i++)
		if (!strcmp(policy_guards[i].metric, row->metric))
			s->guards[i][arm] += row->cell.k;
}

static int take_row(void *arg, const struct cells_row *row, struct err *err)
{
	struct reading *r = arg;
	if (row->at != r->at) { /* those of the time before are whole */
		if (evidence_feed(r->e, r->mark, r->at, r->strata, err))
			return -1;
		r->at = row->at;
		join(r);
	}
	if (!row->stage || row->stage > r->e->policy.stage_count || row->arm == REPORT_ARM_NONE)
		return 0;
	struct stratum *s = &r->strata[row->stage - 1];
	const unsigned a = arm_index(row->arm);
	s->any = true;
	if (!strcmp(row->kind, "enter")) {
		s->entered[a] += row->cell.n;
		note_entered(r->e, row);
	} else if (!strcmp(row->kind, "arrived")) {
		s->arrived[a] += row->cell.n;
	} else if (!strcmp(row->metric, row->kind)) {
		s->n[a] += row->cell.n;
	}
	add_events(s, row, a);
	return 0;
}

static int read_mark(struct reading *r, int64_t to, struct err *err)
{
	const struct cells_lane lane = {r->e->rollout, r->e->class, reads[r->mark].kind,
					reads[r->mark].other};
	const int64_t from = r->e->closed[r->mark];
	if (read_buckets(r, &lane, to, err) ||
	    (r->span ? span_lane(r->span, &lane, from, to, take_row, r, err)
		     : cells_read_lane(r->db, &lane, from, to, take_row, r, err)))
		return -1;
	return evidence_feed(r->e, r->mark, r->at, r->strata, err);
}

static int update_mark(struct evidence *e, const struct evidence_source *source,
		       enum cells_mark mark, int64_t to, struct err *err)
{
	const struct span *span = source->spans[mark];
	struct reading r = {.e = e, .db = source->db, .mark = mark, .at = INT64_MIN,
			    .span = span_covers(span, e->closed[mark], to) ? span : NULL};
	struct stratum *own = NULL;
	if (!source->strata)
		own = calloc(e->policy.stage_count, sizeof(*own));
	r.strata = source->strata ? source->strata : own;
	if (!r.strata)
		return err_nomem(err);
	const int bad = read_mark(&r, to, err);
	free(own);
	free(r.buckets);
	return bad;
}

/* Whether the lane's stage begins anew; what made it hold is forgotten then, as a replay would not see it.
 * Of a lane that is over since is when it ended, and all of it is shown. */
static bool resumed(struct evidence *e, const struct lane *lane)
{
	const int64_t since = lane_active(lane->state) ? lane->since : lane->started;
	if (since == e->since && lane->stage == e->stage)
		return false;
	if (lane->stage && lane->stage <= e->policy.stage_count)
		gate_srm_init(&e->stages[lane->stage - 1].srm);
	silence_from(&e->silence, since);
	e->since = since;
	e->stage = lane->stage;
	return true;
}

int evidence_update(struct evidence *e, const struct evidence_source *source,
		    const struct lane *lane, bool *ret_news, struct err *err)
{
	*ret_news = resumed(e, lane);
	for (unsigned m = 0; m < CELLS_MARKS; m++) {
		if (lane->closed[m] <= e->closed[m])
			continue;
		if (update_mark(e, source, (enum cells_mark)m, lane->closed[m], err))
			return -1;
		if (m == CELLS_WINDOW)
			silence_closed(&e->silence, lane->closed[m], source->down);
		e->closed[m] = lane->closed[m];
		*ret_news = true;
	}
	return 0;
}
