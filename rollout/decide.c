#include "rollout/decide.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SRM_LOG_E 9.210340371976184  /* ln(1e4): the arms are not filled as planned */
#define CALM_LOG_E 2.995732273553991 /* ln(20): above it a gate is too suspicious to go on */
#define SILENT_WINDOWS 2
#define LEAST_COMPLETE 0.5    /* summaries of those that are due */
#define COMPLETE_SLACK 0.1    /* by which the candidate may be less complete than control */

static void say(struct decision *d, enum decision_kind kind, const char *fmt, ...)
	PRINTF_LIKE(3, 4);
static void say(struct decision *d, enum decision_kind kind, const char *fmt, ...)
{
	va_list args;
	d->kind = kind;
	va_start(args, fmt);
	vsnprintf(d->reason, sizeof(d->reason), fmt, args);
	va_end(args);
}

/* ---- taking back ---- */

static bool must_roll_back(const struct evidence *e, const struct circumstances *c,
			   struct decision *d)
{
	const double needs = policy_rollback_threshold(c->policy, c->lanes);
	for (unsigned i = 0; i < policy_gate_count; i++) {
		struct evidence_gate g;
		evidence_gate(e, i, &g);
		if (g.log_e < needs)
			continue;
		say(d, DECIDE_ROLL_BACK,
		    "%s: %.0f of %.0f candidate units %s, %.0f of %.0f in control (log E %.1f, needs"
		    " %.1f)",
		    g.gate->name, g.total.k_t, g.total.n_t, g.gate->what, g.total.k_c, g.total.n_c,
		    g.log_e, needs);
		return true;
	}
	return false;
}

/* ---- holding ---- */

static bool must_hold(const struct evidence *e, const struct circumstances *c, struct decision *d)
{
	struct evidence_stage s;
	evidence_stage(e, c->lane->stage, &s);
	if (s.srm_log_e >= SRM_LOG_E)
		say(d, DECIDE_HOLD,
		    "sample-ratio: %lld candidates and %lld in control entered, not as planned; look"
		    " for a client that drops one arm",
		    (long long)s.entered[0], (long long)s.entered[1]);
	else if (evidence_silent_windows(e) >= SILENT_WINDOWS)
		say(d, DECIDE_HOLD,
		    "blind: no report in %u windows where devices that entered should send some; look"
		    " at telemetry",
		    evidence_silent_windows(e));
	else
		return false;
	return true;
}

/* ---- going on ---- */

static double share(int64_t part, int64_t whole)
{
	return whole > 0 ? (double)part / (double)whole : 0;
}

/* The first thing that is still missing before this stage is passed; false: nothing. */
static bool waits(const struct evidence *e, const struct circumstances *c, char out[static 200])
{
	const struct policy *p = c->policy;
	const struct policy_stage *stage = &p->stages[c->lane->stage - 1];
	const int64_t soaked = c->now - c->lane->since;
	struct evidence_stage s;
	evidence_stage(e, c->lane->stage, &s);
	const int64_t units = s.summaries[0] + s.summaries[1];
	if (soaked < stage->min_soak_s) {
		snprintf(out, 200, "soaks for another %lld min",
			 (long long)((stage->min_soak_s - soaked) / 60));
		return true;
	}
	if (units < p->min_units || s.summaries[0] < p->min_candidate) {
		snprintf(out, 200,
			 "has %lld summaries, %lld of them of candidates; needs %lld and %lld",
			 (long long)units, (long long)s.summaries[0], (long long)p->min_units,
			 (long long)p->min_candidate);
		return true;
	}
	const double complete = share(s.summaries[0], s.due[0]);
	const double control = share(s.summaries[1], s.due[1]);
	if (complete < LEAST_COMPLETE || complete < control - COMPLETE_SLACK) {
		snprintf(out, 200,
			 "has summaries of %.0f %% of the candidates that are due, %.0f %% in control",
			 complete * 100, control * 100);
		return true;
	}
	return false;
}

static bool guards_pass(const struct evidence *e, const struct circumstances *c,
			char out[static 200])
{
	const double needs = policy_promote_threshold(c->policy);
	for (unsigned i = 0; i < policy_guard_count; i++) {
		struct evidence_guard g;
		evidence_guard(e, i, c->lane->stage, &g);
		if (g.not_reported || g.log_e >= needs)
			continue;
		snprintf(out, 200, "%s not yet shown to be no worse (log E %.1f, needs %.1f)",
			 g.guard->what, g.log_e, needs);
		return false;
	}
	return true;
}

static bool all_calm(const struct evidence *e, char out[static 200])
{
	for (unsigned i = 0; i < policy_gate_count; i++) {
		struct evidence_gate g;
		evidence_gate(e, i, &g);
		if (g.log_e < CALM_LOG_E)
			continue;
		snprintf(out, 200, "%s is suspicious (log E %.1f)", g.gate->name, g.log_e);
		return false;
	}
	return true;
}

/* Everybody who entered is past its last window, and still a guard is undecided. */
static bool exhausted(const struct evidence *e, const struct circumstances *c)
{
	const struct clockwork *k = &c->lane->clock;
	struct evidence_stage s;
	evidence_stage(e, c->lane->stage, &s);
	const int64_t whole = (k->windows + 2) * k->window_s + k->jitter_s + k->report_grace_s;
	return s.last_entered && c->now > s.last_entered + 2 * whole &&
	       c->now > c->lane->since + 2 * whole && s.entered[0] > 0 &&
	       s.summaries[0] + s.summaries[1] > 0;
}

static bool wants_approval(const struct circumstances *c, struct decision *d)
{
	const struct policy *p = c->policy;
	const unsigned next = c->lane->stage; /* index of the next stage */
	if (next >= p->stage_count)
		return false;
	if (p->stages[next].approval)
		say(d, DECIDE_HOLD, "approval: stage %u waits for an operator", next + 1);
	else if (!c->authentic && p->stages[next].ppm > DECIDE_FORGERY_PPM)
		say(d, DECIDE_HOLD,
		    "approval: beyond 25 %% an operator decides while reports carry no ingest token");
	else
		return false;
	return true;
}

static void stay_or_go(const struct evidence *e, const struct circumstances *c,
		       struct decision *d)
{
	const struct policy_stage *stage = &c->policy->stages[c->lane->stage - 1];
	char why[200] = "";
	const bool ready = !waits(e, c, why) && guards_pass(e, c, why) && all_calm(e, why);
	if (ready) {
		if (!wants_approval(c, d))
			say(d, DECIDE_ADVANCE, "all guards passed");
	} else if (c->now - c->lane->since > stage->max_s) {
		say(d, DECIDE_HOLD, "inconclusive: the stage's time is over; %.120s", why);
	} else if (exhausted(e, c)) {
		say(d, DECIDE_HOLD, "exhausted: all who entered have reported; %.120s", why);
	}
}

void decide(const struct evidence *e, const struct circumstances *c, struct decision *d)
{
	*d = (struct decision){DECIDE_NOTHING, ""};
	if (must_roll_back(e, c, d) || c->lane->state != LANE_RUNNING)
		return;
	if (!must_hold(e, c, d))
		stay_or_go(e, c, d);
}

/* ---- explaining ---- */

static json_t *pair(double n, double k)
{
	return json_pack("{s:I, s:I}", "n", (json_int_t)n, "k", (json_int_t)k);
}

static double ratio(const struct gate_counts *n)
{
	const double control = n->n_c > 0 ? n->k_c / n->n_c : 0;
	const double candidate = n->n_t > 0 ? n->k_t / n->n_t : 0;
	return control > 0 ? candidate / control : 0;
}

static json_t *common(const char *metric, const char *role, const struct gate_counts *n,
		      double log_e, double needs)
{
	const double r = ratio(n);
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:f, s:f}", "metric", metric, "role", role,
			 "candidate", pair(n->n_t, n->k_t), "control", pair(n->n_c, n->k_c), "ratio",
			 r > 0 ? json_real(r) : json_null(), "log_e", log_e, "threshold", needs);
}

static void explain_gate(json_t *list, const struct evidence *e, unsigned i, double needs)
{
	struct evidence_gate g;
	char text[240];
	evidence_gate(e, i, &g);
	const bool fired = g.log_e >= needs;
	json_t *item = common(g.gate->name, "rollback", &g.total, g.log_e, needs);
	json_object_set_new(item, "lower", g.has_lower ? json_real(g.lower) : json_null());
	json_object_set_new(item, "upper", g.has_upper ? json_real(g.upper) : json_null());
	json_object_set_new(item, "state", json_string(fired ? "fired" : "watching"));
	snprintf(text, sizeof(text), "%s: %.0f of %.0f candidate units %s, %.0f of %.0f in control%s",
		 g.gate->name, g.total.k_t, g.total.n_t, g.gate->what, g.total.k_c, g.total.n_c,
		 fired ? "; this takes the candidate back" : "");
	json_object_set_new(item, "sentence", json_string(text));
	json_array_append_new(list, item);
}

static void explain_guard(json_t *list, const struct evidence *e, unsigned i, unsigned stage,
			  double needs)
{
	struct evidence_guard g;
	char text[240];
	evidence_guard(e, i, stage, &g);
	const bool passed = g.not_reported || g.log_e >= needs;
	json_t *item = common(g.guard->name, "promote", &g.total, g.log_e, needs);
	json_object_set_new(item, "lower", json_null());
	json_object_set_new(item, "upper", json_null());
	json_object_set_new(item, "state", json_string(passed ? "passed" : "waiting"));
	snprintf(text, sizeof(text), "%s: %s", g.guard->what,
		 g.not_reported ? "no device reports it, nothing to compare"
		 : passed	? "shown to be no worse than the margin"
				: "not yet shown to be no worse; more devices or time will tell");
	json_object_set_new(item, "sentence", json_string(text));
	json_array_append_new(list, item);
}

static json_t *exposure(const struct evidence *e, const struct circumstances *c)
{
	struct evidence_stage s;
	struct decision d;
	char why[200] = "";
	evidence_stage(e, c->lane->stage, &s);
	decide(e, c, &d);
	if (d.kind == DECIDE_NOTHING && !waits(e, c, why) && guards_pass(e, c, why))
		all_calm(e, why);
	return json_pack("{s:{s:I, s:I}, s:{s:I, s:I}, s:f, s:s}", "entered", "candidate",
			 (json_int_t)s.entered[0], "control", (json_int_t)s.entered[1], "summaries",
			 "candidate", (json_int_t)s.summaries[0], "control",
			 (json_int_t)s.summaries[1], "sample_ratio_log_e", s.srm_log_e, "waits_for",
			 d.kind == DECIDE_NOTHING ? why : d.reason);
}

json_t *decide_explain(const struct evidence *e, const struct circumstances *c)
{
	json_t *gates = json_array();
	const double rollback = policy_rollback_threshold(c->policy, c->lanes);
	const double promote = policy_promote_threshold(c->policy);
	for (unsigned i = 0; i < policy_gate_count; i++)
		explain_gate(gates, e, i, rollback);
	for (unsigned i = 0; i < policy_guard_count; i++)
		explain_guard(gates, e, i, c->lane->stage, promote);
	return json_pack("{s:s, s:I, s:s, s:o, s:o}", "class", c->lane->class, "stage",
			 (json_int_t)c->lane->stage, "state", lane_state_names[c->lane->state],
			 "exposure", exposure(e, c), "gates", gates);
}
