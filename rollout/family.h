/* family.h -- what is known about the lanes of one rollout, each by itself and all together:
 * pooled evidence, which may take the candidate back everywhere and never promotes, and the closed
 * test of strict gates, never weaker than each lane's own threshold.
 * Pooled evidence speaks of a fault in many lanes that no lane alone can see: it leaves out the most
 * telling quarter of them (one at least, and as many more as were rolled back already), so that a
 * fault in one class ends nothing in the others.
 * Threads: a struct family belongs to one; family_update() has others help it. */
#ifndef ROLLOUT_FAMILY_H
#define ROLLOUT_FAMILY_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/evidence.h"
#include "rollout/lane.h"
#include "rollout/policy.h"
#include "store/db.h"

#include <stdbool.h>

struct family;

/* Lanes that were skipped do not belong to it, and a group only by its leader.  robust: see evidence_gate(). */
int family_new(struct family **ret_family, const struct policy *policy, const struct lane *lanes,
	       unsigned count, bool robust, struct err *err) CHECKED;
void family_free(struct family *family); /* NULL is fine */
DEFINE_AUTO(struct family, family_free)

/* Lanes to learn of, and where from: as many sources as may be read at the same time. */
struct family_news {
	const struct lane *lanes;
	unsigned count;
	const struct evidence_source *sources;
	unsigned source_count;
};
/* Take in what closed in these of its lanes, and whether they were rolled back; *ret_any: any of it. */
int family_update(struct family *family, const struct family_news *news, bool *ret_any,
		  struct err *err) CHECKED;
/* Weigh anew what evidence fed elsewhere says, on so many threads; family_update() does it by itself. */
int family_weigh(struct family *family, unsigned workers, struct err *err) CHECKED;

unsigned family_lanes(const struct family *family);
const struct policy *family_policy(const struct family *family);
bool family_robust(const struct family *family);
struct evidence *family_evidence(const struct family *family, const char *class); /* NULL: none */

/* Pooled log E of a gate; minus infinity when there is nothing to pool. */
double family_pooled(const struct family *family, unsigned gate);
/* Adjusted log E of a strict gate in a lane; minus infinity while none comes near its threshold. */
double family_closed(const struct family *family, const char *class, unsigned gate);

#endif
