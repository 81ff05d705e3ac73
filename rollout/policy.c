#include "rollout/policy_internal.h"

#include "base/json.h"

#include <math.h>
#include <string.h>

#define DAY_S 86400

static const int64_t default_ppm[] = {10000, 50000, 200000, 500000, 950000};
static const int64_t default_ratio_pm[] = {2000, 1500, 1250};

static void stage_default(struct policy_stage *stage, unsigned index, int64_t ppm)
{
	const unsigned last = COUNT_OF(default_ratio_pm) - 1;
	*stage = (struct policy_stage){.ppm = ppm,
				       .min_soak_s = DAY_S,
				       .max_s = 7 * DAY_S,
				       .ratio_pm = default_ratio_pm[index < last ? index : last]};
}

void policy_default(struct policy *policy)
{
	*policy = (struct policy){.stage_count = COUNT_OF(default_ppm),
				  .alpha_ppm = 10000,
				  .promote_alpha_ppm = 50000,
				  .min_units = 300,
				  .min_candidate = 100};
	for (unsigned i = 0; i < policy->stage_count; i++)
		stage_default(&policy->stages[i], i, default_ppm[i]);
	policy_default_gates(policy);
}

static int read_stage(struct policy *policy, unsigned index, const json_t *object,
		      struct err *err)
{
	struct policy_stage *stage = &policy->stages[index];
	const int64_t below = index ? policy->stages[index - 1].ppm : 0;
	stage_default(stage, index, 0);
	const struct json_field fields[] = {
		FIELD_INT("ppm", &stage->ppm, .min = 1000, .max = 950000),
		FIELD_INT("min_soak_s", &stage->min_soak_s, .optional = true, .min = 600,
			  .max = 30 * DAY_S),
		FIELD_INT("max_s", &stage->max_s, .optional = true, .min = 600, .max = 90 * DAY_S),
		FIELD_INT("ratio_pm", &stage->ratio_pm, .optional = true, .min = 1000,
			  .max = 10000),
		FIELD_INT("delta_ppm", &stage->delta_ppm, .optional = true, .max = 1000000),
		FIELD_BOOL("approval", &stage->approval, .optional = true),
	};
	if (json_read(object, fields, COUNT_OF(fields), err))
		return err_in(err, "stages[%u]", index);
	if (stage->ppm <= below)
		return err_set(err, ERR_INVALID,
			       "stages[%u]: ppm: must be above the stage before, %lld", index,
			       (long long)below);
	if (stage->max_s < stage->min_soak_s)
		return err_set(err, ERR_INVALID, "stages[%u]: max_s: shorter than min_soak_s",
			       index);
	return 0;
}

static int read_stages(struct policy *policy, const json_t *list, struct err *err)
{
	size_t i;
	json_t *object;
	policy->stage_count = (unsigned)json_array_size(list);
	json_array_foreach (list, i, object)
		if (read_stage(policy, (unsigned)i, object, err))
			return -1;
	return 0;
}

int policy_read(struct policy *policy, const json_t *body, struct err *err)
{
	json_t *stages = NULL, *gates = NULL;
	policy_default(policy);
	const struct json_field fields[] = {
		FIELD_ARRAY("stages", &stages, .optional = true, .min = 1, .max = POLICY_STAGES),
		FIELD_INT("alpha_ppm", &policy->alpha_ppm, .optional = true, .min = 1,
			  .max = 200000),
		FIELD_INT("promote_alpha_ppm", &policy->promote_alpha_ppm, .optional = true,
			  .min = 1, .max = 500000),
		FIELD_INT("abort_after_lanes", &policy->abort_after_lanes, .optional = true,
			  .max = 1000),
		FIELD_INT("min_units", &policy->min_units, .optional = true, .min = 300),
		FIELD_INT("min_candidate", &policy->min_candidate, .optional = true, .min = 100),
		FIELD_ARRAY("gates", &gates, .optional = true, .max = POLICY_GATES),
	};
	if (json_read_loose(body, fields, COUNT_OF(fields), err) ||
	    policy_read_gates(policy, gates, err))
		return -1;
	return stages ? read_stages(policy, stages, err) : 0;
}

static json_t *stage_json(const struct policy_stage *stage)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:b}", "ppm", (json_int_t)stage->ppm,
			 "min_soak_s", (json_int_t)stage->min_soak_s, "max_s", (json_int_t)stage->max_s,
			 "ratio_pm", (json_int_t)stage->ratio_pm, "delta_ppm",
			 (json_int_t)stage->delta_ppm, "approval", (int)stage->approval);
}

json_t *policy_json(const struct policy *policy)
{
	json_t *stages = json_array();
	for (unsigned i = 0; i < policy->stage_count; i++)
		if (json_array_append_new(stages, stage_json(&policy->stages[i]))) {
			json_decref(stages);
			return NULL;
		}
	return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "stages", stages, "gates",
			 policy_gates_json(policy), "alpha_ppm",
			 (json_int_t)policy->alpha_ppm, "promote_alpha_ppm",
			 (json_int_t)policy->promote_alpha_ppm, "abort_after_lanes",
			 (json_int_t)policy->abort_after_lanes, "min_units",
			 (json_int_t)policy->min_units, "min_candidate",
			 (json_int_t)policy->min_candidate);
}

double policy_promote_threshold(const struct policy *policy)
{
	return -log((double)policy->promote_alpha_ppm / 1e6);
}

double policy_delta(const struct policy *policy, unsigned stage, int64_t devices)
{
	const struct policy_stage *s = &policy->stages[stage - 1];
	const double h = devices > 0 ? 160.0 / (double)devices : 1.0;
	const double share = (double)s->ppm / 1e6;
	if (s->delta_ppm)
		return (double)s->delta_ppm / 1e6;
	return fmin((h > 0.0005 ? h : 0.0005) / share, 1.0);
}
