/* half.h -- floats of 16 bits, sign, five bits of exponent, ten of fraction, as whole numbers.
 * Threads: pure. */
#ifndef STORE_HALF_H
#define STORE_HALF_H

#include <stdint.h>

/* As a multiple of 2^-24, without its sign; infinities and what is no number go on in the same way. */
static inline int64_t half_size(unsigned bits)
{
	const unsigned exponent = bits >> 10 & 31;
	return exponent ? (int64_t)((bits & 1023) | 1024) << (exponent - 1) : (int64_t)(bits & 1023);
}

#endif
