/* cc.h -- what the compiler offers, under short names.
 * Threads: macros only. */
#ifndef BASE_CC_H
#define BASE_CC_H

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define CHECKED __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define UNUSED __attribute__((unused))
/* For large variables on hot paths, which are filled before they are read: we build with
 * -ftrivial-auto-var-init=zero. */
#define UNINITIALIZED __attribute__((uninitialized))

/* AUTO(foo_free) struct foo *f = NULL;  frees f when it leaves scope.  Each type that wants it
 * says DEFINE_AUTO(struct foo, foo_free) once, beside foo_free(), which must take NULL.
 * Always initialise at the declaration, never jump over it. */
#define AUTO(fn) __attribute__((cleanup(fn##_auto)))
#define DEFINE_AUTO(type, fn)                                                            \
	UNUSED static inline void fn##_auto(type **slot)                                  \
	{                                                                                 \
		fn(*slot);                                                                \
	}

/* AUTO_FREE uint8_t *bytes = malloc(n);  the same for what free() takes. */
UNUSED static inline void cc_free(void *slot)
{
	void *memory;
	memcpy(&memory, slot, sizeof(memory));
	free(memory);
}
#define AUTO_FREE __attribute__((cleanup(cc_free)))

/* Hand the pointer on: the variable forgets it, so AUTO no longer frees it. */
#define TAKE(p)                                                                           \
	(__extension__({                                                                  \
		__typeof__(p) taken_ = (p);                                               \
		(p) = NULL;                                                               \
		taken_;                                                                   \
	}))

#endif
