/* Which gates and guards there are, what a rollout may change of them, and how they share alpha. */
#include "rollout/policy_internal.h"

#include "base/json.h"
#include "telemetry/cells.h"
#include "telemetry/sketch.h"

#include <math.h>
#include <string.h>

#define SCORES (1000 / CELLS_PROBE_STEP + 1)

const struct policy_hist_info policy_hists[POLICY_HISTS] = {
	[HIST_TTFT] = {"ttft_ms.p95", SKETCH_BUCKETS, false},
	[HIST_ENERGY] = {"energy_mj_1k.p95", SKETCH_BUCKETS, false},
	[HIST_DECODE] = {"decode_mtps.p95", SKETCH_BUCKETS, true},
	[HIST_PROBE] = {"probe", SCORES, true},
};

/* clang-format off */
#define RARE 1.05, 0.0002, 0 /* margins: of what hardly ever happens, */
#define SOME 1.05, 0.0005, 0 /* of what happens, */
#define ONCE 1.05, 0.002, 0  /* and of the one first load of a device */
const struct policy_gate policy_gates[] = {
	{"outcome.load",	  GATE_OUTCOME, "result.load",	0, ONCE, 2, "cannot load the model"},
	{"outcome.oom",		  GATE_OUTCOME, "result.oom",	0, ONCE, 2, "run out of memory loading it"},
	{"outcome.crash",	  GATE_OUTCOME, "result.crash",	0, ONCE, 2, "crash on the first load"},
	{"outcome.verify",	  GATE_OUTCOME, "result.verify", 0, ONCE, 1, "get files that do not verify"},
	{"outcome.probe",	  GATE_OUTCOME, "result.probe",	0, ONCE, 1, "fail the probe prompts"},
	{"outcome.probe_score",	  GATE_OUTCOME_MEAN, "", HIST_PROBE, 1.05, 0.01, 0, 1, "miss on the probe prompts"},
	{"missing",		  GATE_MISSING, "missing",	0, 1.25, 0.02, 0, 2, "fall silent after entering"},
	{"window.crash",	  GATE_WINDOW,	"crash",	0, RARE, 2, "crash in use"},
	{"window.err.oom",	  GATE_WINDOW,	"err.oom",	0, RARE, 1, "run out of memory in use"},
	{"window.err.load",	  GATE_WINDOW,	"err.load",	0, RARE, 1, "fail to load in use"},
	{"window.err.timeout",	  GATE_WINDOW,	"err.timeout",	0, SOME, 1, "time out"},
	{"window.thermal.severe", GATE_WINDOW,	"thermal.severe", 0, 1.1, 0.002, 0, 1, "run hot"},
	{"window.fallback.cloud", GATE_WINDOW,	"fallback.cloud", 0, 1.1, 0.002, 0, 1, "fall back to the cloud"},
	{"window.thumb.down",	  GATE_WINDOW,	"thumb.down",	0, SOME, 1, "get a thumbs-down"},
	{"window.regenerate",	  GATE_WINDOW,	"regenerate",	0, 1.1, 0.002, 0, 1, "are asked to answer again"},
	{"window.probe.fail",	  GATE_WINDOW,	"probe.fail",	0, SOME, 1, "fail a probe in use"},
	{"window.ttft_ms.p95",	  GATE_WINDOW_VIEWS, "", HIST_TTFT, 1.0, 0.0, 3, 1, "are slow to the first token"},
	{"window.decode_mtps.p95", GATE_WINDOW_VIEWS, "", HIST_DECODE, 1.0, 0.0, 3, 1, "write slowly"},
	{"window.energy_mj_1k.p95", GATE_WINDOW_VIEWS, "", HIST_ENERGY, 1.0, 0.0, 3, 1, "drain the battery"},
};
const unsigned policy_gate_count = COUNT_OF(policy_gates);

/* Candidates must download before they can report, control need not: "missing" has its own margin. */
const struct policy_guard policy_guards[] = {
	{"crash",	GUARD_SUMMARY,	"crash",	"crashes", 1},
	{"err.load",	GUARD_SUMMARY,	"err.load",	"load errors", 1},
	{"err.oom",	GUARD_SUMMARY,	"err.oom",	"memory exhaustion", 1},
	{"missing",	GUARD_MISSING,	"missing",	"silence after entering", 1.5},
	{"ttft_ms.p95", GUARD_P95,	"ttft_ms",	"slow first tokens", 1},
};
const unsigned policy_guard_count = COUNT_OF(policy_guards);
/* clang-format on */

/* ---- what a rollout may change ---- */

void policy_default_gates(struct policy *policy)
{
	for (unsigned i = 0; i < policy_gate_count; i++)
		policy->gates[i] = (struct policy_weighing){policy_gates[i].rho, policy_gates[i].delta,
							    policy_gates[i].shift,
							    policy_gates[i].weight};
}

static int number_of(const char *name)
{
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (!strcmp(policy_gates[i].name, name))
			return (int)i;
	return -1;
}

static int read_gate(struct policy *policy, size_t index, const json_t *object, struct err *err)
{
	const char *name = "";
	int64_t ratio_pm = -1, delta_ppm = -1, shift = -1, weight = -1;
	const struct json_field fields[] = {
		FIELD_NAME("name", &name),
		FIELD_INT("ratio_pm", &ratio_pm, .optional = true, .min = 1000, .max = 10000),
		FIELD_INT("delta_ppm", &delta_ppm, .optional = true, .max = 500000),
		FIELD_INT("shift", &shift, .optional = true, .max = 64),
		FIELD_INT("weight", &weight, .optional = true, .max = 100),
	};
	if (json_read(object, fields, COUNT_OF(fields), err))
		return err_in(err, "gates[%zu]", index);
	const int number = number_of(name);
	if (number < 0)
		return err_set(err, ERR_INVALID,
			       "gates[%zu]: name: there is no gate %s; rollout gates lists them", index,
			       name);
	struct policy_weighing *g = &policy->gates[number];
	const bool views = policy_gates[number].source == GATE_WINDOW_VIEWS;
	if (views ? ratio_pm >= 0 || delta_ppm >= 0 : shift >= 0)
		return err_set(err, ERR_INVALID, "gates[%zu]: %s: compares %s", index, name,
			       views ? "buckets of 4.4 %; say shift, not ratio_pm or delta_ppm"
				     : "rates; say ratio_pm or delta_ppm, not shift");
	g->rho = ratio_pm >= 0 ? (double)ratio_pm / 1000 : g->rho;
	g->delta = delta_ppm >= 0 ? (double)delta_ppm / 1e6 : g->delta;
	g->shift = shift >= 0 ? (unsigned)shift : g->shift;
	g->weight = weight >= 0 ? (unsigned)weight : g->weight;
	return 0;
}

int policy_read_gates(struct policy *policy, const json_t *list, struct err *err)
{
	size_t i;
	const json_t *object;
	unsigned weight = 0;
	json_array_foreach (list, i, object)
		if (read_gate(policy, i, object, err))
			return -1;
	for (unsigned g = 0; g < policy_gate_count; g++)
		weight += policy->gates[g].weight;
	return weight ? 0
		      : err_set(err, ERR_INVALID, "gates: all are off; at least one must have a weight");
}

static json_t *gate_json(const struct policy *policy, unsigned i)
{
	const struct policy_weighing *g = &policy->gates[i];
	const json_int_t weight = g->weight;
	if (policy_gates[i].source == GATE_WINDOW_VIEWS)
		return json_pack("{s:s, s:I, s:I}", "name", policy_gates[i].name, "shift",
				 (json_int_t)g->shift, "weight", weight);
	return json_pack("{s:s, s:I, s:I, s:I}", "name", policy_gates[i].name, "ratio_pm",
			 (json_int_t)llround(g->rho * 1000), "delta_ppm",
			 (json_int_t)llround(g->delta * 1e6), "weight", weight);
}

/* All of them, so that other defaults of a later version do not change a rollout under way. */
json_t *policy_gates_json(const struct policy *policy)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (json_array_append_new(list, gate_json(policy, i))) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* ---- how they share alpha ---- */

bool policy_strict(const struct policy_gate *gate)
{
	return gate->source != GATE_WINDOW && gate->source != GATE_WINDOW_VIEWS;
}

static double weights(const struct policy *policy, bool strict_only)
{
	double sum = 0;
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (!strict_only || policy_strict(&policy_gates[i]))
			sum += policy->gates[i].weight;
	return sum;
}

double policy_rollback_threshold(const struct policy *policy, unsigned lanes)
{
	const double alpha = (double)policy->alpha_ppm / 1e6;
	return log(2.0 * lanes * weights(policy, false) / alpha);
}

double policy_gate_threshold(const struct policy *policy, unsigned gate, unsigned lanes)
{
	return policy_rollback_threshold(policy, lanes) - log(policy->gates[gate].weight);
}

double policy_pool_threshold(const struct policy *policy, unsigned gate)
{
	return policy_gate_threshold(policy, gate, 1);
}

double policy_strict_threshold(const struct policy *policy)
{
	return policy_rollback_threshold(policy, 1) - log(weights(policy, true));
}
