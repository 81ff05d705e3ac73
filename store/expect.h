/* expect.h -- what the numbers of a field are likely to be, given the old ones in their places: the number
 * itself that each is most likely to be, and a context (rans.h) that tells how far off it may be.
 * A float moves by as many of its last bits as its exponent leaves, so the exponent is its context.  A
 * quant whose block has a new scale moves towards where the old value now lies: that is the guess, and how
 * close the call was is its context.  Byte by byte: FORMAT.md.
 * All in integers, the same on every machine.
 * Threads: pure. */
#ifndef STORE_EXPECT_H
#define STORE_EXPECT_H

#include "store/layout.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPECT_MAX 8192u /* numbers at once */

/* Some blocks of two chunks of one type.  Of the new ones only fields before the one in question count. */
struct blocks {
	uint8_t type;
	const uint8_t *old, *new;
	size_t count;
};

/* One field of a block. */
struct place {
	uint8_t kind;	/* enum field_kind */
	size_t from, len; /* bytes */
};

/* Numbers of a byte or less, one in a byte. */
struct expected {
	uint8_t number[EXPECT_MAX];
	uint8_t turned[EXPECT_MAX]; /* 0, or 255: the difference is taken the other way round */
	uint8_t context[EXPECT_MAX];
};

/* How many numbers the field has in each block. */
unsigned place_numbers(const struct place *place);
/* Blocks to take at once, so that there are at most EXPECT_MAX numbers, and whole rounds of coders. */
size_t place_blocks(const struct place *place);

/* Fields of bytes, nibbles or bits: all of them out of blocks, one number a byte, and back. */
void numbers_take(const struct place *place, size_t block, const uint8_t *blocks, size_t count,
		  uint8_t *numbers);
void numbers_put(const struct place *place, size_t block, const uint8_t *numbers, size_t count,
		 uint8_t *blocks);
/* plain: never use AVX2, for tests. */
void expect_numbers(const struct blocks *blocks, const struct place *place, struct expected *ret,
		    bool plain);

/* One block's scales and minimums of eight sub-blocks: twelve bytes, sixteen numbers of six bits. */
#define SIXES_LEN 12u  /* bytes */
#define SIXES_PARTS 8u /* sub-blocks: scales, then as many minimums */
void sixes_part(const uint8_t *bytes, uint8_t *numbers);
void sixes_join(const uint8_t *numbers, uint8_t *bytes);
/* Any field's bytes without what lies between them, and back. */
void bytes_take(const struct place *place, size_t block, const uint8_t *blocks, size_t count,
		uint8_t *out);
void bytes_put(const struct place *place, size_t block, const uint8_t *in, size_t count,
	       uint8_t *blocks);
/* The exponent below which contexts begin: the highest that is not rare among n words. */
uint16_t expect_top(uint8_t type, uint8_t kind, const uint8_t *words, size_t n);
void expect_words(uint8_t type, uint8_t kind, uint16_t top, const uint8_t *words, size_t n,
		  uint8_t *context);

#endif
