#include "cli/sender.h"

#include "base/clock.h"
#include "base/cond.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define TICK_MS 200

struct lane {
	struct sender *sender;
	struct api *api;
	pthread_t thread;
	bool started;
	bool busy; /* parcel is on its way */
	struct parcel parcel;
	_Atomic int64_t now; /* bytes of it that are out */
};

struct sender {
	void (*tick)(void *arg);
	void *arg;
	pthread_mutex_t lock; /* guards what follows, and the lanes' busy and parcel */
	pthread_cond_t work, idle;
	bool closing, failed;
	struct err err; /* of the first that failed */
	int64_t sent, raw;
	struct lane lanes[SENDER_LANES];
};

/* ---- A lane. ---- */

static void on_sent(void *arg, int64_t sent)
{
	struct lane *lane = arg;
	atomic_store_explicit(&lane->now, sent, memory_order_relaxed);
}

static int ship(struct lane *lane, struct err *err)
{
	struct api_reply reply;
	const struct api_request q = {.method = "PUT",
				      .path = lane->parcel.path,
				      .file = lane->parcel.file,
				      .file_len = lane->parcel.len,
				      .progress = on_sent,
				      .progress_arg = lane,
				      .patience_s = PATIENCE_S};
	if (api_call(lane->api, &q, &reply, err))
		return err_in(err, "a pack");
	api_reply_done(&reply);
	return 0;
}

/* With the lock held, but for the sending. */
static void serve(struct lane *lane)
{
	struct sender *s = lane->sender;
	struct err err;
	pthread_mutex_unlock(&s->lock);
	const int bad = ship(lane, &err);
	fclose(lane->parcel.file);
	pthread_mutex_lock(&s->lock);
	if (bad && !s->failed)
		s->err = err;
	s->failed |= bad;
	s->sent += bad ? 0 : lane->parcel.len;
	s->raw += bad ? 0 : lane->parcel.raw;
	atomic_store(&lane->now, 0);
	lane->busy = false;
	pthread_cond_signal(&s->idle);
}

static void *lane_run(void *arg)
{
	struct lane *lane = arg;
	struct sender *s = lane->sender;
	pthread_mutex_lock(&s->lock);
	while (lane->busy || !s->closing) {
		if (lane->busy)
			serve(lane);
		else
			pthread_cond_wait(&s->work, &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ---- All of them. ---- */

static struct sender *sender_new(void)
{
	struct sender *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	cond_init(&s->idle);
	return s;
}

int sender_open(struct sender **ret_sender, const struct api *like, void (*tick)(void *arg),
		void *arg, struct err *err)
{
	AUTO(sender_close) struct sender *s = sender_new();
	if (!s)
		return err_nomem(err);
	s->tick = tick;
	s->arg = arg;
	for (unsigned i = 0; i < SENDER_LANES; i++) {
		struct lane *lane = &s->lanes[i];
		lane->sender = s;
		if (api_clone(&lane->api, like, err))
			return -1;
		errno = pthread_create(&lane->thread, NULL, lane_run, lane);
		if (errno)
			return err_sys(err, "cannot start a thread");
		lane->started = true;
	}
	*ret_sender = TAKE(s);
	return 0;
}

void sender_close(struct sender *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->closing = true;
	pthread_cond_broadcast(&s->work);
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < SENDER_LANES; i++) {
		if (s->lanes[i].started)
			pthread_join(s->lanes[i].thread, NULL);
		api_close(s->lanes[i].api);
	}
	pthread_cond_destroy(&s->idle);
	pthread_cond_destroy(&s->work);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* With the lock held: until a lane is idle again, or for a moment, in which the caller may draw. */
static void wait_idle(struct sender *s)
{
	cond_wait_until(&s->idle, &s->lock, clock_monotonic_ms() + TICK_MS);
	pthread_mutex_unlock(&s->lock);
	if (s->tick)
		s->tick(s->arg);
	pthread_mutex_lock(&s->lock);
}

/* With the lock held. */
static struct lane *idle_lane(struct sender *s)
{
	for (unsigned i = 0; i < SENDER_LANES; i++)
		if (!s->lanes[i].busy)
			return &s->lanes[i];
	return NULL;
}

/* With the lock held. */
static bool any_busy(const struct sender *s)
{
	for (unsigned i = 0; i < SENDER_LANES; i++)
		if (s->lanes[i].busy)
			return true;
	return false;
}

static int outcome(const struct sender *s, struct err *err)
{
	if (s->failed)
		*err = s->err;
	return s->failed ? -1 : 0;
}

int sender_put(struct sender *s, const struct parcel *parcel, struct err *err)
{
	struct lane *lane;
	pthread_mutex_lock(&s->lock);
	while (!s->failed && !idle_lane(s))
		wait_idle(s);
	lane = s->failed ? NULL : idle_lane(s);
	if (lane) {
		lane->parcel = *parcel;
		lane->busy = true;
		pthread_cond_broadcast(&s->work);
	}
	const int bad = outcome(s, err);
	pthread_mutex_unlock(&s->lock);
	if (!lane)
		fclose(parcel->file);
	return bad;
}

int sender_drain(struct sender *s, struct err *err)
{
	pthread_mutex_lock(&s->lock);
	while (any_busy(s))
		wait_idle(s);
	const int bad = outcome(s, err);
	pthread_mutex_unlock(&s->lock);
	return bad;
}

static int64_t part_of(struct lane *lane)
{
	const int64_t now = atomic_load_explicit(&lane->now, memory_order_relaxed);
	if (!lane->busy || !lane->parcel.len || now > lane->parcel.len)
		return 0;
	return (int64_t)((double)lane->parcel.raw * (double)now / (double)lane->parcel.len);
}

void sender_sums(struct sender *s, int64_t *ret_sent, int64_t *ret_raw)
{
	pthread_mutex_lock(&s->lock);
	*ret_sent = s->sent;
	*ret_raw = s->raw;
	for (unsigned i = 0; i < SENDER_LANES; i++)
		*ret_raw += part_of(&s->lanes[i]);
	pthread_mutex_unlock(&s->lock);
}
