/* cond.h -- conditions that are waited for by monotonic time, so that a wall clock that is set makes
 * no wait longer or shorter.
 * Threads: as pthread's own. */
#ifndef BASE_COND_H
#define BASE_COND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* For cond_wait_until(); pthread's functions signal and destroy it. */
void cond_init(pthread_cond_t *cond);
/* With lock held, until cond is signalled or clock_monotonic_ms() is until_ms.  false: the time is
 * over.  As with pthread, true may come without cause: ask for what is waited for, in a loop. */
bool cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t until_ms);

#endif
