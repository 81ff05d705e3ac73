/* sim_edge.h -- what lies between simulated devices and the daemon: a cache of the signed documents
 * that all devices of a class ask for, as a CDN would be.  Everything else goes through.
 * Threads: any. */
#ifndef CLI_SIM_EDGE_H
#define CLI_SIM_EDGE_H

#include "base/cc.h"
#include "sdk/flotilla.h"

#include <stdint.h>

struct edge;

/* Documents are kept for life_s of the daemon's seconds; 0: nothing is.  NULL without memory. */
struct edge *edge_new(int64_t life_s) CHECKED;
void edge_free(struct edge *edge); /* NULL is fine */

/* A GET, as flotilla_transport_curl(), whose connection curl is. */
int edge_get(struct edge *edge, void *curl, int64_t now, const struct flotilla_request *request,
	     struct flotilla_response *response);

#endif
