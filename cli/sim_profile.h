/* sim_profile.h -- what a simulated fleet is made of: classes of devices, how they are used, how
 * each variant behaves on them, and what goes wrong around them.  A JSON file:
 *
 *   {"schema":1, "channel":"stable", "model":"assistant", "enter_after_s":43200,
 *    "classes":[{"name":"budget", "devices":1200, "full":2,
 *       "attributes":{"os":"android","ram_mib":3072}, "runtimes":{"llama.cpp":"4000"},
 *       "os_major":13, "disk_free_mib":8000,
 *       "os_majors":[13,14], "sessions_per_day":6, "requests_per_session":3, "spread":0.5,
 *       "night":0.8, "growth":0.05, "prone":1, "pace":0.3,
 *       "link_kib_s":4096, "slow":0.05, "slow_kib_s":128,
 *       "offline":0.02, "offline_s":7200, "lost":0.01, "killed":0.01}],
 *    "behaviour":[{"class":"budget", "variant":"assistant@2.*", "os_major":13, "crash":0.05,
 *       "load_fail":0, "load_oom":0, "brick":0, "timeout":0, "thumb_down":0.02, "regenerate":0.02,
 *       "load_ms":[1500,0.3], "ttft_ms":[700,0.4], "energy_mj_1k":[9000,0.2],
 *       "decode_mtps":[12000,0.2], "probe_pm":[930,30]}]}
 *
 * class and variant are patterns of fnmatch(3); the first behaviour that matches them, and the
 * device's os_major where it names one, holds.  Reports come late by offline, never by lost.
 * Threads: pure; a filled profile may be read by any. */
#ifndef CLI_SIM_PROFILE_H
#define CLI_SIM_PROFILE_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"

#include <jansson.h>
#include <stdint.h>

#define PROFILE_CLASSES 64
#define PROFILE_BEHAVIOURS 256
#define PROFILE_DEVICES 100000
#define PROFILE_OS 16
#define PROFILE_BYTES (1 << 20)
#define PROFILE_ARENA (4 << 20)

/* Lognormal: exp(N(ln median, sigma)). */
struct profile_spread {
	double median, sigma;
};

struct profile_behaviour {
	const char *class, *variant;	      /* patterns */
	int64_t os_major;		      /* 0: any */
	double load_fail, load_oom;	      /* chance of each load */
	double brick;			      /* ... that the device is never heard of again */
	double crash, timeout;		      /* chance of each request */
	double thumb_down, regenerate;	      /* likewise */
	struct profile_spread load_ms, ttft_ms;
	struct profile_spread energy_mj_1k, decode_mtps; /* median 0: not observed */
	struct profile_spread probe_pm; /* normal: mean and deviation; mean 0: no probes */
};

struct profile_class {
	const char *name;
	int64_t devices;
	int64_t full; /* so many download everything; the rest one range, then share what those have */
	const char *attributes, *runtimes; /* JSON text, for the SDK */
	int64_t os_major, disk_free_mib;
	const int64_t *os_majors; /* the devices' in turn; os_major is the first */
	unsigned os_major_count;
	double sessions_per_day, requests_per_session;
	/* Sigmas of a device's own lognormal factors, for good: on its use, on how often it crashes, times
	 * out and displeases, on its times and energy. */
	double spread, prone, pace;
	double night;	/* share by which use is less at 3:00 UTC than at 15:00 */
	double growth;	/* share by which use grows a day, of the first day's */
	int64_t link_kib_s, slow_kib_s;
	double slow;	/* share of devices on the slow link */
	double offline; /* share of time without network */
	int64_t offline_s; /* mean length of that */
	double lost;	/* share of reports that never arrive */
	double killed;	/* share of devices whose app is killed now and then, at any instant */
};

struct profile {
	const char *channel, *model;
	int64_t enter_after_s; /* see struct flotilla_options */
	struct profile_class *classes;
	unsigned class_count;
	struct profile_behaviour *behaviours;
	unsigned behaviour_count;
};

/* Everything lives in arena.  ERR_INVALID names the member. */
int profile_read(struct profile *profile, const json_t *document, struct arena *arena,
		 struct err *err) CHECKED;

/* How variant behaves on a class and OS; a healthy model when no row matches. */
const struct profile_behaviour *profile_behaviour(const struct profile *profile,
						  const char *class, int64_t os_major,
						  const char *variant);

#endif
