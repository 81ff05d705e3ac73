/* Serving: documents by path, ranges, what goes wrong.  Publishing is fake_repo.c. */
#include "tests/support/fake_server.h"

#include "base/digest.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_BYTES 3000 /* of a body at once; no divisor of a chunk */

/* ---- documents ---- */

static struct fake_doc *find(const struct fake_server *s, const char *path)
{
	for (unsigned i = 0; i < s->doc_count; i++)
		if (!strcmp(s->docs[i].path, path))
			return (struct fake_doc *)(uintptr_t)&s->docs[i];
	return NULL;
}

const struct fake_doc *fake_get(const struct fake_server *s, const char *path)
{
	return find(s, path);
}

void fake_put(struct fake_server *s, const char *path, const void *bytes, size_t len)
{
	struct fake_doc *doc = find(s, path);
	char *copy = malloc(len + 1);
	if (!doc && s->doc_count < FAKE_DOCS)
		doc = &s->docs[s->doc_count++];
	if (!doc || !copy) {
		fprintf(stderr, "fake server: no room for %s\n", path);
		abort();
	}
	memcpy(copy, bytes, len);
	free(doc->bytes);
	doc->bytes = copy;
	doc->len = len;
	snprintf(doc->path, sizeof(doc->path), "%s", path);
}

void fake_take(struct fake_server *s, const char *path)
{
	struct fake_doc *doc = find(s, path);
	if (!doc)
		return;
	free(doc->bytes);
	*doc = s->docs[--s->doc_count];
	s->docs[s->doc_count] = (struct fake_doc){0};
}

/* ---- faults and counts ---- */

void fake_break(struct fake_server *s, struct fake_fault fault)
{
	s->fault = fault;
	s->faults = 0;
}

void fake_mend(struct fake_server *s)
{
	fake_break(s, (struct fake_fault){0});
}

void fake_forget(struct fake_server *s)
{
	s->hit_count = 0;
}

unsigned fake_count(const struct fake_server *s, const char *part)
{
	unsigned count = 0;
	for (unsigned i = 0; i < s->hit_count; i++)
		count += strstr(s->hits[i].path, part) != NULL;
	return count;
}

uint64_t fake_sent(const struct fake_server *s, const char *part)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < s->hit_count; i++)
		if (strstr(s->hits[i].path, part))
			sum += s->hits[i].sent;
	return sum;
}

/* What goes wrong with this request; all zero when nothing does. */
static struct fake_fault fault_of(struct fake_server *s, const char *path)
{
	const struct fake_fault *fault = &s->fault;
	if (!fault->match || !strstr(path, fault->match))
		return (struct fake_fault){0};
	const unsigned nth = s->faults++;
	if (nth < fault->skip || (fault->times && nth >= fault->skip + fault->times))
		return (struct fake_fault){0};
	return *fault;
}

/* ---- answering ---- */

/* One request under way. */
struct serving {
	struct fake_server *s;
	const struct flotilla_request *q;
	struct flotilla_response *r;
	struct fake_fault fault;
	struct fake_hit *hit;
	bool stopped; /* by the receiver, or by max_bytes */
};

static void step(struct fake_server *s)
{
	if (++s->steps == s->kill_at)
		kill(getpid(), SIGKILL);
}

static int broken(struct serving *v, const char *why)
{
	snprintf(v->r->error, sizeof(v->r->error), "%s", why);
	return -1;
}

/* Hand out some bytes as a transport does: never more than max_bytes in all. */
static void hand_out(struct serving *v, const char *bytes, size_t len)
{
	while (len && !v->stopped) {
		size_t part = len < STEP_BYTES ? len : STEP_BYTES;
		const size_t left = (size_t)v->q->max_bytes - v->hit->sent;
		if (part > left) {
			part = left;
			v->stopped = true;
		}
		step(v->s);
		v->hit->sent += part;
		if (part && v->q->on_body && v->q->on_body(v->q->arg, bytes, part))
			v->stopped = true;
		bytes += part;
		len -= part;
	}
}

static int send_body(struct serving *v, const char *bytes, size_t len)
{
	static const char more[STEP_BYTES];
	const struct fake_fault *fault = &v->fault;
	if (fault->cut && (size_t)fault->cut < len) {
		hand_out(v, bytes, (size_t)fault->cut);
		return v->stopped ? 0 : broken(v, "the connection broke");
	}
	hand_out(v, bytes, len);
	for (int64_t left = fault->extra; left > 0 && !v->stopped; left -= STEP_BYTES)
		hand_out(v, more, left < STEP_BYTES ? (size_t)left : STEP_BYTES);
	return 0;
}

static void etag_of(const char *bytes, size_t len, char out[static 80])
{
	char hex[DIGEST_HEX];
	struct digest digest;
	digest_of(&digest, bytes, len);
	digest_hex(&digest, hex);
	snprintf(out, 80, "\"%.32s\"", hex);
}

static int send_doc(struct serving *v, char *bytes, size_t len)
{
	int64_t from = 0, to = (int64_t)len - 1;
	etag_of(bytes, len, v->r->etag);
	if (v->q->etag && !strcmp(v->q->etag, v->r->etag)) {
		v->r->status = 304;
		return 0;
	}
	if (v->fault.flip && v->fault.flip_at < (int64_t)len)
		bytes[v->fault.flip_at] ^= 1;
	v->r->status = 200;
	if (v->q->to >= 0 && !v->fault.whole) {
		if (v->q->from >= (int64_t)len) {
			v->r->status = 416;
			return 0;
		}
		v->r->status = 206;
		v->r->range_from = from = v->q->from;
		to = v->q->to < to ? v->q->to : to;
	}
	return send_body(v, bytes + from, (size_t)(to + 1 - from));
}

static int serve(struct serving *v, const char *path)
{
	const struct fake_doc *doc = fake_get(v->s, path);
	const struct fake_fault *fault = &v->fault;
	if (fault->status) {
		v->r->status = fault->status;
		return 0;
	}
	if (!doc && !fault->bytes) {
		v->r->status = 404;
		return 0;
	}
	const size_t len = fault->bytes ? fault->len : doc->len;
	char *copy = malloc(len + 1);
	if (!copy)
		abort();
	memcpy(copy, fault->bytes ? fault->bytes : doc->bytes, len);
	const int rc = send_doc(v, copy, len);
	free(copy);
	return rc;
}

static int take_report(struct serving *v)
{
	if (v->fault.status) {
		v->r->status = v->fault.status;
		return 0;
	}
	if (v->s->post_count == FAKE_POSTS)
		abort();
	v->s->posts[v->s->post_count++] = strndup(v->q->post, v->q->post_len);
	if (v->fault.lost)
		return broken(v, "the answer is lost");
	v->r->status = 202;
	return 0;
}

int fake_transport(void *arg, const struct flotilla_request *q, struct flotilla_response *r)
{
	struct fake_server *s = arg;
	const char *path = strstr(q->url, "/v1/");
	if (!path || s->hit_count == FAKE_HITS) {
		fprintf(stderr, "fake server: %s\n", q->url);
		abort();
	}
	struct serving v = {s, q, r, fault_of(s, path), &s->hits[s->hit_count++], false};
	*v.hit = (struct fake_hit){.from = q->to >= 0 ? q->from : -1};
	snprintf(v.hit->path, sizeof(v.hit->path), "%s", path);
	step(s);
	if (v.fault.silent)
		return broken(&v, "no answer");
	r->date = s->now;
	r->retry_after = v.fault.retry_after ? v.fault.retry_after : -1;
	const int rc = q->post ? take_report(&v) : serve(&v, path);
	v.hit->status = r->status;
	return rc;
}

int64_t fake_now(void *arg)
{
	const struct fake_server *s = arg;
	return s->now + s->clock_error;
}

void fake_server_free(struct fake_server *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->doc_count; i++)
		free(s->docs[i].bytes);
	for (unsigned i = 0; i < s->post_count; i++)
		free(s->posts[i]);
	for (unsigned r = 0; r < TUF_ROLES; r++) {
		buf_done(&s->index.doc[r]);
		for (unsigned c = 0; c < s->class_count; c++)
			buf_done(&s->classes[c].repo.doc[r]);
	}
	arena_free(s->arena);
	free(s);
}
