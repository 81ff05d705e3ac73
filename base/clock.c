#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* What four digits of a year can say: 1000-01-01T00:00:00Z to 9999-12-31T23:59:59Z. */
#define FIRST_S (-30610224000)
#define LAST_S 253402300799

static int64_t now_ms(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
	return now_ms(CLOCK_REALTIME);
}

int64_t clock_monotonic_ms(void)
{
	return now_ms(CLOCK_MONOTONIC);
}

void clock_real(struct clock *clock)
{
	*clock = (struct clock){.speed = 1};
}

void clock_fast(struct clock *clock, int64_t own_ms, int64_t speed)
{
	*clock = (struct clock){.real_ms = clock_wall_ms(), .own_ms = own_ms, .speed = speed};
}

int64_t clock_ms(const struct clock *clock)
{
	return clock->own_ms + (clock_wall_ms() - clock->real_ms) * clock->speed;
}

int64_t clock_s(const struct clock *clock)
{
	return clock_ms(clock) / 1000;
}

int64_t clock_wait_ms(const struct clock *clock, int64_t own_ms)
{
	const int64_t real = own_ms / clock->speed + (own_ms % clock->speed > 0);
	return real < 1 ? 1 : real;
}

void clock_sleep_ms(int64_t ms)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

void clock_text(int64_t s, char out[static CLOCK_TEXT])
{
	struct tm tm;
	const time_t t = s < FIRST_S ? FIRST_S : s > LAST_S ? LAST_S : s;
	gmtime_r(&t, &tm);
	strftime(out, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

int clock_parse(int64_t *ret_s, const char *text)
{
	static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
	struct tm tm = {0};
	if (strlen(text) != sizeof(form) - 1)
		return -1;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return -1;
	if (!strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm))
		return -1;
	const int64_t s = timegm(&tm);
	char again[CLOCK_TEXT];
	clock_text(s, again);
	if (strcmp(text, again)) /* the 31st of February */
		return -1;
	*ret_s = s;
	return 0;
}
