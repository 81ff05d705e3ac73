/* likeness.h -- by which a tensor that was trained on is known again, whatever it is called and wherever
 * it lies: of its first numbers, which are above their mean.  Training moves numbers by a small part of
 * their spread and turns few of these bits over; those of unrelated tensors differ in half (a
 * locality-sensitive hash: Indyk and Motwani, STOC 1998).
 * Threads: pure. */
#ifndef STORE_LIKENESS_H
#define STORE_LIKENESS_H

#include <stdbool.h>
#include <stdint.h>

#define LIKENESS_BITS 256u
#define LIKENESS_BYTES_MAX 2048u /* of a tensor, that one is made from */

struct likeness {
	uint16_t bands[LIKENESS_BITS / 16];
};
#define LIKENESS_BANDS (LIKENESS_BITS / 16)

/* How many of a tensor's first bytes it takes, at most LIKENESS_BYTES_MAX; 0: the type has none. */
uint32_t likeness_needs(uint8_t type);
/* From likeness_needs() bytes.  False when they tell nothing, as constants do; then untouched. */
bool likeness_of(struct likeness *ret_likeness, uint8_t type, const uint8_t *bytes);
/* Whether one was trained from the other: at most a quarter of the bits differ, which happens to
 * unrelated ones once in 10^15. */
bool likeness_close(const struct likeness *a, const struct likeness *b);
unsigned likeness_distance(const struct likeness *a, const struct likeness *b); /* bits that differ */

#endif
