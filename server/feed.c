#include "server/feed.h"

#include "base/log.h"
#include "server/app.h"
#include "server/exchange.h"
#include "server/share.h"
#include "server/workers.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX 65536

enum state { EMPTY, FILLING, READY, OVER, BROKEN };

struct feed {
	struct feed_source source;
	struct app *app;
	int place; /* of app->feeds */
	struct exchange *exchange;
	pthread_mutex_t lock; /* guards state: a worker and the loop */
	enum state state;
	struct buf piece;
	size_t taken; /* of the piece */
	struct job job;
};

static void feed_free(void *cls)
{
	struct feed *feed = cls;

	shares_give(feed->app->feeds, feed->place);
	feed->source.free(feed->source.cls);
	buf_done(&feed->piece);
	pthread_mutex_destroy(&feed->lock);
	free(feed);
}

static enum state fill(struct feed *feed, struct db *db)
{
	struct err err;

	buf_reset(&feed->piece);
	feed->taken = 0;
	if (feed->source.fill(feed->source.cls, db, &feed->piece, &err) < 0 ||
	    buf_ok(&feed->piece, "feed", &err) < 0) {
		log_event(LOG_WARN, "feed.broken", F_ERR(&err));
		return BROKEN;
	}
	return feed->piece.len ? READY : OVER;
}

static void fill_run(void *arg, struct db *db)
{
	struct feed *feed = arg;
	struct exchange *exchange = feed->exchange; /* feed may be gone once the loop goes on */
	enum state state = fill(feed, db);

	pthread_mutex_lock(&feed->lock);
	feed->state = state;
	pthread_mutex_unlock(&feed->lock);
	exchange_resume(exchange);
}

/* The piece is used up: have the next one made. */
static ssize_t fill_post(struct feed *feed)
{
	struct err err;

	feed->job = (struct job){.run = fill_run, .arg = feed};
	if (exchange_pause(feed->exchange, &err) < 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	feed->state = FILLING;
	if (workers_post(feed->exchange->loop->workers, &feed->job, &err) == 0)
		return 0;
	feed->state = BROKEN;
	exchange_resume(feed->exchange);
	return 0;
}

static ssize_t piece_take(struct feed *feed, char *out, size_t room)
{
	size_t left = feed->piece.len - feed->taken;
	size_t len = left < room ? left : room;

	memcpy(out, feed->piece.data + feed->taken, len);
	feed->taken += len;
	exchange_allow(feed->exchange, len);
	if (feed->taken == feed->piece.len)
		feed->state = EMPTY;
	return (ssize_t)len;
}

static ssize_t feed_read(void *cls, uint64_t at, char *out, size_t room)
{
	struct feed *feed = cls;
	ssize_t result = 0;

	(void)at;
	pthread_mutex_lock(&feed->lock);
	if (feed->state == READY)
		result = piece_take(feed, out, room);
	else if (feed->state == EMPTY)
		result = fill_post(feed);
	else if (feed->state == OVER)
		result = MHD_CONTENT_READER_END_OF_STREAM;
	else if (feed->state == BROKEN)
		result = MHD_CONTENT_READER_END_WITH_ERROR;
	pthread_mutex_unlock(&feed->lock);
	return result;
}

/* A slow reader holds its place for long: whose places are all taken waits for none of the others'. */
static int place_take(struct request *rq, int *ret_place, struct err *err)
{
	struct network network;
	const bool known = exchange_network(rq->exchange, &network);
	const int place = shares_take(rq->app->feeds, known ? &network : NULL);

	if (place == -2)
		return err_set(err, ERR_BUSY,
			       "too many files are being unpacked for this network at once; try again once"
			       " one is over");
	if (place < 0)
		return err_set(err, ERR_BUSY,
			       "too many files are being unpacked at once; try again shortly");
	*ret_place = place;
	return 0;
}

int feed_reply(struct reply *reply, struct request *rq, unsigned code, const char *type,
	       const struct feed_source *source, struct err *err)
{
	uint64_t length = source->length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)source->length;
	struct feed *feed;
	int place;

	if (place_take(rq, &place, err) < 0) {
		source->free(source->cls);
		return -1;
	}
	feed = calloc(1, sizeof(*feed));
	if (!feed) {
		shares_give(rq->app->feeds, place);
		source->free(source->cls);
		return err_nomem(err);
	}
	*feed = (struct feed){
		.source = *source, .app = rq->app, .place = place, .exchange = rq->exchange};
	pthread_mutex_init(&feed->lock, NULL);
	buf_init(&feed->piece, source->piece_max);
	reply->own = MHD_create_response_from_callback(length, READ_MAX, feed_read, feed,
						       feed_free);
	if (!reply->own) {
		feed_free(feed);
		return err_nomem(err);
	}
	reply->fed = true;
	reply->code = code;
	reply->type = type;
	reply->len = source->length < 0 ? 0 : source->length;
	return 0;
}
