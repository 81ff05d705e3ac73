/* le.h -- little-endian integers out of bytes and into them.  Threads: pure. */
#ifndef STORE_LE_H
#define STORE_LE_H

#include <stdint.h>

static inline uint32_t le_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t le_u64(const uint8_t *p)
{
	return (uint64_t)le_u32(p) | (uint64_t)le_u32(p + 4) << 32;
}

/* The lowest bytes (1 to 8) of value, at `to`. */
static inline void le_put(uint8_t *to, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> 8 * i);
}

#endif
