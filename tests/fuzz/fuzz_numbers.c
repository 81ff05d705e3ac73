/* Input: element type (u8), raw length (3 bytes, little-endian), bytes that are decoded to planes of that length
 * and, as planes, encoded.  Decoding writes exactly the raw length or fails, with vectors as without; what was
 * encoded comes back, and is the same without vectors. */
#include "store/numbers.h"
#include "store/planes.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct numbers *numbers, *plain; /* making one costs more than most inputs */

static void decode(uint8_t type, size_t raw_len, const uint8_t *stored, size_t len)
{
	struct err err;
	/* Of their own, so that a byte too many is noticed. */
	uint8_t *a = malloc(raw_len);
	uint8_t *b = malloc(raw_len);
	if (a && b) {
		const int bad = numbers_decode(numbers, type, stored, len, a, raw_len, &err);
		if ((bad && err.status != ERR_INVALID) ||
		    numbers_decode(plain, type, stored, len, b, raw_len, &err) != bad ||
		    (!bad && memcmp(a, b, raw_len) != 0))
			abort();
	}
	free(a);
	free(b);
}

static void round_trip(uint8_t type, const uint8_t *planes, size_t len)
{
	struct err err;
	const size_t room = len + PLANES_MAX;
	size_t n, other;
	uint8_t *back = malloc(len);
	uint8_t *out = malloc(room);
	uint8_t *same = malloc(room);
	if (back && out && same) {
		if (numbers_encode(numbers, type, planes, len, out, room, &n, &err) ||
		    numbers_encode(plain, type, planes, len, same, room, &other, &err) || !n || n != other ||
		    memcmp(out, same, n) != 0 || numbers_decode(plain, type, out, n, back, len, &err) ||
		    memcmp(planes, back, len) != 0)
			abort();
	}
	free(back);
	free(out);
	free(same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!numbers && (numbers = numbers_new()) && (plain = numbers_new()))
		numbers_plain(plain);
	if (!numbers || !plain || size < 5 || size > 1 << 20 || !planes_known(data[0]))
		return 0;
	const size_t len = data[1] | (size_t)data[2] << 8 | (size_t)(data[3] & 7) << 16;
	if (len)
		decode(data[0], len, data + 4, size - 4);
	round_trip(data[0], data + 4, size - 4);
	return 0;
}
