/* expect_internal.h -- quants that have a scale, in two kinds.  Threads: see expect.h. */
#ifndef STORE_EXPECT_INTERNAL_H
#define STORE_EXPECT_INTERNAL_H

#include "store/expect.h"

#define EXPECT_EXTREME 15  /* context of quants that made their scale what it is */
#define EXPECT_GROUP_MIN 8 /* numbers that share a scale, at least */
#define EXPECT_AVX2_NUMBERS 32

/* An old quant q is now at (q * ratio + 128) / 256 + by, in steps of which one quant is 64, rounded down. */
struct shift {
	int16_t ratio; /* 1 is SHIFT_ONE */
	int16_t by;
};
#define SHIFT_ONE 16384
#define SHIFT_STEPS 64
#define SHIFT_MAX 4096 /* steps */

/* Quants, and how to tell from two blocks what their scale does to them. */
struct scale {
	uint8_t type, kind;
	uint8_t groups, numbers; /* of a block; of a group */
	int8_t zero;		 /* the number that stands for 0; from it all of these */
	int8_t least, most;	 /* numbers that there are */
	int8_t low, high;	 /* those as low or as high are the extremes */
	void (*shifts)(const uint8_t *old, const uint8_t *new, struct shift *ret); /* groups of them */
};

#if defined(__x86_64__)
#define EXPECT_HAS_AVX2 1
/* ret->number holds the old numbers of groups, and then what is expected: of so many of the first groups as
 * it returns, all but a few, or of none when they are neither of 32 numbers nor of 8. */
size_t expect_scaled_avx2(const struct scale *scale, const struct shift *shifts, size_t groups,
			  struct expected *ret);
#endif

#endif
