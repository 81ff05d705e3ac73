/* keystore.h -- the seeds and the epoch on disk.
 *   keys/online.seed  0600, 64 hex digits: keys of timestamp, snapshot, targets and rules
 *   keys/online.next.seed  the same while a rotation is under way
 *   keys/root.seed    0600, only with development keys: roots are signed at once, and loudly
 *   epoch             "EPOCH PUBLICATION": raised when a backup was restored, and how far what is
 *                     published had come; no backup brings it back (publish.h)
 * Secrets stay in struct keystore and are wiped by keystore_done().
 * Threads: filled at start, then read by any. */
#ifndef MANIFEST_KEYSTORE_H
#define MANIFEST_KEYSTORE_H

#include "base/cc.h"
#include "base/err.h"
#include "manifest/keys.h"

#include <stdbool.h>
#include <stdint.h>

#define EPOCH_MAX 1000000

struct keystore {
	char data_dir[1024];
	struct key_seed online, next, root; /* secret */
	bool elsewhere;			    /* online is not in data_dir */
	bool rotating;			    /* next is there */
	bool development;		    /* root is there */
	int64_t epoch;			    /* from 1; 0: its file is gone */
	int64_t published;		    /* the last publication that the file knows of */
};

/* A new seed as 64 hex digits in a file of mode 0600.  ERR_CONFLICT when the file exists. */
int keystore_seed_make(const char *path, struct err *err) CHECKED;
/* ERR_INVALID when others may read the file; ERR_CORRUPT. */
int keystore_seed_read(const char *path, struct key_seed *seed, struct err *err) CHECKED;

/* Make what is not there yet under data_dir; development also makes root.seed. */
int keystore_init(const char *data_dir, bool development, struct err *err) CHECKED;
/* online_file: where the online seed is instead (a systemd credential); NULL: the usual place. */
int keystore_load(struct keystore *keys, const char *data_dir, const char *online_file,
		  struct err *err) CHECKED;
/* Begin a rotation: a new seed as next.  ERR_CONFLICT while one is under way. */
int keystore_rotate(struct keystore *keys, struct err *err) CHECKED;
/* End it: nothing is signed with online any more, next takes its place.  A seed that lies elsewhere
 * stays there, and next beside it, until the operator has moved it. */
int keystore_settle(struct keystore *keys, struct err *err) CHECKED;
/* Write the epoch's file, and remember what it says.  Threads: the ledger's. */
int keystore_remember(struct keystore *keys, int64_t epoch, int64_t published,
		      struct err *err) CHECKED;
/* The seed that new roots name: next during a rotation, else online. */
const struct key_seed *keystore_newest(const struct keystore *keys);
/* What a seed is called where it must not be told: the id of its key for the index's rules. */
void keystore_seed_id(const struct key_seed *seed, struct digest *ret_id);
void keystore_done(struct keystore *keys);
#define AUTO_KEYSTORE __attribute__((cleanup(keystore_done)))

#endif
