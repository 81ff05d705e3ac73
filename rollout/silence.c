#include "rollout/silence.h"

#include <stdlib.h>
#include <string.h>

#define LEAST 20 /* reports predicted before silence means anything */
#define GROW 64

void silence_init(struct silence *s, int64_t since, int64_t window_s, int64_t windows, double used)
{
	const int64_t origin = since - since % window_s;
	*s = (struct silence){.window_s = window_s, .windows = windows, .used = used,
			      .origin = origin, .next = origin, .from = origin};
}

void silence_done(struct silence *s)
{
	free(s->devices);
	s->devices = NULL;
}

int silence_devices(struct silence *s, int64_t at, int64_t entered, int64_t loaded,
		    struct err *err)
{
	const size_t i = at < s->origin ? 0 : (size_t)((at - s->origin) / s->window_s);
	if (i >= s->room) {
		const size_t room = i + GROW;
		struct silence_window *more = realloc(s->devices, room * sizeof(*more));
		if (!more)
			return err_nomem(err);
		memset(more + s->room, 0, (room - s->room) * sizeof(*more));
		s->devices = more;
		s->room = (unsigned)room;
	}
	s->devices[i].entered += entered;
	s->devices[i].loaded += loaded;
	return 0;
}

/* Reports to expect for a window: of no more devices than have it among the windows after their
 * entering, and than have loaded what they report about.  Which of them are the same is not known. */
static double predicted(const struct silence *s, int64_t window)
{
	const int64_t last = (window - s->origin) / s->window_s - 1;
	int64_t entered = 0, loaded = 0;
	for (int64_t i = last; i >= 0 && i > last - s->windows; i--)
		if (i < s->room) {
			entered += s->devices[i].entered;
			loaded += s->devices[i].loaded;
		}
	return (double)(entered < loaded ? entered : loaded) * s->used;
}

void silence_from(struct silence *s, int64_t since)
{
	s->from = since;
	s->silent = 0;
}

void silence_closed(struct silence *s, int64_t to, const struct outages *down)
{
	for (; s->next < to; s->next += s->window_s)
		s->silent += s->next >= s->from && predicted(s, s->next) >= LEAST &&
			     !outages_within(down, s->next, s->next + s->window_s);
}

void silence_reported(struct silence *s, int64_t window)
{
	if (s->next <= window)
		s->next = window + s->window_s;
	s->silent = 0;
}
