/* build.h -- from rows to what a document says: the content of a class's manifest and of the
 * index, without versions and times, so that equal content has an equal digest.
 * Threads: any, each with its own struct db. */
#ifndef MANIFEST_BUILD_H
#define MANIFEST_BUILD_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* {"flotilla":{...},"targets":{...}} of (channel, class).  The caller's. */
int build_manifest(struct db *db, const char *channel, const char *class, bool development,
		   json_t **ret_content, struct err *err) CHECKED;

/* A file that the index's targets name. */
#define BUILD_INDEX_FILES 130
struct build_file {
	char path[160]; /* "publishers.json", "roots/stable.json" */
	char *bytes;	/* owned: build_files_free() */
	size_t len;
};
/* publishers.json and roots/{channel}.json for every channel: class -> digest of its first root. */
int build_index_files(struct db *db, struct build_file files[static BUILD_INDEX_FILES],
		      unsigned *ret_count, struct err *err) CHECKED;
/* rules.json as it is published; the caller's file. */
int build_rules_file(struct db *db, struct build_file *file, struct err *err) CHECKED;
void build_files_free(struct build_file *files, unsigned count);

#endif
