/* blob.h -- the immutable files of the store, each named by the SHA-256 that its bytes or its
 * recipe have: packs/ab/<sha>, recipes/ab/<sha>, maps/ab/<recipe> under the data directory, and
 * tmp/ for what is not whole yet.
 * A file appears under its name only when it is whole, checked and durable: written in tmp/,
 * fdatasync, rename, fsync of the directory; packs before the map before the recipe before any row
 * that names it.  kill -9 at any instant leaves at most something in tmp/, or a blob nobody names,
 * and gc.h removes both.
 * What exists is known in memory, read from the directories at start, so device reads ask neither
 * the database nor the directory; what was asked for lately stays mapped.
 * Threads: any.  Lock order: the maps' lock (remap.h), the lock of names on disk, the lock of index
 * and mappings.  Ledger functions may take the last two. */
#ifndef STORE_BLOB_H
#define STORE_BLOB_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ledger;
struct blobs; /* opaque */

enum blob_kind {
	BLOB_PACK,   /* named by its bytes */
	BLOB_RECIPE, /* named by its bytes */
	BLOB_MAP,    /* named by its recipe; replaced by remap.h only */
	BLOB_DELTA,  /* a part of a delta, named by what it leads from and to: parts.h */
	BLOB_KINDS
};
const char *blob_kind_name(enum blob_kind kind); /* "pack" */

struct blobs_options {
	const char *dir;      /* the data directory; copied */
	uint64_t reserve;     /* bytes of disk kept free for the control plane */
	uint64_t mapped_max;  /* bytes of files kept mapped; 0: 1 GiB */
	struct ledger *ledger; /* borrowed; for the writing functions of ingest.h, upload.h, gc.h */
};

/* Makes the directories, empties tmp/ of all but uploads, learns what is there. */
int blobs_open(struct blobs **ret_blobs, const struct blobs_options *options,
	       struct err *err) CHECKED;
/* All blobs must have been given back.  NULL is fine. */
void blobs_free(struct blobs *blobs);
DEFINE_AUTO(struct blobs, blobs_free)

struct ledger *blobs_ledger(const struct blobs *blobs);
const char *blobs_tmp(const struct blobs *blobs); /* "<dir>/tmp" */

/* ---- Reading. ---- */

/* A blob in memory, mapped read-only, shared. */
struct blob {
	const void *bytes;
	uint64_t len;
};

/* The blob, or NULL with ERR_NOT_FOUND, or ERR_SYSTEM.  No I/O while it is mapped.  Give it back
 * with blob_unref(), from any thread, before blobs_free(). */
struct blob *blob_get(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		      struct err *err) CHECKED;
struct blob *blob_ref(struct blob *blob);
void blob_unref(struct blob *blob); /* NULL is fine */
DEFINE_AUTO(struct blob, blob_unref)

bool blob_exists(struct blobs *blobs, enum blob_kind kind, const struct digest *name);

/* A descriptor of its own for reading with pread, which leaves no pages in our address space; the
 * caller closes it.  -1: ERR_NOT_FOUND, ERR_SYSTEM. */
int blob_fd(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
	    struct err *err) CHECKED;

/* ---- Writing. ---- */

/* ERR_FULL unless bytes more fit on the disk and leave the reserve free. */
int blobs_room(const struct blobs *blobs, uint64_t bytes, struct err *err) CHECKED;

/* A new file in tmp/, open for reading and writing, that unlinks itself unless published. */
struct blob_file {
	int fd;
	char path[512];
};
int blob_file_new(struct blobs *blobs, struct blob_file *ret_file, struct err *err) CHECKED;
/* As blob_file_new() with what fd holds: the same file when fd has no name and lies on the same
 * file system (nothing is copied), else a copy of its len bytes.  fd stays the caller's. */
int blob_file_adopt(struct blobs *blobs, int fd, uint64_t len, struct blob_file *ret_file,
		    struct err *err) CHECKED;
void blob_file_done(struct blob_file *file); /* closes, unlinks; twice is fine */

/* Make the file durable under its name and visible to readers.  The caller has checked that the
 * name is right.  Mapped blobs of that name stay as they are for those who hold them. */
int blob_publish(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		 struct blob_file *file, struct err *err) CHECKED;
/* blob_file_new(), len bytes, blob_publish(). */
int blob_put(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
	     const void *bytes, size_t len, struct err *err) CHECKED;

/* ---- Taking away: in ledger functions, so that no row comes back meanwhile. ---- */

/* Nobody finds the blob under its name any more; those who hold it keep it.  Moves the file into
 * tmp/ as *ret_file, which blob_file_done() removes: that may wait for the disk, so not in the
 * ledger.  Absent is fine. */
int blob_retire(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		struct blob_file *ret_file, struct err *err) CHECKED;
/* Both at once, outside the ledger: for what no row protects. */
int blob_remove(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		struct err *err) CHECKED;
/* As blob_retire(), but keep the file as quarantine/<kind>-<name>. */
int blob_quarantine(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
		    struct err *err) CHECKED;

/* What is wanted at now while a collection runs that removes what was wanted before than: later
 * than than, however long the caller took since it looked at the clock.  Ledger thread only. */
int64_t blobs_wanted(const struct blobs *blobs, int64_t now);
void blobs_collecting(struct blobs *blobs, int64_t than); /* a run begins */

/* ---- For gc.h and verify.h. ---- */

/* All names of a kind, as an array (free()). */
int blobs_list(struct blobs *blobs, enum blob_kind kind, struct digest **ret_names,
	       size_t *ret_count, struct err *err) CHECKED;
/* Length and time of last change (real UTC seconds) of the file; either may be NULL. */
int blob_stat(struct blobs *blobs, enum blob_kind kind, const struct digest *name,
	      uint64_t *ret_len, int64_t *ret_changed, struct err *err) CHECKED;

struct blobs_stats {
	uint64_t count[BLOB_KINDS];
	uint64_t mapped, mapped_bytes;	 /* kept mapped now */
	uint64_t disk_free, disk_reserve; /* bytes */
};
void blobs_stats(struct blobs *blobs, struct blobs_stats *ret_stats);

#endif
