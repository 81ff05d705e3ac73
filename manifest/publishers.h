/* publishers.h -- who may publish which models: publishers.json, a target of the index that is
 * signed offline.  A server's online keys can only select among variants that one of these signed.
 *
 *   {"schema":1,"required":true,
 *    "publishers":[{"name":"ci","key":{"keytype":"ed25519",...},"models":["assistant"]}],
 *    "floors":{"assistant":3}}
 *
 * A model needs a signature when `required` is true or when some publisher names it.  "*" among the
 * models is every model.  Nothing with a counter below its model's floor may be installed.
 * Threads: pure; a parsed list may be read by any. */
#ifndef MANIFEST_PUBLISHERS_H
#define MANIFEST_PUBLISHERS_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/dsse.h"
#include "manifest/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define PUBLISHERS_PATH "publishers.json" /* among the index's targets */
#define PUBLISHERS 64
#define PUBLISHER_MODELS 64
#define PUBLISHERS_BYTES 65536 /* of the document */
#define PUBLISHERS_ARENA ((size_t)1024 * 1024)

struct publisher_entry {
	const char *name;
	struct public_key key;
	const char **models;
	unsigned model_count;
};

struct publisher_floor {
	const char *model;
	int64_t counter;
};

struct publisher_list {
	bool required;
	struct publisher_entry *entries;
	unsigned count;
	struct publisher_floor *floors;
	unsigned floor_count;
};

/* Copied into the arena; members that are not known are ignored.  ERR_INVALID with the path. */
int publishers_parse(struct publisher_list *list, const json_t *document, struct arena *arena,
		     struct err *err) CHECKED;
/* The document again; the caller's. */
json_t *publishers_json(const struct publisher_list *list, struct err *err) CHECKED;

/* Whether variants of the model must carry an envelope. */
bool publishers_needed(const struct publisher_list *list, const char *model);
/* The least counter that the model's variants may have. */
int64_t publishers_floor(const struct publisher_list *list, const char *model);

/* The publisher who signed: one who may publish the model and whose key is not among revoked.
 * NULL with ERR_UNTRUSTED, which says what is wrong with those who did sign. */
const struct publisher_entry *publishers_signer(const struct publisher_list *list,
						const struct dsse *dsse, const char *model,
						const struct digest *revoked,
						unsigned revoked_count, struct err *err) CHECKED;

#endif
