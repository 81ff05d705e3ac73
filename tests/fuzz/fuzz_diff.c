/* Input: element type (u8), raw length (3 bytes, little-endian), then bytes that are both what is decoded
 * and what is encoded: decoding writes exactly the raw length or fails; what was encoded comes back. */
#include "store/diff.h"
#include "store/planes.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct differ *d, const uint8_t *data, size_t size, size_t raw_len)
{
	struct err err;
	const struct coded coded = {data, (uint32_t)size, CODEC_DELTA, 0};
	uint8_t *old = calloc(1, raw_len + !raw_len), *raw = malloc(raw_len + !raw_len);
	if (old && raw && diff_decode(d, &coded, old, raw, raw_len, &err) &&
	    err.status != ERR_INVALID)
		abort();
	free(old);
	free(raw);
}

/* The first half against the second. */
static void round_trip(struct differ *d, uint8_t type, const uint8_t *data, size_t len)
{
	struct err err;
	struct coded coded;
	uint8_t *raw = malloc(len);
	uint8_t *copy = malloc(len);
	if (raw && copy) {
		if (diff_encode(d, type, data, data + len, len, &coded, &err) || coded.len > len)
			abort();
		if (coded.len) {
			memcpy(copy, coded.bytes, coded.len);
			coded.bytes = copy;
			if (diff_decode(d, &coded, data, raw, len, &err) ||
			    memcmp(raw, data + len, len) != 0)
				abort();
		}
	}
	free(raw);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct differ *d; /* making one costs more than most inputs */
	if (!d)
		d = differ_new();
	if (!d || size < 6 || size > 1 << 20)
		return 0;
	decode(d, data + 4, size - 4, data[1] | (size_t)data[2] << 8 | (size_t)(data[3] & 7) << 16);
	if (planes_known(data[0]))
		round_trip(d, data[0], data + 4, (size - 4) / 2);
	return 0;
}
