/* sender.h -- packs on their way to the daemon, a few at a time, each over a connection and in a
 * thread of its own.
 * A pack that cannot be sent -- the connection breaks, the daemon is restarted or busy -- is tried
 * again for PATIENCE_S; to send a pack twice changes nothing.
 * Threads: a struct sender belongs to one. */
#ifndef CLI_SENDER_H
#define CLI_SENDER_H

#include "base/cc.h"
#include "base/err.h"
#include "cli/api.h"

#include <stdint.h>
#include <stdio.h>

#define SENDER_LANES 4
#define PATIENCE_S 180

struct sender; /* opaque */

/* A pack: file's first len bytes, PUT to path. */
struct parcel {
	char path[128];
	FILE *file;
	int64_t len;
	int64_t raw; /* bytes of the file pushed that are in it, for progress */
};

/* tick (may be NULL) is called from sender_put() and sender_drain(), several times a second. */
int sender_open(struct sender **ret_sender, const struct api *like, void (*tick)(void *arg),
		void *arg, struct err *err) CHECKED;
/* What is under way is waited for.  NULL is fine. */
void sender_close(struct sender *sender);
DEFINE_AUTO(struct sender, sender_close)

/* Send it as soon as a connection is free; parcel->file is the sender's, also on failure.  -1: one
 * of those before could not be sent; err is its. */
int sender_put(struct sender *sender, const struct parcel *parcel, struct err *err) CHECKED;
/* Wait until all are sent. */
int sender_drain(struct sender *sender, struct err *err) CHECKED;

/* Bytes of whole packs that arrived; raw bytes that are over, those under way in part. */
void sender_sums(struct sender *sender, int64_t *ret_sent, int64_t *ret_raw);

#endif
