#include "store/upload_internal.h"

#include "base/file.h"
#include "store/ledger.h"

#include <string.h>
#include <unistd.h>

#define SETTLE_BATCH 64 /* listed by one statement */

/* ---- Appending. ---- */

static int append_check(struct blobs *blobs, int64_t end, const struct upload_part *part,
			struct err *err)
{
	if (part->offset != end)
		return err_set(err, ERR_CONFLICT,
			       "Upload-Offset: the upload stands at %lld: go on there",
			       (long long)end);
	return blobs_room(blobs, part->len > 0 ? (uint64_t)part->len : 0, err);
}

static int received_set(struct db *db, const char *id, int64_t received, struct err *err)
{
	int64_t changed;
	STMT(q, db, &upload_sql, UQ_RECEIVED);

	stmt_text(q, "$id", id);
	stmt_int(q, "$received", received);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	return changed ? 0 : upload_unknown(err); /* dropped or finished meanwhile */
}

struct reserving {
	const char *id;
	const struct taker *taker;
	const struct upload_part *part;
	int64_t end, now;
	int64_t max; /* bytes that may follow; out: no more than the quota leaves */
};

/* What may come counts before it comes: of uploads at the same time each finds what the others left.
 * Without an announced length that is all there is. */
static int row_reserve(struct db *db, void *arg, struct err *err)
{
	struct reserving *r = arg;
	const int64_t len = r->part->len;
	struct upload upload;
	int64_t left;

	if (upload_row_get(db, r->id, r->taker->token, &upload, err) < 0)
		return -1;
	const int64_t uncounted = r->end - upload.received; /* below 0: reserved, and broken off */
	if (taken_room(db, r->taker, uncounted + (len > 0 ? len : 1), r->now, err) < 0 ||
	    taken_left(db, r->taker, r->now, &left, err) < 0)
		return -1;
	if (r->max > left - uncounted)
		r->max = left - uncounted;
	return received_set(db, r->id, r->end + (len >= 0 && len < r->max ? len : r->max), err);
}

/* Bytes that may follow those at end; an upload of stated length is counted already. */
static int append_max(struct blobs *blobs, const struct upload *upload, const struct taker *taker,
		      const struct upload_part *part, int64_t end, int64_t now, int64_t *ret_max,
		      struct err *err)
{
	struct reserving reserving = {upload->id, taker, part, end, now, part->max_length - end};
	const bool stated = upload->length >= 0;

	if (stated)
		reserving.max = upload->length - end;
	if (reserving.max <= 0 || part->len > reserving.max)
		return err_set(err, ERR_TOO_LARGE,
			       stated ? "the upload was announced with %lld bytes"
				      : "a file may have %lld bytes at the most",
			       (long long)(end + reserving.max));
	if (!stated && taker->quota_bytes &&
	    ledger_run(blobs_ledger(blobs), row_reserve, &reserving, err) < 0)
		return -1;
	*ret_max = reserving.max;
	return 0;
}

int upload_append(struct blobs *blobs, struct db *db, const char *id, const struct taker *taker,
		  const struct upload_part *part, int64_t now, int *ret_fd, int64_t *ret_max,
		  struct err *err)
{
	struct upload upload;
	int64_t end, max;

	if (!upload_id_ok(id))
		return upload_unknown(err);
	if (upload_row_get(db, id, taker->token, &upload, err) < 0)
		return -1;
	if (upload.finished)
		return err_set(err, ERR_CONFLICT, "the upload is finished: create a new one");
	AUTO_FD int fd = upload_file_claim(blobs, id, err);
	if (fd < 0 || upload_durable_end(fd, &end, err) < 0 ||
	    append_check(blobs, end, part, err) < 0 ||
	    append_max(blobs, &upload, taker, part, end, now, &max, err) < 0)
		return -1;
	if (lseek(fd, end, SEEK_SET) < 0)
		return err_sys(err, "cannot append to an upload");
	*ret_fd = file_take(&fd);
	*ret_max = max;
	return 0;
}

struct renewal {
	const char *id;
	int64_t expires, received;
};

static int row_renew(struct db *db, void *arg, struct err *err)
{
	const struct renewal *renewal = arg;
	int64_t changed;
	STMT(q, db, &upload_sql, UQ_RENEW);

	stmt_text(q, "$id", renewal->id);
	stmt_int(q, "$expires", renewal->expires);
	stmt_int(q, "$received", renewal->received);
	if (stmt_changes(q, &changed, err) < 0)
		return -1;
	return changed ? 0 : upload_unknown(err); /* dropped meanwhile */
}

int upload_appended(struct blobs *blobs, const char *id, int fd, int64_t now,
		    int64_t *ret_offset, struct err *err)
{
	struct renewal renewal = {.id = id, .expires = now + UPLOAD_LEASE_S};

	if (upload_durable_end(fd, &renewal.received, err) < 0 ||
	    ledger_run(blobs_ledger(blobs), row_renew, &renewal, err) < 0)
		return -1;
	*ret_offset = renewal.received;
	return 0;
}

/* ---- Reservations that nothing came for. ---- */

struct settling {
	const char *id;
	int64_t received;
};

static int row_settle(struct db *db, void *arg, struct err *err)
{
	const struct settling *settling = arg;

	return received_set(db, settling->id, settling->received, err);
}

/* What the file has is what counts, unless a request is writing to it. */
static int settle(struct blobs *blobs, struct db *db, const char *id, struct err *err)
{
	struct settling settling = {.id = id};
	struct upload upload;

	/* Most are settled: they are not claimed, lest a request finds them busy. */
	if (upload_get(blobs, db, id, NULL, &upload, err) < 0)
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	if (upload.finished || upload.received == upload.offset)
		return 0;
	AUTO_FD int fd = upload_file_claim(blobs, id, err);
	if (fd >= 0 && upload_durable_end(fd, &settling.received, err) == 0 &&
	    ledger_run(blobs_ledger(blobs), row_settle, &settling, err) == 0)
		return 0;
	return err->status == ERR_BUSY || err->status == ERR_NOT_FOUND ? 0 : -1;
}

struct unstated {
	char ids[SETTLE_BATCH][UPLOAD_ID];
	unsigned count;
};

static int unstated_list(struct db *db, struct unstated *list, struct err *err)
{
	char after[UPLOAD_ID] = "";
	int row;
	STMT(q, db, &upload_sql, UQ_UNSTATED);

	if (list->count)
		memcpy(after, list->ids[list->count - 1], sizeof(after));
	list->count = 0;
	stmt_text(q, "$id", after);
	stmt_int(q, "$limit", SETTLE_BATCH);
	while ((row = stmt_step(q, err)) == 1)
		upload_text_read(q, 0, list->ids[list->count++], UPLOAD_ID);
	return row;
}

int upload_reserves_settle(struct blobs *blobs, struct db *db, struct err *err)
{
	struct unstated list = {.count = 0};

	do {
		if (unstated_list(db, &list, err) < 0)
			return -1;
		for (unsigned i = 0; i < list.count; i++)
			if (settle(blobs, db, list.ids[i], err) < 0)
				return -1;
	} while (list.count == SETTLE_BATCH);
	return 0;
}
