/* The numbers of a synthetic checkpoint, row by row: each row has random numbers of its own, so that rows
 * can be made in any order. */
#include "base/chance.h"
#include "cli/synth.h"

#include <math.h>

#define SIGMA 0.02
#define RANK 16
#define QUANTILES 4096
#define FARTHEST 4.2 /* where the last of 4096 quantiles is taken to end */

struct weights {
	const struct synth *synth;
	const struct tensor *tensor;
	float *columns; /* scale of each */
	float *narrow;	/* of a LoRA: RANK rows of cols */
	float step;	/* what a fine-tune's Gaussian is multiplied by */
	float quantiles[QUANTILES + 1];
};

enum stream { STREAM_ROWS, STREAM_COLUMNS, STREAM_TUNING, STREAM_LEFT, STREAM_RIGHT };

static uint64_t stream_of(const struct weights *w, enum stream stream, unsigned row)
{
	const uint64_t seed = stream < STREAM_TUNING ? w->synth->seed * CHANCE_STEP
						      : w->synth->tuning * 0xd1342543de82ef95u;
	uint64_t state = seed ^ (uint64_t)stream << 60 ^ (uint64_t)w->tensor->id << 40 ^ (uint64_t)row << 8;
	state = chance_next(&state);
	return state;
}

/* The Gaussian's quantiles, by halving. */
static void quantiles_fill(float quantiles[static QUANTILES + 1])
{
	for (unsigned i = 1; i < QUANTILES; i++) {
		double low = -FARTHEST, high = FARTHEST;
		for (unsigned n = 0; n < 40; n++) {
			const double mid = (low + high) / 2;
			if (erfc(-mid / M_SQRT2) / 2 < (double)i / QUANTILES)
				low = mid;
			else
				high = mid;
		}
		quantiles[i] = (float)low;
	}
	quantiles[0] = -(float)FARTHEST;
	quantiles[QUANTILES] = (float)FARTHEST;
}

/* 32 random bits: a quantile, and how far on to the next. */
static float gaussian_of(const float *quantiles, uint32_t bits)
{
	const float *q = &quantiles[bits >> 20];
	return q[0] + (q[1] - q[0]) * (float)(bits & 0xfffff) * (1.0f / 0x100000);
}

static void gaussians(const struct weights *w, uint64_t state, float *out, unsigned count)
{
	for (unsigned i = 0; i < count; i += 2) {
		const uint64_t bits = chance_next(&state);
		out[i] = gaussian_of(w->quantiles, (uint32_t)bits);
		if (i + 1 < count)
			out[i + 1] = gaussian_of(w->quantiles, (uint32_t)(bits >> 32));
	}
}

/* Of log-normal factors the root of the mean square is exp(spread^2), which makes this the tensor's. */
static double tensor_sigma(const struct tensor *t)
{
	const double rows = SYNTH_ROW_SPREAD * SYNTH_ROW_SPREAD;
	const double columns = SYNTH_COLUMN_SPREAD * SYNTH_COLUMN_SPREAD;
	return t->rows == 1 ? SIGMA : SIGMA * exp(rows) * exp(columns);
}

struct weights *weights_new(const struct synth *synth, const struct tensor *tensor)
{
	AUTO(weights_free) struct weights *w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	const size_t cols = tensor->cols;
	w->synth = synth;
	w->tensor = tensor;
	w->columns = malloc(cols * sizeof(float));
	w->narrow = malloc(RANK * cols * sizeof(float));
	if (!w->columns || !w->narrow)
		return NULL;
	quantiles_fill(w->quantiles);
	gaussians(w, stream_of(w, STREAM_COLUMNS, 0), w->columns, tensor->cols);
	for (size_t i = 0; i < cols; i++)
		w->columns[i] = tensor->rows == 1 ? 1 : expf((float)SYNTH_COLUMN_SPREAD * w->columns[i]);
	for (unsigned k = 0; tensor->lora && k < RANK; k++)
		gaussians(w, stream_of(w, STREAM_RIGHT, k), w->narrow + k * cols, tensor->cols);
	w->step = (float)(synth->step * tensor_sigma(tensor));
	return TAKE(w);
}

void weights_free(struct weights *w)
{
	if (!w)
		return;
	free(w->columns);
	free(w->narrow);
	free(w);
}

/* To the nearest number of bf16, ties to even. */
static float rounded(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* A row of the product of two narrow matrices, scaled to the step. */
static void add_lora(const struct weights *w, unsigned row, float *out)
{
	const unsigned cols = w->tensor->cols;
	float left[RANK];
	gaussians(w, stream_of(w, STREAM_LEFT, row), left, RANK);
	for (unsigned k = 0; k < RANK; k++) {
		const float factor = left[k] * w->step / sqrtf(RANK);
		const float *right = w->narrow + (size_t)k * cols;
		for (unsigned i = 0; i < cols; i++)
			out[i] += factor * right[i];
	}
}

static void add_noise(const struct weights *w, unsigned row, float *out)
{
	uint64_t state = stream_of(w, STREAM_TUNING, row);
	for (unsigned i = 0; i < w->tensor->cols; i++)
		out[i] += w->step * gaussian_of(w->quantiles, (uint32_t)(chance_next(&state) >> 32));
}

void weights_row(const struct weights *w, unsigned row, float *out)
{
	const unsigned cols = w->tensor->cols;
	const uint64_t state = stream_of(w, STREAM_ROWS, row);
	const bool norm = w->tensor->rows == 1;
	uint64_t own = state ^ 0x5555; /* for its scale */
	const float spread = gaussian_of(w->quantiles, (uint32_t)chance_next(&own));
	const float scale = (float)SIGMA * (norm ? 1 : expf((float)SYNTH_ROW_SPREAD * spread));
	const float centre = norm ? 1 : 0;
	gaussians(w, state, out, cols);
	for (unsigned i = 0; i < cols; i++)
		out[i] = rounded(centre + scale * w->columns[i] * out[i]);
	if (!w->tensor->touched)
		return;
	if (w->tensor->lora)
		add_lora(w, row, out);
	else
		add_noise(w, row, out);
	for (unsigned i = 0; i < cols; i++)
		out[i] = rounded(out[i]);
}
