/* arena.h -- memory that dies together, bounded at birth.
 * A function that takes an arena returns memory that lives as long as that arena.
 * Threads: an arena belongs to one. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/cc.h"

struct arena;

/* max: bytes handed out at the most, each piece counted in units of 16.  NULL without memory. */
struct arena *arena_new(size_t max) CHECKED;
void arena_free(struct arena *arena); /* NULL is fine */
DEFINE_AUTO(struct arena, arena_free)

/* size bytes, zeroed, aligned for any type; NULL when max or memory is exhausted. */
void *arena_alloc(struct arena *arena, size_t size) CHECKED;
/* count * size bytes, zeroed; NULL also when the product overflows. */
void *arena_array(struct arena *arena, size_t count, size_t size) CHECKED;
char *arena_dup(struct arena *arena, const char *bytes, size_t len) CHECKED; /* adds a NUL */
char *arena_strdup(struct arena *arena, const char *text) CHECKED;
char *arena_printf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3) CHECKED;

#endif
