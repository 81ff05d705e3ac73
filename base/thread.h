/* thread.h -- how urgent a thread is. */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

/* The calling thread runs after those of less nice (0: as the process), when all want a core; of this
 * thread alone, which is Linux's way and not POSIX's.  Advice: where it is refused, nothing changes. */
void thread_nice(int nice);

#endif
