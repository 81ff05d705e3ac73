/* push.h -- one file into the store: cut and hash, ask what is missing, encode only that, send packs,
 * then the recipe.  A push that was broken off and is run again sends only what did not arrive.
 * Two passes over the file; memory stays below 16 MiB and 100 bytes a chunk.
 * Threads: one. */
#ifndef CLI_PUSH_H
#define CLI_PUSH_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "cli/cli.h"

#include <stdint.h>

struct push_result {
	struct digest recipe, sha256;
	int64_t length;	 /* of the file */
	int64_t stored;	 /* bytes a first install fetches */
	int64_t sent;	 /* bytes of packs sent now */
	uint32_t chunks, missing;
	char format[32]; /* what the file turned out to be: "gguf" */
};

int push_file(struct cli *cli, struct api *api, const char *path, struct push_result *ret_result,
	      struct err *err) CHECKED;
/* As one raw stream, resumable by offset; the daemon cuts. */
int push_raw(struct cli *cli, struct api *api, const char *path, struct push_result *ret_result,
	     struct err *err) CHECKED;

#endif
