/* A header is understood alike however its bytes are dealt out, and what comes of it keeps the
 * promises of format.h. */
#include "store/format.h"
#include "store/inspect.h"

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

static void check_tensor(const struct inspect *in, uint32_t i)
{
	const struct inspect_tensor *t = &in->tensors[i];

	must(!i || in->tensors[i - 1].at <= t->at);
	must(t->dim_count <= WATCH_DIMS_MAX && t->at >= in->header);
	must(strlen(t->name) <= WATCH_TEXT_MAX && *t->type);
}

/* What is told is bounded, and sums up, whatever the header says. */
static void check_inspect(const uint8_t *data, size_t size)
{
	struct memory memory;
	const struct source source = source_memory(&memory, data, size);
	AUTO(inspect_free) struct inspect *in = NULL;
	uint64_t tensors = 0;
	struct err err;

	must(!inspect_source(&in, &source, &err));
	must(in->pair_count <= INSPECT_PAIRS_MAX && in->pair_count <= in->pairs_all);
	must(in->format != FORMAT_OPAQUE || !(in->tensor_count + in->pairs_all + in->type_count));
	for (uint32_t i = 0; i < in->pair_count; i++)
		must(strlen(in->pairs[i].key) <= WATCH_TEXT_MAX);
	for (uint32_t i = 0; i < in->type_count; i++)
		tensors += in->types[i].tensors;
	must(tensors == in->tensor_count);
	for (uint32_t i = 0; i < in->tensor_count; i++)
		check_tensor(in, i);
	must(*inspect_quantization(in) || !in->type_count);
	(void)inspect_tier_fits(in, "q4_k_m", &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_format(data, size);
	check_inspect(data, size);
	return 0;
}
