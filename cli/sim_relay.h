/* sim_relay.h -- a gateway between simulated devices and the daemon, of those that deployments have
 * between: takes reports one by one, and passes them on in compressed batches with a token of its own.
 * What it took and has not passed on is lost with it.
 * Threads: any; it has one of its own. */
#ifndef CLI_SIM_RELAY_H
#define CLI_SIM_RELAY_H

#include "base/cc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct relay; /* opaque */

/* token_file: that of a token with the role relay. */
int relay_open(struct relay **ret_relay, const char *url, const char *token_file,
	       struct err *err) CHECKED;
/* Passes on what it has.  NULL is fine. */
void relay_close(struct relay *relay);

/* One report's JSON; false: too many wait, try later. */
bool relay_take(struct relay *relay, const void *report, size_t len);

/* Reports that the daemon refused, and those of batches that it did not take. */
void relay_figures(struct relay *relay, uint64_t *ret_refused, uint64_t *ret_lost);

#endif
