#include "rollout/family.h"

#include "base/crew.h"
#include "rollout/evidence_internal.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct member {
	struct evidence *evidence;
	bool gone;		     /* rolled back */
	double closed[POLICY_GATES]; /* adjusted log E of strict gates */
};

struct family {
	struct policy policy;
	bool robust;
	unsigned count;
	struct member *members;
	double pooled[POLICY_GATES];
};

static void nothing_known(struct family *f)
{
	for (unsigned i = 0; i < POLICY_GATES; i++) {
		f->pooled[i] = -INFINITY;
		for (unsigned m = 0; m < f->count; m++)
			f->members[m].closed[i] = -INFINITY;
	}
}

static int in_order(const void *a, const void *b)
{
	return strcmp(evidence_class(((const struct member *)a)->evidence),
		      evidence_class(((const struct member *)b)->evidence));
}

int family_new(struct family **ret_family, const struct policy *policy, const struct lane *lanes,
	       unsigned count, bool robust, struct err *err)
{
	AUTO(family_free) struct family *f = calloc(1, sizeof(*f));
	if (f)
		f->members = calloc(count + 1, sizeof(*f->members));
	if (!f || !f->members)
		return err_nomem(err);
	f->policy = *policy;
	f->robust = robust;
	for (unsigned i = 0; i < count; i++) {
		struct member *m = &f->members[f->count];
		if (lanes[i].state == LANE_SKIPPED || !lane_leads(&lanes[i]))
			continue;
		if (evidence_new(&m->evidence, &lanes[i], policy, err))
			return -1;
		m->gone = lanes[i].state == LANE_ROLLED_BACK;
		f->count++;
	}
	if (f->count)
		qsort(f->members, f->count, sizeof(*f->members), in_order);
	nothing_known(f);
	*ret_family = TAKE(f);
	return 0;
}

void family_free(struct family *family)
{
	if (!family)
		return;
	for (unsigned i = 0; i < family->count; i++)
		evidence_free(family->members[i].evidence);
	free(family->members);
	free(family);
}

unsigned family_lanes(const struct family *family)
{
	return family->count;
}

const struct policy *family_policy(const struct family *family)
{
	return &family->policy;
}

bool family_robust(const struct family *family)
{
	return family->robust;
}

static int by_class(const void *key, const void *member)
{
	return strcmp(key, evidence_class(((const struct member *)member)->evidence));
}

static struct member *member_of(const struct family *f, const char *class)
{
	return bsearch(class, f->members, f->count, sizeof(*f->members), by_class);
}

struct evidence *family_evidence(const struct family *family, const char *class)
{
	const struct member *m = member_of(family, class);
	return m ? m->evidence : NULL;
}

double family_pooled(const struct family *family, unsigned gate)
{
	return family->pooled[gate];
}

double family_closed(const struct family *family, const char *class, unsigned gate)
{
	const struct member *m = member_of(family, class);
	return m ? m->closed[gate] : -INFINITY;
}

/* ---- pooled ---- */

/* How many of the most telling lanes the pool does without. */
static unsigned left_out(const struct family *f)
{
	unsigned gone = 0;
	for (unsigned i = 0; i < f->count; i++)
		gone += f->members[i].gone;
	return gone + (f->count >= 8 ? f->count / 4 : 1);
}

static int pool_gate(void *arg, unsigned gate, unsigned worker, struct err *err)
{
	unsigned columns = 0;
	struct family *f = arg;
	double *rows = calloc((size_t)f->count * EVIDENCE_CAPITAL, sizeof(*rows));
	(void)worker;
	for (unsigned i = 0; i < f->count && rows; i++) {
		double capital[EVIDENCE_CAPITAL];
		columns = evidence_capital(f->members[i].evidence, gate, f->robust, capital);
		memcpy(rows + (size_t)i * columns, capital, columns * sizeof(*capital));
	}
	const int bad =
		!rows || gate_pool(rows, f->count, columns, left_out(f), &f->pooled[gate]);
	free(rows);
	return bad ? err_nomem(err) : 0;
}

static int pool_all(struct family *f, unsigned workers, struct err *err)
{
	const struct crew_job job = {policy_gate_count, pool_gate, f};
	return left_out(f) < f->count ? crew_run(&job, workers, err) : 0;
}

/* ---- the closed test ---- */

struct hypotheses {
	double *log_e, *weight;
	unsigned count;
	bool near; /* one may pass: adjusting never raises */
};

static bool counts_here(const struct family *f, unsigned gate)
{
	return policy_strict(&policy_gates[gate]) && f->policy.gates[gate].weight > 0;
}

static void hypotheses_of(const struct family *f, struct hypotheses *h)
{
	const double needs = policy_strict_threshold(&f->policy);
	for (unsigned m = 0; m < f->count; m++)
		for (unsigned i = 0; i < policy_gate_count; i++) {
			if (!counts_here(f, i))
				continue;
			const double log_e = evidence_log_e(f->members[m].evidence, i, f->robust);
			h->log_e[h->count] = log_e;
			h->weight[h->count] = f->policy.gates[i].weight;
			h->near |= log_e >= needs;
			h->count++;
		}
}

static void take_adjusted(struct family *f, const double *adjusted)
{
	unsigned at = 0;
	for (unsigned m = 0; m < f->count; m++)
		for (unsigned i = 0; i < policy_gate_count; i++)
			if (counts_here(f, i))
				f->members[m].closed[i] = adjusted[at++];
}

static int close_strict(struct family *f, struct err *err)
{
	const size_t most = (size_t)f->count * policy_gate_count;
	struct hypotheses h = {.log_e = calloc(most + 1, sizeof(double)),
			       .weight = calloc(most + 1, sizeof(double))};
	int bad = !h.log_e || !h.weight;
	if (!bad) {
		hypotheses_of(f, &h);
		if (h.near && h.count <= GATE_FAMILY_MAX) {
			bad = gate_closed(h.log_e, h.weight, h.count, h.log_e);
			if (!bad)
				take_adjusted(f, h.log_e);
		}
	}
	free(h.log_e);
	free(h.weight);
	return bad ? err_nomem(err) : 0;
}

/* ---- news ---- */

int family_weigh(struct family *f, unsigned workers, struct err *err)
{
	nothing_known(f);
	return pool_all(f, workers, err) || close_strict(f, err) ? -1 : 0;
}

struct updating {
	struct family *family;
	const struct family_news *news;
	struct evidence_source sources[CREW_MOST]; /* with strata, which are too large for each lane */
	unsigned workers; /* of which they are begun */
	atomic_bool any;
};

/* In one transaction, or each of many small questions would lock the database anew; but one a lane, since
 * nothing of the write-ahead log goes while a reader is in it. */
static int learn(const struct member *m, const struct evidence_source *source, const struct lane *lane,
		 bool *ret_news, struct err *err)
{
	if (db_begin(source->db, err))
		return -1;
	const int bad = evidence_update(m->evidence, source, lane, ret_news, err);
	db_rollback(source->db);
	return bad;
}

static int update_one(void *arg, unsigned item, unsigned worker, struct err *err)
{
	struct updating *u = arg;
	const struct lane *lane = &u->news->lanes[item];
	struct member *m = member_of(u->family, lane->class);
	const bool gone = lane->state == LANE_ROLLED_BACK;
	bool news;
	if (!m)
		return 0;
	if (learn(m, &u->sources[worker], lane, &news, err))
		return err_in(err, "lane %s/%s", lane->rollout, lane->class);
	if (news || gone != m->gone)
		atomic_store(&u->any, true);
	m->gone = gone;
	return 0;
}

static void sources_end(const struct updating *u)
{
	for (unsigned i = 0; i < u->workers; i++)
		free(u->sources[i].strata);
}

static int sources_begin(struct updating *u, unsigned workers, struct err *err)
{
	for (; u->workers < workers; u->workers++) {
		struct evidence_source *source = &u->sources[u->workers];
		*source = u->news->sources[u->workers];
		source->strata = calloc(u->family->policy.stage_count, sizeof(*source->strata));
		if (!source->strata)
			return err_nomem(err);
	}
	return 0;
}

int family_update(struct family *f, const struct family_news *news, bool *ret_any, struct err *err)
{
	struct updating u = {.family = f, .news = news, .any = false};
	const unsigned sources = news->source_count < CREW_MOST ? news->source_count : CREW_MOST;
	const struct crew_job job = {news->count, update_one, &u};
	const int bad = sources_begin(&u, sources < news->count ? sources : news->count, err) ||
			crew_run(&job, u.workers, err);
	sources_end(&u);
	*ret_any = u.any;
	return bad || (u.any && family_weigh(f, sources, err)) ? -1 : 0;
}
