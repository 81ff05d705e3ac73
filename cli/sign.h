/* sign.h -- a publisher's envelope about what was just pushed (manifest/attest.h).
 * Threads: the main thread. */
#ifndef CLI_SIGN_H
#define CLI_SIGN_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "cli/api.h"
#include "cli/args.h"

#include <jansson.h>
#include <stdint.h>

#define SIGN_COUNTER_MAX (INT64_C(1) << 52)

/* What the command line said about signing. */
struct signing {
	const char *key_file;		   /* the publisher's seed; NULL: not signed */
	const char *channels[ARGS_REPEAT]; /* that it is signed for; none: any */
	unsigned channel_count;
	int64_t counter, floor; /* -1: by what the server has, see sign_variant() */
};

struct sign_subject {
	const char *model, *release, *tier, *format, *file;
	struct digest sha256;
	const json_t *requires;
};

/* The envelope as JSON, the caller's.  A counter that is not given is the release's own when one of
 * its tiers has one, else one above the model's highest; a floor that is not given is the lowest
 * counter among releases that are stable somewhere, or were before: devices may go back that far. */
json_t *sign_variant(struct api *api, const struct signing *signing,
		     const struct sign_subject *subject, struct err *err) CHECKED;

#endif
