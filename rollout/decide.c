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

/* What a gate counts, as a sentence goes on after its name and a colon. */
static void describe(const struct evidence_gate *g, char out[static 160])
{
	const struct gate_counts *n = &g->total;
	if (g->gate->source == GATE_OUTCOME_MEAN)
		snprintf(out, 160, "candidates %s by %.1f %% on average (%.0f devices), control by %.1f %%",
			 g->gate->what, n->n_t > 0 ? n->k_t / n->n_t * 100 : 0, n->n_t,
			 n->n_c > 0 ? n->k_c / n->n_c * 100 : 0);
	else if (g->gate->source == GATE_WINDOW_VIEWS)
		snprintf(out, 160,
			 "%.0f of %.0f candidate units %s (beyond control's p95), %.0f of %.0f in control",
			 n->k_t, n->n_t, g->gate->what, n->k_c, n->n_c);
	else
		snprintf(out, 160, "%.0f of %.0f candidate units %s, %.0f of %.0f in control", n->k_t,
			 n->n_t, g->gate->what, n->k_c, n->n_c);
}

/* Whether a gate of this lane fires, by its own threshold or by the closed test. */
static bool fires(const struct evidence *e, const struct circumstances *c, unsigned gate)
{
	if (evidence_log_e(e, gate, !c->authentic) >= policy_gate_threshold(c->policy, gate, c->lanes))
		return true;
	return c->family && policy_strict(&policy_gates[gate]) &&
	       family_closed(c->family, evidence_class(e), gate) >=
		       policy_strict_threshold(c->policy);
}

static bool pool_fires(const struct circumstances *c, unsigned gate)
{
	return c->family &&
	       family_pooled(c->family, gate) >= policy_pool_threshold(c->policy, gate);
}

static void about_gate(struct decision *d, const struct evidence_gate *g)
{
	d->gate = g->gate;
	d->phi = g->phi;
}

static void say_pooled(const struct evidence *e, const struct circumstances *c, unsigned gate,
		       struct decision *d)
{
	char text[160];
	struct evidence_gate g;
	evidence_gate(e, gate, !c->authentic, &g);
	describe(&g, text);
	say(d, DECIDE_ROLL_BACK_ALL,
	    "%s, pooled over %u lanes: log E %.1f, needs %.1f; here %.120s", g.gate->name, c->lanes,
	    family_pooled(c->family, gate), policy_pool_threshold(c->policy, gate), text);
	about_gate(d, &g);
}

static bool must_roll_back(const struct evidence *e, const struct circumstances *c,
			   struct decision *d)
{
	for (unsigned i = 0; i < policy_gate_count; i++) {
		char text[160];
		struct evidence_gate g;
		if (!fires(e, c, i))
			continue;
		evidence_gate(e, i, !c->authentic, &g);
		describe(&g, text);
		say(d, DECIDE_ROLL_BACK, "%s: %s (log E %.1f, needs %.1f)", g.gate->name, text,
		    g.log_e, policy_gate_threshold(c->policy, i, c->lanes));
		about_gate(d, &g);
		return true;
	}
	for (unsigned i = 0; i < policy_gate_count; i++)
		if (pool_fires(c, i)) {
			say_pooled(e, c, i, d);
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

/* Devices that have entered later than their summaries closed are summed up and not due yet: complete is
 * complete. */
static double share(int64_t part, int64_t whole)
{
	return whole > 0 ? fmin(1, (double)part / (double)whole) : 0;
}

/* The first thing that is still missing before this stage is passed; false: nothing. */
static bool waits(const struct evidence *e, const struct circumstances *c, char out[static 200])
{
	const struct policy *p = c->policy;
	const struct policy_stage *stage = &p->stages[c->lane->stage - 1];
	const int64_t soaked = c->now - c->lane->since - c->down_s;
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
			struct decision *d, char out[static 200])
{
	const double needs = policy_promote_threshold(c->policy);
	for (unsigned i = 0; i < policy_guard_count; i++) {
		const double log_e = evidence_guard_log_e(e, i, c->lane->stage);
		if (log_e >= needs || evidence_guard_silent(e, i, c->lane->stage))
			continue;
		snprintf(out, 200, "%s not yet shown to be no worse (log E %.1f, needs %.1f)",
			 policy_guards[i].what, log_e, needs);
		d->guard = &policy_guards[i];
		return false;
	}
	return true;
}

static bool all_calm(const struct evidence *e, const struct circumstances *c, struct decision *d,
		     char out[static 200])
{
	struct evidence_stage s;
	evidence_stage(e, c->lane->stage, &s);
	if (s.srm_log_e >= CALM_LOG_E) {
		snprintf(out, 200, "the sample ratio is suspicious (log E %.1f)", s.srm_log_e);
		return false;
	}
	for (unsigned i = 0; i < policy_gate_count; i++) {
		const double log_e = evidence_log_e(e, i, !c->authentic);
		if (log_e < CALM_LOG_E || !c->policy->gates[i].weight)
			continue;
		snprintf(out, 200, "%s is suspicious (log E %.1f)", policy_gates[i].name, log_e);
		struct evidence_gate g;
		evidence_gate(e, i, !c->authentic, &g);
		about_gate(d, &g);
		return false;
	}
	return true;
}

/* Until when somebody who entered may not be past its last window and the deadline of its outcome. */
static int64_t last_word(const struct evidence_stage *s, const struct lane *lane)
{
	const struct clockwork *k = &lane->clock;
	const int64_t used = (k->windows + 2) * k->window_s + k->jitter_s + k->report_grace_s;
	const int64_t silent = k->outcome_deadline_s + k->jitter_s + k->report_grace_s;
	return (s->last_entered > lane->since ? s->last_entered : lane->since) +
	       2 * (used > silent ? used : silent);
}

/* Everybody who entered has had the last word, and still a guard is undecided. */
static bool exhausted(const struct evidence *e, const struct circumstances *c)
{
	struct evidence_stage s;
	evidence_stage(e, c->lane->stage, &s);
	/* Who could not report has not been silent. */
	return s.last_entered && c->now - c->down_s > last_word(&s, c->lane) && s.entered[0] > 0 &&
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
	const bool ready = !waits(e, c, why) && guards_pass(e, c, d, why) && all_calm(e, c, d, why);
	if (ready) {
		if (!wants_approval(c, d))
			say(d, DECIDE_ADVANCE, "all guards passed");
	} else if (c->now - c->lane->since - c->down_s > stage->max_s) {
		say(d, DECIDE_HOLD, "inconclusive: the stage's time is over; %.120s", why);
	} else if (exhausted(e, c)) {
		say(d, DECIDE_HOLD, "exhausted: all who entered have reported; %.120s", why);
	}
}

void decide(const struct evidence *e, const struct circumstances *c, struct decision *d)
{
	*d = (struct decision){.kind = DECIDE_NOTHING};
	if (must_roll_back(e, c, d) || c->lane->state != LANE_RUNNING)
		return;
	if (!must_hold(e, c, d))
		stay_or_go(e, c, d);
}

void decide_locate(const struct slice_table *slices, struct decision *d)
{
	struct slice_fault fault;
	char text[SLICE_TEXT];
	const bool found = d->gate	? slice_of_gate(slices, d->gate, d->phi, &fault)
			   : d->guard && slice_of_guard(slices, d->guard, &fault);
	if (!found)
		return;
	slice_sentence(&fault, slice_min_cohort(slices), text);
	const size_t len = strlen(d->reason);
	snprintf(d->reason + len, sizeof(d->reason) - len, "; %s", text);
}

int64_t decide_again(const struct evidence *e, const struct circumstances *c)
{
	const struct policy_stage *stage = &c->policy->stages[c->lane->stage - 1];
	struct evidence_stage s;
	if (c->lane->state != LANE_RUNNING)
		return INT64_MAX;
	evidence_stage(e, c->lane->stage, &s);
	const int64_t at[] = {c->lane->since + stage->min_soak_s,
			      c->lane->since + stage->max_s + 1, last_word(&s, c->lane) + 1};
	int64_t next = INT64_MAX;
	for (unsigned i = 0; i < COUNT_OF(at); i++)
		if (at[i] + c->down_s > c->now && at[i] + c->down_s < next)
			next = at[i] + c->down_s;
	return next;
}

/* ---- explaining ---- */

static json_t *pair(double n, double k)
{
	return json_pack("{s:I, s:I}", "n", (json_int_t)n, "k", (json_int_t)llround(k));
}

static double ratio(const struct gate_counts *n)
{
	const double control = n->n_c > 0 ? n->k_c / n->n_c : 0;
	const double candidate = n->n_t > 0 ? n->k_t / n->n_t : 0;
	return control > 0 ? candidate / control : 0;
}

/* JSON knows no infinity. */
static json_t *real_or_null(double x)
{
	return isfinite(x) ? json_real(x) : json_null();
}

static json_t *common(const char *metric, const char *role, const struct gate_counts *n,
		      double log_e, double needs)
{
	const double r = ratio(n);
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:f, s:o, s:o}", "metric", metric, "role", role,
			 "candidate", pair(n->n_t, n->k_t), "control", pair(n->n_c, n->k_c), "ratio",
			 r > 0 ? json_real(r) : json_null(), "log_e", log_e, "e_value",
			 real_or_null(exp(log_e)), "threshold", real_or_null(needs));
}

static void set_bounds(json_t *item, const struct evidence_bounds *b)
{
	json_object_set_new(item, "lower", b->has_lower ? json_real(b->lower) : json_null());
	json_object_set_new(item, "upper", b->has_upper ? json_real(b->upper) : json_null());
}

/* Why it has decided, or what it would still take. */
static void explain_state(const struct evidence_gate *g, const char *state, double needs,
			  char out[static 100])
{
	if (!strcmp(state, "off"))
		snprintf(out, 100, "; this gate is off");
	else if (!strcmp(state, "fired"))
		snprintf(out, 100, "; this takes the candidate back");
	else if (!strcmp(state, "fired, pooled"))
		snprintf(out, 100, "; with the other lanes' this takes the candidate back everywhere");
	else if (g->total.n_t <= 0 || g->total.n_c <= 0)
		snprintf(out, 100, "; waits for units of both arms");
	else
		snprintf(out, 100, "; no regression beyond the margin shown (log E %.1f, needs %.1f)",
			 g->log_e, needs);
}

/* Sentence and slice into an item. */
static void set_sentence(json_t *item, const struct circumstances *c, const char *text,
			 const struct slice_fault *fault)
{
	char where[SLICE_TEXT];
	json_t *slice = fault ? slice_json(c->slices, fault) : json_null();
	if (fault)
		slice_sentence(fault, slice_min_cohort(c->slices), where);
	json_object_set_new(item, "slice", slice);
	json_object_set_new(item, "sentence",
			    fault ? json_sprintf("%s; %s", text, where) : json_string(text));
}

static void explain_gate(json_t *list, const struct evidence *e, unsigned i,
			 const struct circumstances *c)
{
	struct evidence_gate g;
	char counted[160], why[100], text[320];
	const double needs = policy_gate_threshold(c->policy, i, c->lanes);
	evidence_gate(e, i, !c->authentic, &g);
	const char *state = !c->policy->gates[i].weight ? "off"
			    : fires(e, c, i)	       ? "fired"
			    : pool_fires(c, i)	       ? "fired, pooled"
						       : "watching";
	json_t *item = common(g.gate->name, "rollback", &g.total, g.log_e, needs);
	set_bounds(item, &g.bounds);
	json_object_set_new(item, "deflated_by", json_real(g.phi));
	json_object_set_new(item, "pooled_log_e",
			    c->family ? real_or_null(family_pooled(c->family, i)) : json_null());
	json_object_set_new(item, "pooled_threshold",
			    real_or_null(policy_pool_threshold(c->policy, i)));
	json_object_set_new(item, "state", json_string(state));
	describe(&g, counted);
	explain_state(&g, state, needs, why);
	snprintf(text, sizeof(text), "%s: %s%s", g.gate->name, counted, why);
	/* Of what is neither shown nor suspected there is no place to name. */
	struct slice_fault fault;
	const bool found = c->slices && (!strncmp(state, "fired", 5) || g.log_e >= CALM_LOG_E) &&
			   slice_of_gate(c->slices, g.gate, g.phi, &fault);
	set_sentence(item, c, text, found ? &fault : NULL);
	json_array_append_new(list, item);
}

static void explain_guard(json_t *list, const struct evidence *e, unsigned i,
			  const struct circumstances *c)
{
	struct evidence_guard g;
	char text[240];
	const double needs = policy_promote_threshold(c->policy);
	evidence_guard(e, i, c->lane->stage, &g);
	const bool passed = g.not_reported || g.log_e >= needs;
	json_t *item = common(g.guard->name, "promote", &g.total, g.log_e, needs);
	set_bounds(item, &g.bounds);
	json_object_set_new(item, "margin", json_pack("{s:f, s:f}", "ratio", g.rho, "plus", g.delta));
	json_object_set_new(item, "state", json_string(passed ? "passed" : "waiting"));
	if (g.not_reported)
		snprintf(text, sizeof(text), "%s: no device reports it, nothing to compare",
			 g.guard->what);
	else
		snprintf(text, sizeof(text),
			 "%s: %.0f of %.0f candidate devices, %.0f of %.0f in control; %sshown to be no"
			 " worse than %.2f times and %.3g %% more (log E %.1f, needs %.1f)",
			 g.guard->what, g.total.k_t, g.total.n_t, g.total.k_c, g.total.n_c,
			 passed ? "" : "not yet ", g.rho, g.delta * 100, g.log_e, needs);
	struct slice_fault fault;
	const bool found = c->slices && !passed && slice_of_guard(c->slices, g.guard, &fault);
	set_sentence(item, c, text, found ? &fault : NULL);
	json_array_append_new(list, item);
}

static json_t *exposure(const struct evidence *e, const struct circumstances *c)
{
	struct evidence_stage s;
	struct decision d;
	char why[200] = "";
	evidence_stage(e, c->lane->stage, &s);
	decide(e, c, &d);
	if (d.kind == DECIDE_NOTHING && !waits(e, c, why) && guards_pass(e, c, &d, why))
		all_calm(e, c, &d, why);
	return json_pack("{s:{s:I, s:I}, s:{s:I, s:I}, s:f, s:s}", "entered", "candidate",
			 (json_int_t)s.entered[0], "control", (json_int_t)s.entered[1], "summaries",
			 "candidate", (json_int_t)s.summaries[0], "control",
			 (json_int_t)s.summaries[1], "sample_ratio_log_e", s.srm_log_e, "waits_for",
			 d.kind == DECIDE_NOTHING ? why : d.reason);
}

json_t *decide_explain(const struct evidence *e, const struct circumstances *c)
{
	json_t *gates = json_array();
	for (unsigned i = 0; i < policy_gate_count; i++)
		explain_gate(gates, e, i, c);
	for (unsigned i = 0; i < policy_guard_count; i++)
		explain_guard(gates, e, i, c);
	return json_pack("{s:s, s:I, s:s, s:o, s:o}", "class", c->lane->class, "stage",
			 (json_int_t)c->lane->stage, "state", lane_state_names[c->lane->state],
			 "exposure", exposure(e, c), "gates", gates);
}
