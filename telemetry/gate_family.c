/* Many tests at once, and units that are not independent. */
#include "telemetry/gate.h"

#include <math.h>
#include <stdlib.h>

/* ---- overdispersion ---- */

double gate_phi(const struct gate_clusters *c)
{
	if (c->n <= 0 || c->k <= 0 || c->k >= c->n)
		return 1;
	const double p = c->k / c->n;
	const double phi = (c->kk - 2 * p * c->nk + p * p * c->nn) / (p * (1 - p) * c->n);
	return fmax(1, phi);
}

struct gate_counts gate_deflate(const struct gate_counts *n, double phi)
{
	return (struct gate_counts){n->n_t / phi, n->k_t / phi, n->n_c / phi, n->k_c / phi};
}

/* ---- combining ---- */

static void swap(double *a, double *b)
{
	const double kept = *a;
	*a = *b;
	*b = kept;
}

/* Order list so that none of the first count is less than any other (selection by parting into greater,
 * equal and less). */
static void largest_apart(double *list, unsigned len, unsigned count)
{
	size_t low = 0, high = len;
	while (high - low > 1) {
		const double pivot = list[low + (high - low) / 2];
		size_t i = low, greater = low, less = high;
		while (i < less)
			if (list[i] > pivot)
				swap(&list[greater++], &list[i++]);
			else if (list[i] < pivot)
				swap(&list[i], &list[--less]);
			else
				i++;
		if (count < greater)
			high = greater;
		else if (count > less)
			low = less;
		else
			return;
	}
}

int gate_pool(const double *capital, unsigned lanes, unsigned count, unsigned without,
	      double *ret_log_e)
{
	double *sums = calloc(count, sizeof(*sums)), *column = calloc(lanes + 1, sizeof(*column));
	const bool bad = !sums || !column || without >= lanes;
	for (unsigned j = 0; !bad && j < count; j++) {
		for (unsigned i = 0; i < lanes; i++)
			column[i] = capital[(size_t)i * count + j];
		largest_apart(column, lanes, without);
		for (unsigned i = without; i < lanes; i++)
			sums[j] += column[i];
	}
	if (!bad)
		*ret_log_e = gate_log_mean(sums, count);
	free(sums);
	free(column);
	return bad ? -1 : 0;
}

double gate_weighted_mean(const double *log_e, const double *weight, unsigned count)
{
	double max = -INFINITY, sum = 0, all = 0;
	for (unsigned i = 0; i < count; i++)
		max = fmax(max, log_e[i]);
	for (unsigned i = 0; i < count; i++) {
		sum += weight[i] * exp(log_e[i] - max);
		all += weight[i];
	}
	return max + log(sum / all);
}

struct ranked {
	double log_e, weight;
	unsigned index;
};

static int by_log_e(const void *a, const void *b)
{
	const double x = ((const struct ranked *)a)->log_e, y = ((const struct ranked *)b)->log_e;
	return (x > y) - (x < y);
}

static struct ranked *rank(const double *log_e, const double *weight, unsigned count)
{
	struct ranked *list = count && count <= GATE_FAMILY_MAX ? calloc(count, sizeof(*list)) : NULL;
	for (unsigned i = 0; list && i < count; i++)
		list[i] = (struct ranked){log_e[i], weight ? weight[i] : 1, i};
	if (list)
		qsort(list, count, sizeof(*list), by_log_e);
	return list;
}

/* The least that any average of e_i with smaller ones of the family can be.  Only prefixes of the
 * ascending order can be the minimum.  Relative to e_i, so that nothing overflows. */
static double closed_one(const struct ranked *list, unsigned count, unsigned at)
{
	const double own = list[at].log_e;
	double sum = list[at].weight, least = own;
	double all = sum;
	for (unsigned i = 0; i < count; i++) {
		if (i == at)
			continue;
		sum += list[i].weight * exp(list[i].log_e - own);
		all += list[i].weight;
		const double mean = own + log(sum / all);
		if (mean > least)
			break;
		least = mean;
	}
	return least;
}

int gate_closed(const double *log_e, const double *weight, unsigned count, double *ret)
{
	struct ranked *list = rank(log_e, weight, count);
	if (!list)
		return -1;
	for (unsigned i = 0; i < count; i++)
		ret[list[i].index] = closed_one(list, count, i);
	free(list);
	return 0;
}

int gate_ebh(const double *log_e, unsigned count, double alpha, bool *ret_rejected)
{
	struct ranked *list = rank(log_e, NULL, count);
	if (!list)
		return -1;
	unsigned rejected = 0;
	for (unsigned k = 1; k <= count; k++)
		if (list[count - k].log_e >= log(count / (k * alpha)))
			rejected = k;
	for (unsigned i = 0; i < count; i++)
		ret_rejected[list[i].index] = i >= count - rejected;
	free(list);
	return 0;
}
