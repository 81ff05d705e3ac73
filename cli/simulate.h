/* simulate.h -- a fleet of simulated devices on a few threads, each with its own devices in order of
 * their next wake-up.
 * Threads: the main thread; fleet_figures() any time between start and stop. */
#ifndef CLI_SIMULATE_H
#define CLI_SIMULATE_H

#include "base/err.h"
#include "cli/sim_device.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct fleet;

/* world and what it points to must outlive the fleet.  Devices first wake within first_s. */
int fleet_start(struct fleet **ret_fleet, const struct sim_world *world, unsigned threads,
		int64_t first_s, struct err *err) CHECKED;
/* Ask the threads to end, wait, free.  NULL is fine. */
void fleet_free(struct fleet *fleet);

/* Totals of the moment: {devices, polls, unchanged, bytes, reports, report_errors, errors, late_s,
 * classes: {name: {devices, running: {variant: n}, returned, returned_chunks, downloads, shared,
 * sessions, crashes, load_failures, kills, bricked}}, last_error}.  late_s: by how many of the daemon's
 * seconds the latest device ran behind lately.  NULL without memory; the caller's. */
json_t *fleet_figures(struct fleet *fleet) CHECKED;

#endif
