/* tree.h -- where an export goes: a directory, or a bucket that speaks S3.  Keys are the device
 * listener's paths without the first slash.  An object is whole or not there.
 * Threads: a struct tree belongs to one. */
#ifndef CLI_TREE_H
#define CLI_TREE_H

#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct tree; /* opaque */

/* where: a directory, which is made; or s3://BUCKET[/PREFIX], with AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL from the environment.
 * ERR_INVALID; ERR_BUSY while another export writes to the directory. */
int tree_open(struct tree **ret_tree, const char *where, bool verbose, struct err *err) CHECKED;
void tree_close(struct tree *tree); /* NULL is fine */
DEFINE_AUTO(struct tree, tree_close)

/* A file for what is to be put: empty, open for reading and writing, the tree's. */
int tree_file(struct tree *tree, struct err *err) CHECKED;

struct tree_item {
	const char *key;
	const char *type, *cache; /* Content-Type and Cache-Control: a bucket keeps them */
	bool immutable;		  /* its key says what it is */
	int64_t len;		  /* of what the file holds */
	struct digest sha256;
};
/* Both: ERR_UNTRUSTED for a key that leads out of the tree (file_path_below()).
 * The object's length; -1: it is not there.  0, or -1 with *err. */
int tree_length(struct tree *tree, const char *key, int64_t *ret_len, struct err *err) CHECKED;
/* What tree_file()'s file holds becomes the object, durably. */
int tree_put(struct tree *tree, const struct tree_item *item, struct err *err) CHECKED;

/* ---- For tree.c and tree_s3.c. ---- */

struct tree_kind {
	int (*file)(struct tree *tree, struct err *err);
	int (*length)(struct tree *tree, const char *key, int64_t *ret_len, struct err *err);
	int (*put)(struct tree *tree, const struct tree_item *item, struct err *err);
	void (*close)(struct tree *tree);
};
struct tree {
	const struct tree_kind *kind;
	int fd; /* of the file; -1: none */
};
int tree_s3_open(struct tree **ret_tree, const char *where, bool verbose, struct err *err) CHECKED;

#endif
