/* What a lane starts from: how often its stable release fails, how clustered that is, and how fast
 * it answers, from the usage reports of the days before. */
#include "base/json.h"
#include "rollout/evidence.h"
#include "telemetry/sketch.h"

#include <stdlib.h>
#include <string.h>

#define DAYS 14
#define DAY_S 86400
#define BURN_IN 300

struct usage {
	struct db *db;
	struct cells_key key;
	int64_t from, to;
	struct cell all; /* n: device-days, x: windows used, nn: their squares */
	struct err *err;
};

static int usage_sum(struct usage *u, const char *metric, struct cell *ret)
{
	u->key.metric = metric;
	return cells_sum(u->db, &u->key, u->from, u->to, true, ret, u->err);
}

static int add_counter(struct usage *u, const char *metric, json_t *window, json_t *summary)
{
	struct cell c;
	if (usage_sum(u, metric, &c))
		return -1;
	const struct gate_clusters clusters = {(double)u->all.x, (double)c.k, (double)u->all.nn,
					       (double)c.kk, (double)c.nk};
	json_t *w = json_pack("{s:I, s:I, s:f}", "n", (json_int_t)u->all.x, "k", (json_int_t)c.k,
			      "phi", gate_phi(&clusters));
	json_t *s = json_pack("{s:I, s:I}", "n", (json_int_t)u->all.n, "k", (json_int_t)c.x);
	const bool bad = json_object_set_new(window, metric, w) ||
			 json_object_set_new(summary, metric, s);
	return bad ? err_nomem(u->err) : 0;
}

static int add_counters(struct usage *u, json_t *baseline)
{
	json_t *window = json_object(), *summary = json_object();
	if (json_object_set_new(baseline, "window", window) ||
	    json_object_set_new(baseline, "summary", summary))
		return err_nomem(u->err);
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (policy_gates[i].source == GATE_WINDOW &&
		    add_counter(u, policy_gates[i].metric, window, summary))
			return -1;
	return 0;
}

/* How stable's device-days are spread, where enough of them told. */
static int add_hist(struct usage *u, const char *metric, json_t *hists)
{
	uint64_t counts[SKETCH_BUCKETS] = {0}, all = 0;
	unsigned first = SKETCH_BUCKETS, end = 0;
	u->key.metric = metric;
	if (cells_read_buckets(u->db, &u->key, u->from, u->to, counts, SKETCH_BUCKETS, u->err))
		return -1;
	for (unsigned b = 0; b < SKETCH_BUCKETS; b++) {
		all += counts[b];
		if (counts[b]) {
			first = first < b ? first : b;
			end = b + 1;
		}
	}
	if (all < BURN_IN)
		return 0;
	json_t *list = json_array();
	for (unsigned b = first; b < end; b++)
		json_array_append_new(list, json_integer((json_int_t)counts[b]));
	json_t *h = json_pack("{s:I, s:o}", "o", (json_int_t)first, "c", list);
	return json_object_set_new(hists, metric, h) ? err_nomem(u->err) : 0;
}

static int add_hists(struct usage *u, json_t *baseline)
{
	json_t *hists = json_object();
	if (json_object_set_new(baseline, "h", hists))
		return err_nomem(u->err);
	return add_hist(u, policy_hists[HIST_TTFT].metric, hists); /* the strict guard's */
}

static int fill(struct usage *u, json_t *baseline)
{
	if (usage_sum(u, "usage", &u->all))
		return -1;
	if (u->all.n < BURN_IN || u->all.x <= 0)
		return 0; /* too little to know anything: gates start from weak guesses */
	const double per_device = (double)u->all.nn / (double)u->all.x;
	if (json_object_set_new(baseline, "windows_per_device", json_real(per_device)))
		return err_nomem(u->err);
	return add_counters(u, baseline) || add_hists(u, baseline) ? -1 : 0;
}

int evidence_baseline(struct db *db, const char *channel, const char *class, const char *model,
		      int64_t now, char **ret_text, struct err *err)
{
	struct usage u = {.db = db, .from = now - DAYS * DAY_S, .to = now, .err = err};
	u.key = (struct cells_key){.channel = channel, .class = class, .model = model,
				   .rollout = "", .arm = REPORT_ARM_NONE, .kind = "usage"};
	json_auto_t *baseline = json_object();
	if (!baseline)
		return err_nomem(err);
	if (fill(&u, baseline))
		return -1;
	char *text = json_text(baseline);
	if (!text)
		return err_nomem(err);
	*ret_text = text;
	return 0;
}
