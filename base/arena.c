#include "base/arena.h"

#include <stdarg.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 4096

struct block {
	struct block *next;
	size_t used, room;
	alignas(max_align_t) unsigned char bytes[];
};

struct arena {
	struct block *first; /* the one being filled */
	size_t left;	     /* bytes that may still be handed out */
};

struct arena *arena_new(size_t max)
{
	struct arena *arena = calloc(1, sizeof(*arena));
	if (arena)
		arena->left = max;
	return arena;
}

void arena_free(struct arena *arena)
{
	if (!arena)
		return;
	while (arena->first) {
		struct block *next = arena->first->next;
		free(arena->first);
		arena->first = next;
	}
	free(arena);
}

static struct block *block_for(struct arena *arena, size_t size)
{
	struct block *block = arena->first;
	if (block && size <= block->room - block->used)
		return block;
	const size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
	block = calloc(1, sizeof(*block) + room);
	if (!block)
		return NULL;
	block->room = room;
	block->next = arena->first;
	arena->first = block;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	const size_t align = alignof(max_align_t);
	if (size > arena->left || size > PTRDIFF_MAX / 2)
		return NULL;
	const size_t whole = (size + align - 1) / align * align;
	struct block *block = block_for(arena, whole);
	if (!block)
		return NULL;
	void *memory = block->bytes + block->used;
	block->used += whole;
	arena->left -= whole < arena->left ? whole : arena->left;
	return memory;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
	size_t whole;
	if (__builtin_mul_overflow(count, size, &whole))
		return NULL;
	return arena_alloc(arena, whole);
}

char *arena_dup(struct arena *arena, const char *bytes, size_t len)
{
	char *copy = len < SIZE_MAX ? arena_alloc(arena, len + 1) : NULL;
	if (copy && len)
		memcpy(copy, bytes, len);
	return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
	return arena_dup(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	const int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	char *text = len < 0 ? NULL : arena_alloc(arena, (size_t)len + 1);
	if (text)
		vsnprintf(text, (size_t)len + 1, fmt, again);
	va_end(again);
	return text;
}
