#include "tests/bench/gates_sim.h"

#include "base/chance.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 2
#define ROWS_MAX 160

bool quick;

/* ---- chance ---- */

struct chance chance_of(uint64_t study, uint64_t run)
{
	return (struct chance){.state = chance_mix(chance_mix(study + 1) + run * CHANCE_STEP)};
}

double chance_uniform(struct chance *c)
{
	return ((double)(chance_next(&c->state) >> 11) + 0.5) / 9007199254740992.0;
}

/* Marsaglia's polar method. */
double chance_normal(struct chance *c)
{
	double x, y, s;
	if (c->has_spare) {
		c->has_spare = false;
		return c->spare;
	}
	do {
		x = 2 * chance_uniform(c) - 1;
		y = 2 * chance_uniform(c) - 1;
		s = x * x + y * y;
	} while (s >= 1 || s == 0);
	const double scale = sqrt(-2 * log(s) / s);
	c->spare = y * scale;
	c->has_spare = true;
	return x * scale;
}

/* Marsaglia, Tsang 2000. */
double chance_gamma(struct chance *c, double shape)
{
	if (shape < 1)
		return chance_gamma(c, shape + 1) * pow(chance_uniform(c), 1 / shape);
	const double d = shape - 1.0 / 3, k = 1 / sqrt(9 * d);
	for (;;) {
		const double x = chance_normal(c);
		const double v = (1 + k * x) * (1 + k * x) * (1 + k * x);
		if (v > 0 && log(chance_uniform(c)) < x * x / 2 + d - d * v + d * log(v))
			return d * v;
	}
}

double chance_mean_propensity(struct chance *c, int64_t n, double cv2)
{
	return n > 0 && cv2 > 0 ? chance_gamma(c, (double)n / cv2) * cv2 / (double)n : 1;
}

/* Adding up probabilities: for small means. */
static int64_t binomial_invert(struct chance *c, int64_t n, double p)
{
	const double odds = p / (1 - p);
	double f = exp((double)n * log1p(-p)), u = chance_uniform(c);
	int64_t k = 0;
	while (u > f && k < n) {
		u -= f;
		k++;
		f *= odds * (double)(n - k + 1) / (double)k;
	}
	return k;
}

static double log_factorial(double k)
{
	int sign;
	return lgamma_r(k + 1, &sign);
}

/* Transformed rejection, BTRS (Hoermann 1993): for means of 10 and more, p <= 1/2. */
static int64_t binomial_reject(struct chance *c, int64_t count, double p)
{
	const double n = (double)count, q = 1 - p, spread = sqrt(n * p * q);
	const double b = 1.15 + 2.53 * spread, a = -0.0873 + 0.0248 * b + 0.01 * p;
	const double center = n * p + 0.5, squeeze = 0.92 - 4.2 / b;
	const double alpha = (2.83 + 5.1 / b) * spread, m = floor((n + 1) * p);
	for (;;) {
		const double u = chance_uniform(c) - 0.5, v = chance_uniform(c);
		const double us = 0.5 - fabs(u), k = floor((2 * a / us + b) * u + center);
		if (k < 0 || k > n)
			continue;
		if (us >= 0.07 && v <= squeeze)
			return (int64_t)k;
		const double bound = log_factorial(m) + log_factorial(n - m) - log_factorial(k) -
				     log_factorial(n - k) + (k - m) * log(p / q);
		if (log(v * alpha / (a / (us * us) + b)) <= bound)
			return (int64_t)k;
	}
}

int64_t chance_binomial(struct chance *c, int64_t n, double p)
{
	if (n <= 0 || p <= 0)
		return 0;
	if (p >= 1)
		return n;
	if (p > 0.5)
		return n - chance_binomial(c, n, 1 - p);
	return (double)n * p < 10 ? binomial_invert(c, n, p) : binomial_reject(c, n, p);
}

/* ---- runs ---- */

struct runner {
	uint64_t study;
	unsigned first, runs;
	run_fn *fn;
	const void *arg;
	double *ret;
};

static void *runner_main(void *arg)
{
	const struct runner *r = arg;
	for (unsigned i = r->first; i < r->runs; i += THREADS) {
		struct chance c = chance_of(r->study, i);
		r->ret[i] = r->fn(r->arg, &c);
	}
	return NULL;
}

void runs_do(uint64_t study, unsigned runs, run_fn *fn, const void *arg, double *ret)
{
	pthread_t threads[THREADS];
	struct runner runners[THREADS];
	for (unsigned t = 0; t < THREADS; t++) {
		runners[t] = (struct runner){study, t, runs, fn, arg, ret};
		if (pthread_create(&threads[t], NULL, runner_main, &runners[t])) {
			fputs("bench_gates: cannot start a thread\n", stderr);
			exit(2);
		}
	}
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
}

double runs_mean(const double *figures, unsigned runs)
{
	double sum = 0;
	for (unsigned i = 0; i < runs; i++)
		sum += figures[i];
	return sum / runs;
}

double runs_share(const double *figures, unsigned runs)
{
	unsigned count = 0;
	for (unsigned i = 0; i < runs; i++)
		count += figures[i] != 0;
	return (double)count / runs;
}

static int ascending(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double runs_quantile(double *figures, unsigned runs, double share)
{
	qsort(figures, runs, sizeof(*figures), ascending);
	const unsigned at = (unsigned)(share * runs);
	return figures[at < runs ? at : runs - 1];
}

unsigned runs_of(unsigned full)
{
	return quick ? (full > 400 ? full / 20 : 20) : full;
}

/* ---- what others would need ---- */

static double divergence(double p, double q)
{
	return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q));
}

/* Divergence a candidate unit to the truth (rho q + delta, q). */
static double distance(const struct truth *t, double rho, double delta, double q)
{
	return divergence(t->p_t, rho * q + delta) + t->ratio * divergence(t->p_c, q);
}

double wald_units(const struct truth *truth, double rho, double delta, double alpha)
{
	double low = truth->p_c / 20, high = (1 - delta) / rho * 0.999;
	for (unsigned i = 0; i < 200; i++) { /* the distance is convex in q */
		const double a = low + (high - low) / 3, b = high - (high - low) / 3;
		if (distance(truth, rho, delta, a) < distance(truth, rho, delta, b))
			high = b;
		else
			low = a;
	}
	return -log(alpha) / distance(truth, rho, delta, low);
}

/* The normal quantile, by bisection: speed does not matter here. */
static double normal_quantile(double p)
{
	double low = -10, high = 10;
	for (unsigned i = 0; i < 100; i++) {
		const double middle = (low + high) / 2;
		*(erfc(-middle / M_SQRT2) / 2 < p ? &low : &high) = middle;
	}
	return low;
}

double one_look_units(const struct truth *t, double alpha, double power)
{
	const double z = normal_quantile(1 - alpha) + normal_quantile(power);
	const double var = t->p_t * (1 - t->p_t) + t->p_c * (1 - t->p_c) / t->ratio;
	return z * z * var / ((t->p_t - t->p_c) * (t->p_t - t->p_c));
}

/* ---- the table of goals ---- */

static struct row {
	char what[160], paper[40];
	const char *unit;
	double measured, bound;
	enum goal goal;
} rows[ROWS_MAX];
static unsigned row_count;

void goal_row(const char *what, double measured, const char *unit, const char *paper,
	      enum goal goal, double bound)
{
	if (row_count == ROWS_MAX) {
		fputs("bench_gates: too many rows\n", stderr);
		exit(2);
	}
	struct row *r = &rows[row_count++];
	*r = (struct row){.unit = unit, .measured = measured, .bound = bound, .goal = goal};
	snprintf(r->what, sizeof(r->what), "%s", what);
	snprintf(r->paper, sizeof(r->paper), "%s", paper);
	fprintf(stderr, "%s: %.4g%s\n", what, measured, unit);
}

static bool met(const struct row *r)
{
	return r->goal == GOAL_NONE ||
	       (r->goal == GOAL_AT_MOST ? r->measured <= r->bound : r->measured >= r->bound);
}

unsigned goal_table(void)
{
	static const char *const signs[] = {"<= ", ">= ", ""};
	unsigned missed = 0;
	puts("| what | measured | specification | goal | |\n|---|---|---|---|---|");
	for (unsigned i = 0; i < row_count; i++) {
		const struct row *r = &rows[i];
		char bound[32] = "";
		if (r->goal != GOAL_NONE)
			snprintf(bound, sizeof(bound), "%s%.4g%s", signs[r->goal], r->bound, r->unit);
		missed += !met(r);
		printf("| %s | %.4g%s | %s | %s | %s |\n", r->what, r->measured, r->unit, r->paper,
		       bound, r->goal == GOAL_NONE ? "" : met(r) ? "met" : "RED");
	}
	return missed;
}
