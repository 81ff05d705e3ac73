/* exchange_internal.h -- an exchange from inside, for exchange*.c only.
 *   exchange.c       a request's stages, and its answer
 *   exchange_head.c  what its head says, and whether it may go on
 *   exchange_wait.c  deadlines; suspended, resumed, on a worker
 * Threads: the connection's loop; exchange_problem() and exchange_deadline() also whoever has it while
 * it is suspended. */
#ifndef SERVER_EXCHANGE_INTERNAL_H
#define SERVER_EXCHANGE_INTERNAL_H

#include "server/exchange.h"

#define JSON_MAX (1024 * 1024) /* a body in memory, unless the row says less */
#define SLOWEST_BYTES_MS 8     /* body or answer: a millisecond more for so many bytes */

/* ---- exchange.c ---- */
/* Queue the reply; -1: end the connection. */
int exchange_answer(struct exchange *x);
/* err becomes the reply; logs what the client is not told. */
void exchange_problem(struct exchange *x, const struct err *err);

/* ---- exchange_head.c ---- */
/* Everything that can be known from the head.  *ret_len: of the body; -1 chunked, 0 without one. */
int exchange_head(struct exchange *x, int64_t *ret_len, struct err *err) CHECKED;

/* ---- exchange_wait.c ---- */
void exchange_deadline(struct exchange *x, int64_t ms); /* from now; 0: none */
/* On the loop, whenever an exchange is back or over: whoever landed first comes here, if only because
 * its client is gone, so that nobody behind it is forgotten. */
void exchange_resume_landed(struct loop *loop);
/* .begin on a worker, while nothing of the body is read. */
int exchange_post_begin(struct exchange *x, struct err *err) CHECKED;
/* dispatch_run() on a worker, or the answer why not; -1: end the connection. */
int exchange_post_work(struct exchange *x);

#endif
