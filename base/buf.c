#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *buf, size_t max)
{
	*buf = (struct buf){.max = max};
}

void buf_done(struct buf *buf)
{
	free(buf->data);
	buf_init(buf, buf->max);
}

void buf_reset(struct buf *buf)
{
	buf->len = 0;
	buf->failed = buf->full = false;
	if (buf->data)
		buf->data[0] = 0;
}

static void *refuse(struct buf *buf, bool full)
{
	buf->failed = true;
	buf->full = full;
	return NULL;
}

void *buf_grow(struct buf *buf, size_t len)
{
	if (buf->failed)
		return NULL;
	if (len > buf->max - buf->len || len >= (size_t)PTRDIFF_MAX - buf->len)
		return refuse(buf, true);
	const size_t need = buf->len + len + 1;
	if (!buf->data || need > buf->room) {
		size_t room = buf->room ? buf->room : 64;
		while (room < need)
			room *= 2;
		if (room - 1 > buf->max)
			room = buf->max + 1;
		char *data = realloc(buf->data, room);
		if (!data)
			return refuse(buf, false);
		buf->data = data;
		buf->room = room;
	}
	buf->data[buf->len] = 0;
	return buf->data + buf->len;
}

void buf_grown(struct buf *buf, size_t len)
{
	buf->len += len;
	buf->data[buf->len] = 0;
}

void buf_add(struct buf *buf, const void *bytes, size_t len)
{
	void *room = buf_grow(buf, len);
	if (!room)
		return;
	if (len)
		memcpy(room, bytes, len);
	buf_grown(buf, len);
}

void buf_addc(struct buf *buf, char c)
{
	buf_add(buf, &c, 1);
}

void buf_adds(struct buf *buf, const char *text)
{
	buf_add(buf, text, strlen(text));
}

void buf_addf(struct buf *buf, const char *fmt, ...)
{
	va_list args, again;
	va_start(args, fmt);
	va_copy(again, args);
	const int len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	char *room = len < 0 ? refuse(buf, false) : buf_grow(buf, (size_t)len);
	if (room) {
		vsnprintf(room, (size_t)len + 1, fmt, again);
		buf_grown(buf, (size_t)len);
	}
	va_end(again);
}

static void add_le(struct buf *buf, uint64_t v, unsigned len)
{
	uint8_t bytes[8];
	for (unsigned i = 0; i < len; i++)
		bytes[i] = (uint8_t)(v >> (8 * i));
	buf_add(buf, bytes, len);
}

void buf_add_le32(struct buf *buf, uint32_t v)
{
	add_le(buf, v, 4);
}

void buf_add_le64(struct buf *buf, uint64_t v)
{
	add_le(buf, v, 8);
}

int buf_ok(const struct buf *buf, const char *what, struct err *err)
{
	if (!buf->failed)
		return 0;
	if (buf->full)
		return err_set(err, ERR_TOO_LARGE, "%s: more than %zu bytes", what, buf->max);
	err_nomem(err);
	return err_in(err, "%s", what);
}

char *buf_take(struct buf *buf, size_t *ret_len)
{
	if (!buf->data && !buf_grow(buf, 0))
		return NULL;
	char *data = buf->data;
	if (ret_len)
		*ret_len = buf->len;
	buf_init(buf, buf->max);
	return data;
}
