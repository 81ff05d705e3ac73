/* Input: u16 length of an old file, it, then a delta.  Applying it ends with an error or with a file;
 * and a delta between the two inputs brings the second back. */
#include "store/delta.h"

#include "tests/support/between.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(const struct source *old, const struct source *delta)
{
	struct err err;
	AUTO_BUF struct buf out = BUF_INIT(8 << 20);
	const struct sink sink = sink_buf(&out);
	if (delta_apply(old, delta, &sink, NULL, &err) && err.status != ERR_INVALID &&
	    err.status != ERR_UNTRUSTED && err.status != ERR_TOO_LARGE)
		abort();
}

static void round_trip(const struct source *old, const struct source *new, const uint8_t *bytes)
{
	struct err err;
	struct delta_stats stats;
	struct memory slot;
	AUTO_BUF struct buf delta = BUF_INIT(8 << 20), out = BUF_INIT(8 << 20);
	const struct sink to_out = sink_buf(&out);
	if (between(old, new, &delta, &stats, &err))
		abort();
	const struct source source = source_memory(&slot, delta.data, delta.len);
	if (delta_apply(old, &source, &to_out, NULL, &err) || out.len != new->size ||
	    (out.len && memcmp(out.data, bytes, out.len) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct memory a, b;
	if (size < 2 || size > 1 << 20)
		return 0;
	size_t len = data[0] | (size_t)data[1] << 8;
	if (len > size - 2)
		len = size - 2;
	const struct source old = source_memory(&a, data + 2, len);
	const struct source rest = source_memory(&b, data + 2 + len, size - 2 - len);
	apply(&old, &rest);
	if (size % 16 == 0) /* dear: cutters, encoders */
		round_trip(&old, &rest, data + 2 + len);
	return 0;
}
