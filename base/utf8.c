#include "base/utf8.h"

#include <stdint.h>

/* What may follow a lead byte: how many bytes, and the range of the first of them; the others are
 * always 80..BF.  The narrow ranges keep out overlong forms, surrogates and too large values. */
static const struct lead {
	uint8_t from, to, more, low, high;
} leads[] = {
	{0x00, 0x7f, 0, 0x00, 0x00}, {0xc2, 0xdf, 1, 0x80, 0xbf}, {0xe0, 0xe0, 2, 0xa0, 0xbf},
	{0xe1, 0xec, 2, 0x80, 0xbf}, {0xed, 0xed, 2, 0x80, 0x9f}, {0xee, 0xef, 2, 0x80, 0xbf},
	{0xf0, 0xf0, 3, 0x90, 0xbf}, {0xf1, 0xf3, 3, 0x80, 0xbf}, {0xf4, 0xf4, 3, 0x80, 0x8f},
};

static const struct lead *lead_of(uint8_t byte)
{
	for (size_t i = 0; i < COUNT_OF(leads); i++)
		if (byte >= leads[i].from && byte <= leads[i].to)
			return &leads[i];
	return NULL;
}

size_t utf8_step(const char *text, size_t len)
{
	const uint8_t *bytes = (const uint8_t *)text;
	const struct lead *lead = len ? lead_of(bytes[0]) : NULL;
	if (!lead || lead->more >= len)
		return 0;
	if (lead->more && (bytes[1] < lead->low || bytes[1] > lead->high))
		return 0;
	for (size_t i = 2; i <= lead->more; i++)
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return 0;
	return (size_t)lead->more + 1;
}
