/* silence.h -- whether a lane has gone blind: no report in windows for which the use of the class
 * predicts some.  A pure function of what closed, in whatever portions it is fed.
 * Threads: a struct silence belongs to one. */
#ifndef ROLLOUT_SILENCE_H
#define ROLLOUT_SILENCE_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/outages.h"

#include <stdint.h>

struct silence {
	int64_t window_s, windows; /* length of one; how many a device reports */
	double used;		   /* share of windows in which a device is used */
	int64_t origin, next;	   /* next: start of the first window not yet judged */
	int64_t from;		   /* windows that start before are not judged */
	struct silence_window {	   /* devices, from origin */
		int64_t entered, loaded;
	} *devices;
	unsigned room;
	unsigned silent; /* consecutive windows, up to the newest */
};

void silence_init(struct silence *silence, int64_t since, int64_t window_s, int64_t windows,
		  double used);
void silence_done(struct silence *silence);

/* So many devices entered, and so many had their first load, at that time.  Who has loaded reports, and
 * until its windows after entering are over. */
int silence_devices(struct silence *silence, int64_t at, int64_t entered, int64_t loaded,
		    struct err *err) CHECKED;
/* Judge anew, by windows that start then or later. */
void silence_from(struct silence *silence, int64_t since);
/* Devices reported for the window; windows come in order. */
void silence_reported(struct silence *silence, int64_t window);
/* Windows that start before to are closed; those in which the daemon was down tell nothing. */
void silence_closed(struct silence *silence, int64_t to, const struct outages *down);

#endif
