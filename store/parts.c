#include "store/parts.h"

#include "base/file.h"
#include "store/delta.h"
#include "store/remap.h"

#include <string.h>
#include <unistd.h>

#define TAG "flotilla/delta" /* with its NUL */

struct parts {
	struct blobs *blobs;
	const struct digest *new, *old;
	uint64_t limit;
	uint32_t n;		      /* the part that last is */
	uint32_t published;	      /* parts 1 to this one, and ... */
	struct blob_file first, last; /* the first waits for the head; last: of n, if that is not 0 */
	bool too_large, finished;
};

void part_name(const struct digest *new, const struct digest *old, uint32_t n,
	       struct digest *ret_name)
{
	uint8_t bytes[sizeof(TAG) + 2 * DIGEST_LEN + 4], *at = bytes + sizeof(TAG);

	memcpy(bytes, TAG, sizeof(TAG));
	memcpy(at, new->bytes, DIGEST_LEN);
	memcpy(at + DIGEST_LEN, old->bytes, DIGEST_LEN);
	for (unsigned i = 0; i < 4; i++)
		at[2 * DIGEST_LEN + i] = (uint8_t)(n >> 8 * i);
	digest_of(ret_name, bytes, sizeof(bytes));
}

uint32_t part_count(uint64_t bytes)
{
	return (uint32_t)((bytes + DELTA_PART - 1) / DELTA_PART);
}

bool parts_exist(struct blobs *blobs, const struct digest *new, const struct digest *old,
		 uint64_t bytes)
{
	struct digest name;

	for (uint32_t n = 0; n < part_count(bytes); n++) {
		part_name(new, old, n, &name);
		if (!blob_exists(blobs, BLOB_DELTA, &name))
			return false;
	}
	return true;
}

int part_remove(struct blobs *blobs, const struct digest *name, struct err *err)
{
	return blob_remove(blobs, BLOB_DELTA, name, err);
}

/* ---- Writing. ---- */

int parts_new(struct parts **ret_parts, struct blobs *blobs, const struct digest *new,
	      const struct digest *old, uint64_t limit, struct err *err)
{
	struct parts *parts = calloc(1, sizeof(*parts));

	if (!parts)
		return err_nomem(err);
	parts->blobs = blobs;
	parts->new = new;
	parts->old = old;
	parts->limit = limit;
	parts->last.fd = -1;
	if (blobs_room(blobs, 0, err) < 0 || blob_file_new(blobs, &parts->first, err) < 0) {
		free(parts);
		return -1;
	}
	*ret_parts = parts;
	return 0;
}

void parts_free(struct parts *parts)
{
	struct digest name;
	struct err err;

	if (!parts)
		return;
	blob_file_done(&parts->first);
	blob_file_done(&parts->last);
	/* With the maps' lock, as whoever removes parts: see list_it() in delta_build.c. */
	remap_hold(parts->blobs);
	for (uint32_t n = 0; !parts->finished && n <= parts->published; n++) {
		part_name(parts->new, parts->old, n, &name);
		if (part_remove(parts->blobs, &name, &err) < 0)
			break; /* nothing names the rest: gc.h removes it */
	}
	remap_release(parts->blobs);
	free(parts);
}

/* len: of the whole part; zeros fill up what was not written. */
static int publish(struct parts *parts, uint32_t n, struct blob_file *file, uint64_t len,
		   struct err *err)
{
	struct digest name;

	if (ftruncate(file->fd, (off_t)len) < 0)
		return err_sys(err, "cannot extend %s", file->path);
	part_name(parts->new, parts->old, n, &name);
	if (blob_publish(parts->blobs, BLOB_DELTA, &name, file, err) < 0)
		return -1;
	blob_file_done(file);
	return 0;
}

/* n is the part after parts->n. */
static int next_part(struct parts *parts, uint32_t n, struct err *err)
{
	if (blobs_room(parts->blobs, DELTA_PART, err) < 0)
		return -1;
	if (parts->n) {
		if (publish(parts, parts->n, &parts->last, DELTA_PART, err) < 0)
			return -1;
		parts->published = parts->n;
	}
	parts->n = n;
	return blob_file_new(parts->blobs, &parts->last, err);
}

static int parts_write(void *arg, uint64_t at, const void *bytes, size_t len, struct err *err)
{
	struct parts *parts = arg;
	const uint32_t n = (uint32_t)(at / DELTA_PART);

	if (at + len > parts->limit) {
		parts->too_large = true;
		return err_set(err, ERR_TOO_LARGE, "delta: more than %llu bytes",
			       (unsigned long long)parts->limit);
	}
	if (n > parts->n && next_part(parts, n, err) < 0)
		return -1;
	return file_pwrite_all(n ? parts->last.fd : parts->first.fd, bytes, len,
			       (int64_t)(at % DELTA_PART), err);
}

struct sink_at parts_sink(struct parts *parts)
{
	return (struct sink_at){.write = parts_write, .arg = parts};
}

bool parts_too_large(const struct parts *parts)
{
	return parts->too_large;
}

int parts_finish(struct parts *parts, uint64_t bytes, struct err *err)
{
	const uint64_t start = (uint64_t)parts->n * DELTA_PART;

	if (parts->n) {
		if (publish(parts, parts->n, &parts->last, bytes - start, err) < 0)
			return -1;
		parts->published = parts->n;
	}
	if (publish(parts, 0, &parts->first, parts->n ? DELTA_PART : bytes, err) < 0)
		return -1;
	parts->finished = true;
	return 0;
}
