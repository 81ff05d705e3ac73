/* chance.h -- splitmix64 (Steele, Lea, Flood, OOPSLA 2014): numbers that look random, from any seed, the same
 * everywhere and for ever: chunks are cut by them (store/cut.c).  No secret.  Threads: pure. */
#ifndef BASE_CHANCE_H
#define BASE_CHANCE_H

#include <stdint.h>

#define CHANCE_STEP UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t chance_mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* The next of those that *state, any number at first, leads to. */
static inline uint64_t chance_next(uint64_t *state)
{
	return chance_mix(*state += CHANCE_STEP);
}

#endif
