#include "rollout/silence.h"

#include <stdlib.h>
#include <string.h>

#define LEAST 20 /* reports predicted before silence means anything */
#define GROW 64

void silence_init(struct silence *s, int64_t since, int64_t window_s, int64_t windows, double used)
{
	const int64_t origin = since - since % window_s;
	*s = (struct silence){.window_s = window_s, .windows = windows, .used = used,
			      .origin = origin, .next = origin};
}

void silence_done(struct silence *s)
{
	free(s->outcomes);
	s->outcomes = NULL;
}

int silence_outcomes(struct silence *s, int64_t at, int64_t devices, struct err *err)
{
	const size_t i = at < s->origin ? 0 : (size_t)((at - s->origin) / s->window_s);
	if (i >= s->room) {
		const size_t room = i + GROW;
		int64_t *more = realloc(s->outcomes, room * sizeof(*more));
		if (!more)
			return err_nomem(err);
		memset(more + s->room, 0, (room - s->room) * sizeof(*more));
		s->outcomes = more;
		s->room = (unsigned)room;
	}
	s->outcomes[i] += devices;
	return 0;
}

/* Reports to expect for a window: of devices whose windows it is one of. */
static double predicted(const struct silence *s, int64_t window)
{
	const int64_t last = (window - s->origin) / s->window_s - 1;
	int64_t devices = 0;
	for (int64_t i = last; i >= 0 && i > last - s->windows; i--)
		devices += i < s->room ? s->outcomes[i] : 0;
	return (double)devices * s->used;
}

void silence_closed(struct silence *s, int64_t to)
{
	for (; s->next < to; s->next += s->window_s)
		s->silent += predicted(s, s->next) >= LEAST;
}

void silence_reported(struct silence *s, int64_t window)
{
	silence_closed(s, window);
	if (s->next <= window)
		s->next = window + s->window_s;
	s->silent = 0;
}
