/* sim_device.h -- one simulated device: the SDK's own code behind a link that fails, and an app
 * that is used, crashes and is killed as its profile says.
 * Times are seconds of the daemon's clock.
 * Threads: a device belongs to one. */
#ifndef CLI_SIM_DEVICE_H
#define CLI_SIM_DEVICE_H

#include "base/err.h"
#include "cli/sim_edge.h"
#include "cli/sim_profile.h"
#include "cli/sim_relay.h"
#include "sdk/flotilla.h"

#include <stdbool.h>
#include <stdint.h>

/* What all devices of a run share; constant while it runs. */
struct sim_world {
	const struct profile *profile;
	const char *url, *ingest_token, *work_dir;
	const void *root; /* the index root */
	size_t root_len;
	uint64_t seed;
	bool trusting; /* one scout a class and thread verifies for the devices */
	struct edge *edge;   /* between devices and the daemon */
	struct relay *relay; /* likewise, for reports; NULL: they post them themselves */
	int64_t own_ms, mono_ms; /* the daemon's clock and ours at the same instant */
	int64_t speed;
};
int64_t sim_now(const struct sim_world *world); /* daemon's seconds */

#define SIM_VARIANT 200

/* Verifies a class's documents for the devices of a thread that believe it; has no model itself. */
struct sim_scout {
	const struct sim_world *world;
	struct flotilla *flotilla;
	void *curl;
	int64_t next_poll;
};
int sim_scout_init(struct sim_scout *scout, const struct sim_world *world,
		   const struct profile_class *class, void *curl, struct err *err) CHECKED;
void sim_scout_done(struct sim_scout *scout);

struct sim_device {
	const struct sim_world *world;
	const struct profile_class *class;
	unsigned index; /* in the fleet */
	struct flotilla *flotilla;
	struct sim_scout *scout; /* whom it believes, or NULL; borrowed */
	void *curl; /* the thread's, borrowed */
	uint64_t random;
	int64_t os_major;
	double factor, prone, pace; /* its own, see struct profile_class */
	int64_t kib_s;	   /* of its link */
	bool full;	   /* downloads everything */
	bool mortal;	   /* is killed now and then */
	int64_t offline_until, online_until;
	int64_t next_session, next_want, next_kill;
	int64_t wake; /* when sim_device_step() is wanted */
	char variant[SIM_VARIANT]; /* what it runs; "" nothing yet */
	bool candidate;
	/* figures, over all lives of the app */
	struct flotilla_stats stats;
	uint64_t sessions, crashes, kills, load_failures, bricked;
	uint64_t returned;	 /* times it went from a candidate back to stable */
	uint64_t returned_chunks; /* fetched for that: none, stable is on disk */
	char error[200];	 /* the last one */
	uint64_t errors;
};

/* Make the device; its world, class, scout, curl, index are set.  in_class: its number in the class.
 * It wakes for the first time within first_s. */
int sim_device_init(struct sim_device *device, unsigned in_class, int64_t first_s,
		    struct err *err) CHECKED;
void sim_device_done(struct sim_device *device);

/* Do what is due, and set wake. */
void sim_device_step(struct sim_device *device);

#endif
