#include "rollout/stage.h"

#include <stdbool.h>

#define ROUND 1000
#define LEAST_LAST 50000 /* control of the last stage at least */
#define MOST_RATIO 4	 /* control is at most this many times what enters as candidate */

static int64_t min(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t max(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int check(const int64_t *ppm, unsigned count, struct err *err)
{
	if (!count || count > STAGE_MAX)
		return err_set(err, ERR_INVALID, "stages: there must be 1 to %d", STAGE_MAX);
	for (unsigned k = 0; k < count; k++) {
		if (ppm[k] < ROUND || ppm[k] > STAGE_BUCKETS - LEAST_LAST)
			return err_set(err, ERR_INVALID,
				       "stages[%u]: ppm: %lld is outside 1000..950000", k,
				       (long long)ppm[k]);
		if (k && ppm[k] <= ppm[k - 1])
			return err_set(err, ERR_INVALID,
				       "stages[%u]: ppm: must be above the stage before, %lld", k,
				       (long long)ppm[k - 1]);
	}
	return 0;
}

static void allocate_one(int64_t p, struct stage_slices *s)
{
	*s = (struct stage_slices){p, 0, p, max(p, STAGE_BUCKETS - MOST_RATIO * p), STAGE_BUCKETS};
}

static int64_t entering(const int64_t *ppm, unsigned k)
{
	return ppm[k] - (k ? ppm[k - 1] : 0);
}

/* Equal shares of budget for stages 0..count-1; what a stage at its cap leaves, the others get. */
static void share_control(const int64_t *ppm, unsigned count, int64_t budget, int64_t *sizes)
{
	unsigned open = count;
	bool capped = true;
	for (unsigned k = 0; k < count; k++)
		sizes[k] = -1;
	while (capped && open) {
		const int64_t share = budget / open;
		capped = false;
		for (unsigned k = 0; k < count; k++) {
			const int64_t cap = MOST_RATIO * entering(ppm, k);
			if (sizes[k] >= 0 || cap > share)
				continue;
			sizes[k] = cap;
			budget -= cap;
			open--;
			capped = true;
		}
	}
	for (unsigned k = 0; k < count; k++)
		if (sizes[k] < 0 && open)
			sizes[k] = budget / open;
}

/* Control of the stages before the last, stacked downwards from top; the bottom of the stack. */
static int64_t stack_control(const int64_t *ppm, unsigned count, int64_t top,
			     struct stage_slices *slices)
{
	int64_t sizes[STAGE_MAX];
	share_control(ppm, count - 1, (top - ppm[count - 2]) * 2 / 3, sizes);
	for (unsigned k = 0; k + 1 < count; k++) {
		slices[k].control_high = top;
		top -= sizes[k] / ROUND * ROUND;
		slices[k].control_low = top;
	}
	return top;
}

static int check_slices(const struct stage_slices *slices, unsigned count, struct err *err)
{
	for (unsigned k = 0; k < count; k++)
		if (slices[k].enter_low >= slices[k].enter_high ||
		    slices[k].control_low >= slices[k].control_high)
			return err_set(err, ERR_INVALID,
				       "stages[%u]: no room for a candidate and a control of its own;"
				       " use fewer or smaller stages",
				       k);
	return 0;
}

int stage_allocate(const int64_t *ppm, unsigned count, struct stage_slices *ret_slices,
		   struct err *err)
{
	struct stage_slices slices[STAGE_MAX] = {0};
	if (check(ppm, count, err))
		return -1;
	if (count == 1) {
		allocate_one(ppm[0], ret_slices);
		return 0;
	}
	const int64_t last = ppm[count - 1];
	const int64_t top = STAGE_BUCKETS - max(LEAST_LAST, (STAGE_BUCKETS - last) / 2);
	const int64_t bottom = stack_control(ppm, count, top, slices);
	slices[count - 1].control_low = top;
	slices[count - 1].control_high = STAGE_BUCKETS;
	for (unsigned k = 0; k < count; k++) {
		slices[k].candidate_ppm = ppm[k];
		slices[k].enter_low = k ? ppm[k - 1] : 0;
		slices[k].enter_high = min(ppm[k], bottom);
	}
	if (check_slices(slices, count, err))
		return -1;
	for (unsigned k = 0; k < count; k++)
		ret_slices[k] = slices[k];
	return 0;
}
