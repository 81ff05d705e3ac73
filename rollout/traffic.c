#include "rollout/traffic.h"

#include "base/json.h"
#include "manifest/class_store.h"
#include "rollout/evidence.h"
#include "telemetry/cells.h"

#include <stdlib.h>
#include <string.h>

#define DAY_S 86400

static struct cells_key usage_key(const struct traffic_query *q, const char *metric)
{
	return (struct cells_key){.channel = q->channel, .class = q->class, .model = q->model,
				  .rollout = "", .arm = REPORT_ARM_NONE, .kind = "usage",
				  .metric = metric};
}

/* The most devices that were active on one whole day, and their mean. */
static int count_active(struct db *db, const struct traffic_query *q, int64_t *ret_most,
			double *ret_mean, struct err *err)
{
	const struct cells_key key = usage_key(q, "usage");
	const int64_t today = q->now / DAY_S;
	int64_t most = 0, days = 0, all = 0;
	for (int64_t day = today - TRAFFIC_DAYS; day < today; day++) {
		struct cell sum;
		if (cells_sum(db, &key, day * DAY_S, (day + 1) * DAY_S, true, &sum, err))
			return -1;
		most = sum.k > most ? sum.k : most;
		all += sum.k;
		days += sum.k > 0;
	}
	*ret_most = most;
	*ret_mean = days ? (double)all / (double)days : 0;
	return 0;
}

static int read_ttft(struct db *db, const struct traffic_query *q, struct plan_usage *usage,
		     struct err *err)
{
	uint64_t counts[SKETCH_BUCKETS] = {0};
	const struct cells_key key = usage_key(q, "ttft_ms.p95");
	if (cells_read_buckets(db, &key, q->now - (int64_t)TRAFFIC_DAYS * DAY_S, q->now, counts,
			       SKETCH_BUCKETS, err))
		return -1;
	for (unsigned b = 0; b < SKETCH_BUCKETS; b++)
		usage->ttft[b] = (double)counts[b];
	return 0;
}

static int read_usage(struct db *db, const struct traffic_query *q, struct plan_usage *usage,
		      struct err *err)
{
	char *text;
	if (evidence_baseline(db, q->channel, q->class, q->model, q->now, &text, err))
		return -1;
	json_auto_t *baseline = json_parse(text, strlen(text), "baseline", err);
	free(text);
	if (!baseline)
		return -1;
	plan_usage_read(usage, baseline);
	return read_ttft(db, q, usage, err);
}

int traffic_read(struct db *db, const struct traffic_query *q, struct plan_lane *ret_lane,
		 bool *ret_counted, struct err *err)
{
	struct class_settings s;
	struct plan_lane lane = {0};
	json_auto_t *object = NULL;
	int64_t version, most;
	double mean;
	if (class_get(db, q->class, &s, &object, &version, err) ||
	    count_active(db, q, &most, &mean, err) || read_usage(db, q, &lane.usage, err))
		return -1;
	lane.clock = (struct clockwork){s.window_s,		s.windows,	  s.jitter_s,
					s.outcome_deadline_s, s.report_grace_s, s.devices};
	*ret_counted = most > 0 && most >= q->min_cohort;
	lane.devices = (double)(*ret_counted ? most : s.devices);
	lane.active = *ret_counted ? mean / (double)most : TRAFFIC_ACTIVE;
	*ret_lane = lane;
	return 0;
}
