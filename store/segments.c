#include "store/segments.h"

#include "base/grow.h"

#include <string.h>

static int segments_add_name(struct segments *segments, const char *name, uint32_t len)
{
	if (len >= FORMAT_NAMES_MAX - segments->names_len)
		return -1;
	if (len >= segments->names_room - segments->names_len) {
		uint32_t room = segments->names_room + (256u << 10);
		char *names = realloc(segments->names, room);
		if (!names)
			return -1;
		segments->names = names;
		segments->names_room = room;
	}
	memcpy(segments->names + segments->names_len, name, len);
	segments->names[segments->names_len + len] = '\0';
	segments->names_len += len + 1;
	return 0;
}

int segments_add(struct segments *segments, const struct segment *segment, const char *name,
		 uint32_t name_len)
{
	if (!segment->len)
		return 0;
	if (segments->count == FORMAT_SEGMENTS_MAX)
		return -1;
	struct segment *items = grow_array(segments->items, &segments->room, segments->count,
					   sizeof *items);
	if (!items)
		return -1;
	segments->items = items;
	items[segments->count] = *segment;
	items[segments->count].name = segments->names_len;
	if (segments_add_name(segments, name, name_len))
		return -1;
	segments->count++;
	return 0;
}

/* Names lie in the order of the header, which makes the order of equals certain. */
static int segment_cmp(const void *a, const void *b)
{
	const struct segment *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static int segments_place(struct segments *segments, uint64_t data_at)
{
	for (uint32_t i = 0; i < segments->count; i++) {
		struct segment *s = &segments->items[i];
		if (s->at > FORMAT_FILE_MAX - data_at)
			return -1;
		s->at += data_at;
		if (s->len != SEGMENT_OPEN && s->len > FORMAT_FILE_MAX - s->at)
			return -1;
	}
	if (segments->count)
		qsort(segments->items, segments->count, sizeof *segments->items,
		      segment_cmp);
	return 0;
}

/* Close segment, whose successor begins at next. */
static int segment_close(struct segment *segment, uint64_t next, uint32_t align)
{
	if (segment->len == SEGMENT_OPEN)
		segment->len = next - segment->at;
	uint64_t end = segment->at + segment->len;
	if (!segment->len || end > next)
		return -1;
	uint64_t pad = (align - end % align) % align;
	segment->pad = (uint32_t)(pad < next - end ? pad : next - end);
	return 0;
}

int segments_settle(struct segments *segments, uint64_t data_at, uint32_t align)
{
	if (segments_place(segments, data_at))
		return -1;
	uint64_t next = UINT64_MAX;
	for (uint32_t i = segments->count; i-- > 0;) {
		struct segment *s = &segments->items[i];
		uint64_t at = s->at;
		if (s->len == SEGMENT_OPEN && next == UINT64_MAX)
			segments->count--;
		else if (segment_close(s, next, align))
			return -1;
		next = at;
	}
	return 0;
}

void segments_done(struct segments *segments)
{
	free(segments->items);
	free(segments->names);
	*segments = (struct segments){0};
}
