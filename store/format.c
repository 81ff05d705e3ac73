#include "store/format.h"

#include "store/gguf.h"
#include "store/safetensors.h"
#include "store/segments.h"

#include <stdlib.h>
#include <string.h>

#define SNIFF 4u /* "GGUF"; anything else may be safetensors, which has no magic */

struct format {
	enum format_state state;
	enum format_id id; /* which of the two is being tried; FORMAT_OPAQUE while sniffing */
	uint8_t head[SNIFF];
	uint32_t head_len;
	uint64_t failed_at;
	struct segments segments;
	const struct watch *watch; /* borrowed; NULL: none */
	union {
		struct gguf gguf;
		struct safetensors safetensors;
	} as;
};

static const char *const format_names[] = {
	[FORMAT_OPAQUE] = "opaque",
	[FORMAT_GGUF] = "gguf",
	[FORMAT_SAFETENSORS] = "safetensors",
};

const char *format_id_name(uint8_t id)
{
	return format_names[id < COUNT_OF(format_names) ? id : FORMAT_OPAQUE];
}

int format_id_parse(uint8_t *ret_id, const char *word)
{
	for (unsigned id = 0; id < COUNT_OF(format_names); id++) {
		if (strcmp(word, format_names[id]))
			continue;
		*ret_id = (uint8_t)id;
		return 0;
	}
	return -1;
}

struct format *format_new(void)
{
	return calloc(1, sizeof(struct format));
}

void format_free(struct format *format)
{
	if (!format)
		return;
	segments_done(&format->segments);
	free(format);
}

static uint64_t format_at(const struct format *format)
{
	return format->id == FORMAT_GGUF ? format->as.gguf.at : format->as.safetensors.at;
}

static void format_feed_parser(struct format *format, const uint8_t *bytes, size_t len)
{
	if (format->state != FORMAT_READING)
		return;
	if (format->id == FORMAT_GGUF)
		format->state = gguf_feed(&format->as.gguf, &format->segments, bytes, len);
	else
		format->state =
			safetensors_feed(&format->as.safetensors, &format->segments, bytes, len);
	if (format->state != FORMAT_UNKNOWN)
		return;
	format->failed_at = format_at(format);
	segments_done(&format->segments);
}

static void format_choose(struct format *format)
{
	if (!memcmp(format->head, "GGUF", SNIFF)) {
		format->id = FORMAT_GGUF;
		gguf_init(&format->as.gguf);
		format->as.gguf.watch = format->watch;
	} else {
		format->id = FORMAT_SAFETENSORS;
		safetensors_init(&format->as.safetensors);
		format->as.safetensors.watch = format->watch;
	}
	format_feed_parser(format, format->head, SNIFF);
}

void format_watch(struct format *format, const struct watch *watch)
{
	format->watch = watch;
}

enum format_state format_feed(struct format *format, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	if (format->state != FORMAT_READING)
		return format->state;
	while (len && format->head_len < SNIFF) {
		format->head[format->head_len++] = *p++;
		len--;
		if (format->head_len == SNIFF)
			format_choose(format);
	}
	if (len)
		format_feed_parser(format, p, len);
	return format->state;
}

static int format_read(struct format *format, const struct source *source, uint8_t *bytes,
		       size_t room, struct err *err)
{
	uint64_t at = 0;

	while (at < source->size && format->state == FORMAT_READING) {
		size_t n = source->size - at < room ? (size_t)(source->size - at) : room;
		if (source->read(source->arg, at, bytes, n, err))
			return -1;
		format_feed(format, bytes, n);
		at += n;
	}
	if (format->state == FORMAT_READING) {
		format->state = FORMAT_UNKNOWN;
		format->failed_at = at;
		segments_done(&format->segments);
	}
	return 0;
}

int format_parse_watched(struct format **ret_format, const struct source *source,
			 const struct watch *watch, struct err *err)
{
	const size_t room = 64u << 10;
	AUTO(format_free) struct format *format = format_new();
	uint8_t *bytes = malloc(room);

	if (!format || !bytes) {
		free(bytes);
		return err_nomem(err);
	}
	format_watch(format, watch);
	int failed = format_read(format, source, bytes, room, err);
	free(bytes);
	if (failed)
		return err_in(err, "header");
	*ret_format = TAKE(format);
	return 0;
}

int format_parse(struct format **ret_format, const struct source *source, struct err *err)
{
	return format_parse_watched(ret_format, source, NULL, err);
}

enum format_state format_state(const struct format *format)
{
	return format->state;
}

enum format_id format_id(const struct format *format)
{
	return format->state == FORMAT_KNOWN ? format->id : FORMAT_OPAQUE;
}

uint64_t format_failed_at(const struct format *format)
{
	return format->failed_at;
}

uint64_t format_data_at(const struct format *format)
{
	return format->id == FORMAT_GGUF ? format->as.gguf.data_at
					 : format->as.safetensors.data_at;
}

const struct segment *format_segments(const struct format *format, uint32_t *ret_count)
{
	*ret_count = format->state == FORMAT_KNOWN ? format->segments.count : 0;
	return format->segments.items;
}

const char *format_name(const struct format *format, const struct segment *segment)
{
	return format->segments.names + segment->name;
}
