/* clock.h -- the time, behind one door, so that development fleets can live fast.
 * All times are UTC seconds (or milliseconds where said) since 1970 unless named monotonic.
 * A clock maps real time to its own: origin_own + (real - origin_real) * speed.
 * Threads: any thread may read a clock; it is set up before the threads start. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/cc.h"
#include "base/err.h"

#include <stdint.h>

struct clock {
	int64_t real_ms; /* origin, real time */
	int64_t own_ms;	 /* origin, own time */
	int64_t speed;	 /* own seconds a real second; 1 = real time */
};

void clock_real(struct clock *clock); /* own time is real time */
/* From now on own time runs at speed (1..100,000) from own_ms. */
void clock_fast(struct clock *clock, int64_t own_ms, int64_t speed);

int64_t clock_ms(const struct clock *clock);
int64_t clock_s(const struct clock *clock);
/* Real milliseconds to wait until own time has moved by at least own_ms; at least 1. */
int64_t clock_wait_ms(const struct clock *clock, int64_t own_ms);

int64_t clock_wall_ms(void);	  /* real, unscaled */
int64_t clock_monotonic_ms(void); /* never jumps; for timeouts and rates */
void clock_sleep_ms(int64_t ms);  /* real; not at all when ms is negative */

#define CLOCK_TEXT 21 /* "YYYY-MM-DDTHH:MM:SSZ" and a NUL */
/* Times outside the years 1000 to 9999 are written as the nearest end of them. */
void clock_text(int64_t s, char out[static CLOCK_TEXT]);
/* Exactly that form; -1 otherwise. */
int clock_parse(int64_t *ret_s, const char *text) CHECKED;

#endif
