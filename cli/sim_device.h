/* sim_device.h -- one simulated device: the SDK's own code behind a link that fails, and an app
 * that is used, crashes and is killed as its profile says.
 * Times are seconds of the daemon's clock.
 * Threads: a device belongs to one. */
#ifndef CLI_SIM_DEVICE_H
#define CLI_SIM_DEVICE_H

#include "base/err.h"
#include "cli/sim_profile.h"
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
	int64_t own_ms, mono_ms; /* the daemon's clock and ours at the same instant */
	int64_t speed;
};
int64_t sim_now(const struct sim_world *world); /* daemon's seconds */

#define SIM_VARIANT 200

struct sim_device {
	const struct sim_world *world;
	const struct profile_class *class;
	unsigned index; /* in the fleet */
	struct flotilla *flotilla;
	void *curl; /* the thread's, borrowed */
	uint64_t random;
	double factor;	   /* on its use */
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
	uint64_t sessions, crashes, kills, load_failures;
	uint64_t returned;	 /* times it went from a candidate back to stable */
	uint64_t returned_chunks; /* fetched for that: none, stable is on disk */
	char error[200];	 /* the last one */
	uint64_t errors;
};

/* Make the device with the index; it wakes for the first time within first_s. */
int sim_device_init(struct sim_device *device, const struct sim_world *world,
		    const struct profile_class *class, unsigned index, unsigned in_class,
		    void *curl, int64_t first_s, struct err *err) CHECKED;
void sim_device_done(struct sim_device *device);

/* Do what is due, and set wake. */
void sim_device_step(struct sim_device *device);

#endif
