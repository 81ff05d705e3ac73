/* One range of one object: its bytes as they arrive, chunk by chunk. */
#include "base/file.h"
#include "sdk/fetch.h"

#include <stdio.h>
#include <string.h>

#define GAP_MAX (256 * 1024) /* bytes fetched in vain rather than asking twice */

/* Bytes of an object as they arrive, and the chunk that they complete next. */
struct stream {
	struct flotilla *f;
	struct fetching *g;
	const struct flotilla_response *response;
	enum way way;
	uint32_t object;
	int64_t from;	 /* what was asked for */
	int64_t at;	 /* position in the object of the next byte; -1: not known yet */
	uint32_t filled; /* of the current chunk */
	bool probe;	 /* verify one chunk, write nothing */
	bool enough;	 /* nothing further in this stream is wanted */
	int code;
};

/* Whether the next chunk lies further on in this stream. */
static bool goes_on(const struct stream *s)
{
	const struct fetching *g = s->g;
	if (s->probe || g->next == g->recipe->count || fetch_way(g, g->next) != s->way)
		return false;
	const struct fetch_place p = fetch_place(g, g->next);
	return p.stored && p.object == s->object && p.at >= s->at;
}

static int finish_chunk(struct stream *s)
{
	struct fetching *g = s->g;
	struct err err;
	if (fetch_way_open(g, &err))
		return sdk_fail(s->f, FLOTILLA_E_CONTENT, &err);
	s->f->stats.chunks++;
	s->f->stats.chunks_delta += s->way == WAY_DELTA;
	s->f->ways |= 1u << s->way;
	s->filled = 0;
	int code = s->probe ? FLOTILLA_OK : fetch_write(s->f, g);
	/* What lies between two chunks of a range is here already. */
	if (!code && !s->probe)
		code = fetch_copy_on(s->f, g, g->reused + FETCH_SPAN * (uint64_t)s->f->o.slice_bytes);
	s->enough = code || !goes_on(s);
	return code;
}

static int take(struct stream *s, const uint8_t *bytes, size_t len)
{
	while (len && !s->enough) {
		const struct fetch_place p = fetch_place(s->g, s->g->next);
		const int64_t want = p.at + s->filled;
		if (want > s->at) { /* a gap, or the head of an object that came whole */
			const size_t skip = (int64_t)len < want - s->at ? len : (size_t)(want - s->at);
			bytes += skip;
			len -= skip;
			s->at += (int64_t)skip;
			continue;
		}
		const size_t part = len < p.stored - s->filled ? len : p.stored - s->filled;
		memcpy(s->g->stored + s->filled, bytes, part);
		s->filled += (uint32_t)part;
		bytes += part;
		len -= part;
		s->at += (int64_t)part;
		if (s->filled == p.stored) {
			const int code = finish_chunk(s);
			if (code)
				return code;
		}
	}
	return FLOTILLA_OK;
}

/* Counts what came; not OK when it is more than was signed for.  The raw file's length is signed, too. */
static int count(struct flotilla *f, struct fetching *g, enum way way, size_t len)
{
	int64_t *sum = way == WAY_RAW ? &g->received_raw : &g->received;
	const int64_t cap = way == WAY_RAW ? (int64_t)(g->recipe->length + CHUNK_RAW_MAX) : g->cap;
	*sum += (int64_t)len;
	f->stats.bytes += len;
	return *sum <= cap ? FLOTILLA_OK
			   : sdk_say(f, FLOTILLA_E_TOO_MUCH,
				     "the server sent more than was signed for");
}

/* Transports may tell the status only when all is over. */
static bool refused(int status)
{
	return status && status != 200 && status != 206;
}

static int on_bytes(void *arg, const void *bytes, size_t len)
{
	struct stream *s = arg;
	s->code = count(s->f, s->g, s->way, len);
	if (s->at < 0) /* without Content-Range it is the whole object */
		s->at = s->response->range_from >= 0 ? s->response->range_from : 0;
	if (s->code)
		return 1;
	if (refused(s->response->status))
		return 0; /* what an error says is not read, but its connection can be used again */
	if (s->at > s->from && s->filled == 0 && s->response->range_from > s->from) {
		s->g->trouble = TROUBLE_CHUNK;
		s->code = sdk_say(s->f, FLOTILLA_E_NETWORK, "another range than was asked for");
	} else {
		s->code = take(s, bytes, len);
	}
	return s->code || s->enough;
}

/* How far one request goes: chunks in the order of the file while they lie onwards in one object, but
 * for those that are here. */
static int64_t range_end(const struct flotilla *f, const struct fetching *g)
{
	const struct fetch_place first = fetch_place(g, g->next);
	const enum way way = fetch_way(g, g->next);
	int64_t end = first.at + first.stored, copied = 0;
	for (uint32_t i = g->next + 1; i < g->recipe->count; i++) {
		if (fetch_here(g, &g->recipe->chunks[i])) {
			copied += g->recipe->chunks[i].len;
			if (copied > FETCH_SPAN * f->o.slice_bytes)
				break;
			continue;
		}
		const struct fetch_place p = fetch_place(g, i);
		if (fetch_way(g, i) != way || !p.stored || p.object != first.object || p.at < end ||
		    p.at - end > GAP_MAX || p.at + p.stored - first.at > f->o.slice_bytes)
			break;
		end = p.at + p.stored;
	}
	return end - 1;
}

/* The object is not there, or not for us.  A delta is left for less. */
static enum trouble refusal(enum way way, int status)
{
	if (way == WAY_DELTA)
		return TROUBLE_GONE;
	return status == 408 || status == 425 || status == 429 || status >= 500 ? TROUBLE_RETRY
										 : TROUBLE_GONE;
}

/* What a request that is over has come to; done: chunks were. */
static int judge(struct flotilla *f, struct fetching *g, const struct stream *s, const char *url,
		 int status, bool done)
{
	if (status > 0 && refused(status)) {
		g->trouble = refusal(s->way, status);
		return sdk_say(f, FLOTILLA_E_NETWORK, "%s: the server answered %d", url, status);
	}
	if (s->code)
		return s->code;
	if (status < 0 && !done)
		return status;
	if (done) /* cut off or not: what came is kept */
		return FLOTILLA_OK;
	g->trouble = TROUBLE_CHUNK;
	return sdk_say(f, FLOTILLA_E_NETWORK, "%s: fewer bytes than asked for", url);
}

static int request_range(struct flotilla *f, struct fetching *g, int64_t to, bool probe)
{
	char path[SDK_PATH], url[2 * SDK_PATH];
	const struct fetch_place first = fetch_place(g, g->next);
	const uint32_t before = g->next;
	struct flotilla_response response;
	struct stream s = {.f = f, .g = g, .response = &response, .way = fetch_way(g, g->next),
			   .object = first.object, .from = first.at, .at = -1, .probe = probe};
	const struct flotilla_request request = {.url = url, .from = first.at, .to = to,
						 .max_bytes = fetch_object(g, path),
						 .on_body = on_bytes, .arg = &s};
	snprintf(url, sizeof(url), "%s%s", f->url, path);
	g->trouble = TROUBLE_RETRY;
	const int status = sdk_get(f, &request, &response);
	return judge(f, g, &s, url, status, g->next > before || (probe && s.enough));
}

int fetch_range(struct flotilla *f, struct fetching *g)
{
	return request_range(f, g, range_end(f, g), false);
}

int fetch_range_probe(struct flotilla *f, struct fetching *g)
{
	const struct fetch_place p = fetch_place(g, g->next);
	return request_range(f, g, p.at + p.stored - 1, true);
}

/* ---- the head of an object ---- */

struct head {
	struct flotilla *f;
	struct fetching *g;
	uint8_t *bytes;
	size_t len, filled;
	int code;
};

static int on_head(void *arg, const void *bytes, size_t len)
{
	struct head *h = arg;
	const size_t part = len < h->len - h->filled ? len : h->len - h->filled;
	h->code = count(h->f, h->g, WAY_DELTA, len);
	if (h->code)
		return 1;
	memcpy(h->bytes + h->filled, bytes, part);
	h->filled += part;
	return h->filled == h->len;
}

int fetch_head(struct flotilla *f, struct fetching *g, const char *path, uint8_t *bytes, size_t len)
{
	char url[2 * SDK_PATH];
	struct flotilla_response response;
	struct head head = {.f = f, .g = g, .bytes = bytes, .len = len};
	const struct flotilla_request request = {.url = url, .from = 0, .to = (int64_t)len - 1,
						 .max_bytes = (int64_t)len, .on_body = on_head,
						 .arg = &head};
	snprintf(url, sizeof(url), "%s%s", f->url, path);
	g->trouble = TROUBLE_RETRY;
	const int status = sdk_get(f, &request, &response);
	if (status < 0 || head.code)
		return head.code ? head.code : status;
	if ((status == 200 || status == 206) && response.range_from <= 0 && head.filled == len)
		return FLOTILLA_OK;
	g->trouble = TROUBLE_GONE;
	return sdk_say(f, FLOTILLA_E_NETWORK, "%s: the server answered %d with %zu bytes of %zu", url,
		       status, head.filled, len);
}
