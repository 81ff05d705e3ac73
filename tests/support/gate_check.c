#include "tests/support/gate_check.h"

#include "telemetry/gate.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BUCKETS 4096
#define FAMILY 4096

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static double at(const json_t *list, size_t i)
{
	return json_number_value(json_array_get(list, i));
}

static void compare_value(struct gate_check_group *g, double have, const json_t *want)
{
	const double b = json_number_value(want);
	const double error = json_is_number(want) ? fabs(have - b) / fmax(1, fabs(b)) : INFINITY;
	g->numbers++;
	if (!(error <= g->worst)) /* also catches NaN */
		g->worst = isnan(error) ? INFINITY : error;
}

static void compare(struct gate_check_group *g, double have, const json_t *out, const char *name)
{
	compare_value(g, have, json_object_get(out, name));
}

static struct gate_counts counts_of(const json_t *w)
{
	return (struct gate_counts){at(w, 0), at(w, 1), at(w, 2), at(w, 3)};
}

static void check_component(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	const struct gate_margin margin = {
		number(in, "dir") > 0 ? GATE_ROLLBACK : GATE_PROMOTE, number(in, "rho"),
		number(in, "delta")};
	const struct gate_counts n = {number(in, "nT"), number(in, "kT"), number(in, "nC"),
				      number(in, "kC")};
	const unsigned j = (unsigned)number(in, "j");
	struct gate_component c;
	if (j >= GATE_BETS) {
		g->worst = INFINITY;
		return;
	}
	gate_bet_component(&margin, j, number(in, "mu"), &n, &c);
	compare(g, c.g_t, out, "gT");
	compare(g, c.g_c, out, "gC");
	compare(g, c.q_t, out, "qT");
	compare(g, c.q_c, out, "qC");
	compare(g, c.log_w, out, "dlogW");
}

static void check_bernoulli(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	struct gate_mean mean;
	struct gate_bet rollback, promote;
	size_t i;
	json_t *w;
	gate_mean_init(&mean, number(in, "n0"), number(in, "mu0"), 0);
	gate_bet_init(&rollback, GATE_ROLLBACK, number(in, "rho0"), number(in, "delta0"));
	gate_bet_init(&promote, GATE_PROMOTE, number(in, "rho_m"), number(in, "delta_m"));
	json_array_foreach (json_object_get(in, "windows"), i, w) {
		const struct gate_counts n = counts_of(w);
		gate_bet_indicator(&rollback, gate_mean_mu(&mean), &n);
		gate_bet_indicator(&promote, gate_mean_mu(&mean), &n);
		gate_mean_add(&mean, n.n_c, n.k_c, n.k_c);
	}
	for (unsigned j = 0; j < GATE_BETS; j++)
		compare_value(g, rollback.log_w[j],
			      json_array_get(json_object_get(out, "logW_rollback"), j));
	compare(g, gate_bet_log_e(&rollback), out, "logE_rollback");
	compare(g, gate_bet_log_e(&promote), out, "logE_promote");
}

static void check_bound(struct gate_check_group *g, bool have, int bound, const json_t *out,
			const char *name_g, const char *name)
{
	const json_t *want = json_object_get(out, name_g);
	if (have && json_is_number(want)) {
		compare_value(g, bound, want);
		compare(g, gate_grid_ratio(bound), out, name);
	} else if (have != !json_is_null(want)) {
		g->worst = INFINITY;
	}
}

static void check_rate(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	struct gate_rate rollback, promote;
	struct gate_sequence sequence;
	double half = 0, one = 0, two = 0;
	int lower = 0, upper = 0;
	size_t i;
	json_t *w;
	gate_rate_init(&rollback, GATE_ROLLBACK, number(in, "rho0"));
	gate_rate_init(&promote, GATE_PROMOTE, number(in, "rho_m"));
	gate_sequence_init(&sequence);
	json_array_foreach (json_object_get(in, "windows"), i, w) {
		const struct gate_counts n = counts_of(w);
		gate_rate_add(&rollback, &n);
		gate_rate_add(&promote, &n);
		gate_sequence_add(&sequence, &n);
		half += gate_rate_ell(0.5, &n);
		one += gate_rate_ell(1, &n);
		two += gate_rate_ell(2, &n);
	}
	compare(g, half, out, "ell_0p5");
	compare(g, one, out, "ell_1");
	compare(g, two, out, "ell_2");
	compare(g, gate_rate_log_e(&rollback), out, "logE_rollback");
	compare(g, gate_rate_log_e(&promote), out, "logE_promote");
	const double alpha = number(in, "alpha");
	const bool has_lower = gate_sequence_lower(&sequence, alpha, &lower);
	const bool has_upper = gate_sequence_upper(&sequence, alpha, &upper);
	check_bound(g, has_lower, lower, out, "lower_g", "lower");
	check_bound(g, has_upper, upper, out, "upper_g", "upper");
}

static unsigned read_counts(const json_t *list, double *counts)
{
	const unsigned len = (unsigned)json_array_size(list);
	for (unsigned i = 0; i < len && i < BUCKETS; i++)
		counts[i] = at(list, i);
	return len < BUCKETS ? len : BUCKETS;
}

static void check_values(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	struct gate_mean mean;
	struct gate_bet rollback, promote;
	size_t i;
	json_t *w;
	gate_mean_init(&mean, number(in, "n0"), number(in, "mu0"), number(in, "var0"));
	gate_bet_init(&rollback, GATE_ROLLBACK, number(in, "rho0"), number(in, "delta0"));
	gate_bet_init(&promote, GATE_PROMOTE, number(in, "rho_m"), number(in, "delta_m"));
	json_array_foreach (json_object_get(in, "windows"), i, w) {
		double t[BUCKETS], c[BUCKETS], sum = 0, squares = 0;
		const unsigned len = read_counts(json_array_get(w, 0), t);
		read_counts(json_array_get(w, 1), c);
		const double mu = gate_mean_mu(&mean), var = gate_mean_var(&mean);
		gate_bet_values(&rollback, mu, var, t, c, len);
		gate_bet_values(&promote, mu, var, t, c, len);
		for (unsigned b = 0; b < len; b++) {
			const double x = (double)b / (len - 1);
			sum += c[b] * x;
			squares += c[b] * x * x;
		}
		gate_mean_add(&mean, gate_tail(c, len, 0), sum, squares);
	}
	compare(g, gate_bet_log_e(&rollback), out, "logE_rollback");
	compare(g, gate_bet_log_e(&promote), out, "logE_promote");
}

struct view {
	struct gate_mean mean;
	struct gate_bet rollback, promote;
	double k_t, k_c;
};

/* One quantile's exceedance over all windows; its rollback log E. */
static void run_view(struct view *v, const json_t *in, unsigned edge, double mu0)
{
	const unsigned up = (unsigned)number(in, "shift_rollback");
	const unsigned down = (unsigned)number(in, "shift_promote");
	size_t i;
	json_t *w;
	gate_mean_init(&v->mean, number(in, "n0"), mu0, 0);
	gate_bet_init(&v->rollback, GATE_ROLLBACK, number(in, "rho"), number(in, "delta"));
	gate_bet_init(&v->promote, GATE_PROMOTE, number(in, "rho"), number(in, "delta"));
	json_array_foreach (json_object_get(in, "windows"), i, w) {
		double t[BUCKETS], c[BUCKETS];
		const unsigned len = read_counts(json_array_get(w, 0), t);
		read_counts(json_array_get(w, 1), c);
		struct gate_counts n = {gate_tail(t, len, 0), gate_tail(t, len, edge + up),
					gate_tail(c, len, 0), gate_tail(c, len, edge)};
		const double mu = gate_mean_mu(&v->mean);
		gate_bet_indicator(&v->rollback, mu, &n);
		v->k_t += n.k_t;
		v->k_c += n.k_c;
		n.k_t = gate_tail(t, len, edge + down);
		gate_bet_indicator(&v->promote, mu, &n);
		gate_mean_add(&v->mean, n.n_c, n.k_c, n.k_c);
	}
}

static void check_quantile(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	static const struct {
		const char *name;
		double share;
	} views[] = {{"q0.5", 0.5}, {"q0.1", 0.1}, {"q0.05", 0.05}, {"q0.01", 0.01}};
	double base[BUCKETS], log_e[COUNT_OF(views)];
	const unsigned len = read_counts(json_object_get(in, "baseline"), base);
	const double gamma = number(in, "gamma");
	compare(g, gate_shift(number(in, "margin_rollback"), gamma, GATE_ROLLBACK), in,
		"shift_rollback");
	compare(g, gate_shift(number(in, "margin_promote"), gamma, GATE_PROMOTE), in,
		"shift_promote");
	for (unsigned q = 0; q < COUNT_OF(views); q++) {
		const json_t *want = json_object_get(out, views[q].name);
		const unsigned edge = gate_edge(base, len, views[q].share);
		const double mu0 = gate_tail(base, len, edge) / gate_tail(base, len, 0);
		struct view v = {.k_t = 0};
		run_view(&v, in, edge, mu0);
		compare(g, edge, want, "edge");
		compare(g, mu0, want, "mu0");
		compare(g, v.k_t, want, "kT");
		compare(g, v.k_c, want, "kC");
		compare(g, gate_bet_log_e(&v.rollback), want, "logE_rollback");
		compare(g, gate_bet_log_e(&v.promote), want, "logE_promote");
		log_e[q] = gate_bet_log_e(&v.rollback);
	}
	compare(g, gate_log_mean(log_e, COUNT_OF(views)), out, "logE_rollback_avg");
}

static bool listed(const json_t *list, unsigned index)
{
	size_t i;
	json_t *item;
	json_array_foreach (list, i, item)
		if (json_integer_value(item) == (json_int_t)index)
			return true;
	return false;
}

static void compare_set(struct gate_check_group *g, const bool *have, unsigned count,
			const json_t *out, const char *name)
{
	for (unsigned i = 0; i < count; i++) {
		g->numbers++;
		if (have[i] != listed(json_object_get(out, name), i))
			g->worst = INFINITY;
	}
}

static void check_combine(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	double log_e[FAMILY], weight[FAMILY], adjusted[FAMILY];
	bool bonferroni[FAMILY], closed[FAMILY], ebh[FAMILY];
	const json_t *list = json_object_get(in, "logE");
	const unsigned count = (unsigned)json_array_size(list);
	const double alpha = number(in, "alpha");
	if (count > FAMILY) {
		g->worst = INFINITY;
		return;
	}
	for (unsigned i = 0; i < count; i++) {
		log_e[i] = at(list, i);
		weight[i] = at(json_object_get(in, "weight"), i);
	}
	if (gate_closed(log_e, weight, count, adjusted) || gate_ebh(log_e, count, alpha, ebh)) {
		g->worst = INFINITY;
		return;
	}
	compare(g, gate_weighted_mean(log_e, weight, count), out, "log_weighted_mean");
	compare(g, gate_log_mean(log_e, count), out, "log_mean");
	for (unsigned i = 0; i < count; i++) {
		bonferroni[i] = log_e[i] >= -log(alpha * weight[i]);
		closed[i] = adjusted[i] >= -log(alpha);
		compare_value(g, adjusted[i], json_array_get(json_object_get(out, "closed_log_adj"), i));
	}
	compare_set(g, bonferroni, count, out, "bonferroni_reject");
	compare_set(g, closed, count, out, "closed_reject");
	compare_set(g, ebh, count, out, "ebh_reject");
}

static void check_srm(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	struct gate_srm srm;
	size_t i;
	json_t *w;
	gate_srm_init(&srm);
	json_array_foreach (json_object_get(in, "windows_share_countT_share_countC"), i, w)
		gate_srm_add(&srm, at(w, 0), at(w, 1), at(w, 2), at(w, 3));
	compare(g, gate_rate_log_e(&srm.more), out, "logE_more");
	compare(g, gate_rate_log_e(&srm.fewer), out, "logE_fewer");
	compare(g, gate_srm_log_e(&srm), out, "logE_two_sided");
}

static void check_overdispersion(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	const struct gate_clusters clusters = {number(in, "sum_n"), number(in, "sum_k"),
					       number(in, "sum_nn"), number(in, "sum_kk"),
					       number(in, "sum_nk")};
	const double phi = gate_phi(&clusters);
	struct gate_counts n = counts_of(json_object_get(in, "window"));
	struct gate_bet bet;
	n = gate_deflate(&n, phi);
	gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
	gate_bet_indicator(&bet, number(in, "mu"), &n);
	compare(g, phi, out, "phi");
	compare(g, gate_bet_log_e(&bet), out, "logE_window");
}

static void check_robust(struct gate_check_group *g, const json_t *in, const json_t *out)
{
	struct gate_mean mean;
	struct gate_bet bet;
	size_t i;
	json_t *w;
	gate_mean_init(&mean, number(in, "n0"), number(in, "mu0"), 0);
	gate_bet_init(&bet, GATE_ROLLBACK, 1, 0);
	json_array_foreach (json_object_get(in, "windows"), i, w) {
		const struct gate_counts n = counts_of(w);
		gate_bet_indicator(&bet, gate_mean_mu(&mean), &n);
		gate_mean_add(&mean, n.n_c, n.k_c, n.k_c);
	}
	compare(g, gate_bet_log_e(&bet), out, "logE");
	compare(g, gate_bet_log_e_robust(&bet, number(in, "f")), out, "logE_robust");
}

static const struct {
	const char *name;
	void (*check)(struct gate_check_group *, const json_t *in, const json_t *out);
} checks[GATE_CHECK_GROUPS] = {
	{"B_component", check_component}, {"B_bernoulli", check_bernoulli},
	{"R_rate_ratio", check_rate},	  {"B_bounded_mean", check_values},
	{"quantile", check_quantile},	  {"combine", check_combine},
	{"srm", check_srm},		  {"overdispersion", check_overdispersion},
	{"robust", check_robust},
};

/* A group that nobody here checks must not pass in silence. */
static int known_groups(json_t *document)
{
	const char *name;
	json_t *value;
	int bad = 0;
	json_object_foreach (document, name, value) {
		bool known = !strcmp(name, "about") || !strcmp(name, "constants");
		for (unsigned c = 0; c < GATE_CHECK_GROUPS; c++)
			known |= !strcmp(name, checks[c].name);
		if (!known) {
			fprintf(stderr, "%s: unknown group\n", name);
			bad = -1;
		}
	}
	return bad;
}

int gate_check(json_t *document, struct gate_check_group groups[GATE_CHECK_GROUPS])
{
	int bad = known_groups(document);
	for (unsigned c = 0; c < GATE_CHECK_GROUPS; c++) {
		size_t i;
		json_t *vector;
		groups[c] = (struct gate_check_group){.name = checks[c].name};
		json_array_foreach (json_object_get(document, checks[c].name), i, vector)
			checks[c].check(&groups[c], json_object_get(vector, "in"),
					json_object_get(vector, "out"));
		bad |= groups[c].numbers ? 0 : -1;
	}
	return bad;
}
