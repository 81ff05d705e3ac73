/* A header is understood alike however its bytes are dealt out, and what comes of it keeps the
 * promises of format.h. */
#include "store/format.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_segments(const struct format *format)
{
	uint32_t count;
	const struct segment *segments = format_segments(format, &count);
	uint64_t end = count ? format_data_at(format) : 0;

	must(count <= FORMAT_SEGMENTS_MAX);
	for (uint32_t i = 0; i < count; i++) {
		const struct segment *s = &segments[i];
		must(s->at >= end && s->len && s->pad < FORMAT_ALIGN_MAX);
		end = s->at + s->len + s->pad;
		must(strlen(format_name(format, s)) <= FORMAT_NAME_MAX);
	}
	must(end <= FORMAT_FILE_MAX + FORMAT_ALIGN_MAX);
}

static void check_format(const uint8_t *data, size_t size)
{
	AUTO(format_free) struct format *whole = format_new(), *bytes = format_new();
	if (!whole || !bytes)
		return;
	format_feed(whole, data, size);
	for (size_t i = 0; i < size; i++)
		format_feed(bytes, data + i, 1);
	must(format_state(whole) == format_state(bytes));
	must(format_failed_at(whole) == format_failed_at(bytes));
	uint32_t a, b;
	format_segments(whole, &a);
	format_segments(bytes, &b);
	must(a == b);
	if (format_state(whole) == FORMAT_KNOWN)
		check_segments(whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_format(data, size);
	return 0;
}
