/* published.h -- one TUF repository as the device listener has it now: read in the order in which devices
 * do and verified with their code, from its first root, which the caller knows by digest: the listener is not
 * trusted.
 * Threads: one. */
#ifndef CLI_PUBLISHED_H
#define CLI_PUBLISHED_H

#include "base/buf.h"
#include "base/cc.h"
#include "base/err.h"
#include "cli/device.h"
#include "manifest/tuf.h"

#include <stdbool.h>
#include <stddef.h>

struct published_doc {
	char *path; /* "/v1/index/tuf/3.snapshot.json" */
	struct buf bytes;
	struct digest sha256; /* of them */
	bool immutable;
};

struct published {
	const char *base; /* borrowed: "/v1/index" or "/v1/c/{channel}/{class}" */
	bool index;
	struct tuf_trust trust;
	struct published_doc *docs;
	uint32_t count, room;
};

#define PUBLISHED_INDEX "/v1/index"

/* first: of the first root, as ceremony_root_digest() tells.  Expiry is not asked: devices do.  1; 0: it is
 * not published; -1: error, ERR_UNTRUSTED for another first root. */
int published_read(struct published *repo, struct device *device, const char *base,
		   const struct digest *first, struct err *err) CHECKED;
/* What the index, which was read, names as a class's first root.  1; 0: it does not; -1: error. */
int published_class_root(const struct published *index, const char *channel, const char *class,
			 struct digest *ret_first, struct err *err) CHECKED;
void published_done(struct published *repo);
#define AUTO_PUBLISHED __attribute__((cleanup(published_done)))

/* GET path into *bytes, which is initialised: 1; 0: 404; -1: error. */
int published_get(struct device *device, const char *path, struct buf *bytes,
		  struct device_reply *ret_reply, struct err *err) CHECKED;

#endif
