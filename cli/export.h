/* export.h -- what devices may ask for, copied into a tree from which nginx, a bucket or a CDN serves it
 * to them unchanged.  It is read from the device listener, so nothing leaves that a device could not
 * have; the admin API only tells which classes there are.  The listener is not trusted: the index's first
 * root is known beforehand and names those of the classes, and all else is signed or named by digest.
 *
 * Order: packs and deltas, then the maps that name them, then signed documents, timestamps last; a
 * device that reads the tree meanwhile finds whatever it is told of.  What never changes and is there
 * already is not fetched again, so an export that broke off goes on, and a second one is short.  Nothing
 * is removed: devices still hold older maps and documents.
 * Memory: maps and documents of the whole tree; bytes of packs go through a file.
 * Threads: one. */
#ifndef CLI_EXPORT_H
#define CLI_EXPORT_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "cli/cli.h"

#include <stdbool.h>
#include <stdint.h>

struct export_options {
	const char *where;	/* tree.h */
	const char *device_url; /* of the device listener */
	struct digest root;	/* of the index's first root, as ceremony_root_digest() tells */
	bool targets;		/* also every raw file by TUF's name, for standard clients */
};

struct export_report {
	int64_t keys;	 /* in the tree that are of this export */
	int64_t written; /* of them now */
	int64_t bytes;	 /* written */
	int64_t classes, files;
};

int export_run(struct cli *cli, struct api *api, const struct export_options *options,
	       struct export_report *ret_report, struct err *err) CHECKED;

#endif
