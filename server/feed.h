/* feed.h -- an answer's body made piece by piece on the workers, a piece when the client has taken
 * the one before.  A slow client costs one piece of memory and no thread.
 * Threads: feed_reply() on a worker; fill on a worker, one at a time; free on the loop. */
#ifndef SERVER_FEED_H
#define SERVER_FEED_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "server/reply.h"
#include "server/request.h"

#include <stdbool.h>
#include <stdint.h>

struct feed_source {
	void *cls; /* the feed's once feed_reply() is called, also on failure */
	/* Append the next bytes to piece; none: the end.  An error breaks the connection off, which
	 * the client notices: it knows the length, or misses the last chunk. */
	int (*fill)(void *cls, struct db *db, struct buf *piece, struct err *err);
	void (*free)(void *cls);
	size_t piece_max; /* bytes of one piece at the most */
	int64_t length;	  /* bytes in all; -1: not known (chunked) */
};

#define FEEDS_MAX 64 /* at once; a network has its share: share.h */

/* Answer code with what source gives.  ERR_BUSY when too many answers are being fed, or to this network. */
int feed_reply(struct reply *reply, struct request *rq, unsigned code, const char *type,
	       const struct feed_source *source, struct err *err) CHECKED;

#endif
