/* Input: element type (u8), raw length (3 bytes, little-endian), that many old bytes, then bytes that are
 * decoded against them and, with the old ones, encoded.  Decoding writes exactly the raw length or fails,
 * with vectors as without; what was encoded comes back. */
#include "store/diff.h"
#include "store/planes.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct differ *differ, *plain; /* making one costs more than most inputs */

static void decode(const uint8_t *old, size_t raw_len, const uint8_t *stored, size_t len)
{
	struct err err;
	const struct coded coded = {stored, (uint32_t)len, CODEC_DELTA, 0};
	/* Of their own, so that a byte too many is noticed. */
	uint8_t *before = malloc(raw_len + !raw_len);
	uint8_t *a = malloc(raw_len + !raw_len);
	uint8_t *b = malloc(raw_len + !raw_len);
	if (before && a && b) {
		memcpy(before, old, raw_len);
		const int bad = diff_decode(differ, &coded, before, a, raw_len, &err);
		if ((bad && err.status != ERR_INVALID) ||
		    diff_decode(plain, &coded, before, b, raw_len, &err) != bad ||
		    (!bad && memcmp(a, b, raw_len) != 0))
			abort();
	}
	free(before);
	free(a);
	free(b);
}

/* The first half against the second. */
static void round_trip(uint8_t type, const uint8_t *data, size_t len)
{
	struct err err;
	struct coded coded;
	uint8_t *raw = malloc(len);
	uint8_t *copy = malloc(len);
	if (raw && copy) {
		if (diff_encode(differ, type, data, data + len, len, &coded, &err) || coded.len > len)
			abort();
		if (coded.len) {
			memcpy(copy, coded.bytes, coded.len);
			coded.bytes = copy;
			if (diff_decode(plain, &coded, data, raw, len, &err) ||
			    memcmp(raw, data + len, len) != 0)
				abort();
		}
	}
	free(raw);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!differ && (differ = differ_new()) && (plain = differ_new()))
		differ_plain(plain);
	if (!differ || !plain || size < 6 || size > 1 << 20)
		return 0;
	const size_t len = data[1] | (size_t)data[2] << 8 | (size_t)(data[3] & 7) << 16;
	if (len <= size - 4)
		decode(data + 4, len, data + 4 + len, size - 4 - len);
	if (planes_known(data[0]))
		round_trip(data[0], data + 4, (size - 4) / 2);
	return 0;
}
