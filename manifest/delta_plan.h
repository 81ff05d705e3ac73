/* delta_plan.h -- which deltas a published release is worth: from what devices may have to what they
 * are offered.
 *
 *   of each file of each tier   from the same file of the same tier of the three releases of the model
 *                               that were published before it
 *   within the release          from a tier to the next larger one of the same format: a device moves
 *                               up when it has room; the tiers in the order of their stored bytes
 *
 * The same file: of the same name, or the only one of its tier on both sides.
 * Threads: pure. */
#ifndef MANIFEST_DELTA_PLAN_H
#define MANIFEST_DELTA_PLAN_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdint.h>

#define DELTA_RELEASES 3 /* before the new one */

struct plan_file {
	const char *tier, *format, *name;
	struct digest recipe;
	int64_t stored; /* bytes of a full download */
};

struct plan_release {
	const char *release;
	const struct plan_file *files; /* a tier's one after the other */
	unsigned count;
};

struct plan_pair {
	const struct plan_release *new_release, *old_release;
	const struct plan_file *new, *old;
};

/* Call each(arg, pair) for every delta of releases[0], of which the others were published before,
 * newest first (those beyond DELTA_RELEASES are not looked at).  Never from a recipe to itself; a pair
 * of recipes may come more than once.  -1 without memory, and when each answers so. */
int delta_plan(const struct plan_release *releases, unsigned count,
	       int (*each)(void *arg, const struct plan_pair *pair, struct err *err), void *arg,
	       struct err *err) CHECKED;

#endif
