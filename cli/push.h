/* push.h -- one file into the store: cut and hash, ask what is missing, encode only that, send packs,
 * then the recipe.  A push that was broken off and is run again sends only what did not arrive.
 * Two passes over the file; memory stays below 16 MiB and 200 bytes a chunk, packs are filled in
 * unlinked files of $TMPDIR, five at a time.
 * A daemon that cannot be reached, or is busy, is tried again for some minutes (sender.h).
 * Threads: one, which starts others while it sends. */
#ifndef CLI_PUSH_H
#define CLI_PUSH_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "cli/cli.h"

#include <stdint.h>

#define PUSH_PACK_MIB 16 /* unless the user says: together as long as the longest pack */
#define PUSH_PACK_MIB_MAX 63

struct push_result {
	struct digest recipe, sha256;
	int64_t length;	 /* of the file */
	int64_t stored;	 /* bytes a first install fetches */
	int64_t known;	 /* bytes of the file that need not be sent */
	int64_t sent;	 /* bytes of packs that arrived now; of a stream, all that were sent */
	uint32_t chunks, missing; /* missing: not stored before, equal ones once */
	char format[32]; /* what the file turned out to be: "gguf" */
};

/* pack: bytes of chunks after which a pack is sent; SENDER_LANES of them are what a broken
 * connection, a killed client or daemon loses at the most. */
int push_chunks(struct cli *cli, struct api *api, const char *path, int64_t pack,
		struct push_result *ret_result, struct err *err) CHECKED;
/* As one raw stream; the daemon cuts.  Goes on at the daemon's offset, also when it is run again. */
int push_raw(struct cli *cli, struct api *api, const char *path, struct push_result *ret_result,
	     struct err *err) CHECKED;

#endif
