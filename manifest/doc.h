/* doc.h -- the manifest of one (channel, class) as a type: what its targets.json says beyond TUF's
 * own fields.  The server builds one and writes it, the device reads it with the same code.
 * Members that are not known here are ignored, so that older devices survive newer servers.
 * Threads: pure; a filled struct manifest may be read by any. */
#ifndef MANIFEST_DOC_H
#define MANIFEST_DOC_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/digest.h"
#include "base/err.h"
#include "manifest/bucket.h"
#include "manifest/variant.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MANIFEST_TARGETS 200 /* files in all: standard clients slow down quadratically */
#define MANIFEST_MODELS 64
#define MANIFEST_CHOICES 16 /* variants in one list */
#define MANIFEST_REVOKED 256
#define MANIFEST_EXTRA (64 * 1024) /* bytes of routing, and of probes */
#define MANIFEST_FILE_NAME 128	   /* bytes */
#define MANIFEST_ARENA ((size_t)4 * 1024 * 1024) /* enough for any within the limits */

struct manifest_file {
	const char *name; /* last segment of the target's path */
	int64_t length;	  /* raw bytes */
	struct digest sha256; /* of the raw bytes */
	struct digest recipe;
	int64_t stored_cap; /* bytes that fetching it may cost; devices stop at 1.1 times this */
};

/* Its targets' paths are model/release/tier/name. */
struct manifest_variant {
	struct variant_ref ref;
	const char *format; /* "gguf" */
	struct requires requires;
	bool has_attest;
	struct digest attest; /* of the publisher's envelope at /v1/attest/ */
	struct manifest_file *files;
	unsigned file_count;
};

struct manifest_spread {
	int64_t since; /* when stable became what it is */
	int64_t s;     /* seconds over which devices spread its installation; 0: none */
	const char *salt; /* up to BUCKET_SALT_MAX bytes; NULL or "" when s is 0 */
};

enum manifest_state { MANIFEST_RUNNING, MANIFEST_HOLDING, MANIFEST_STATE_OTHER };

struct manifest_rollout {
	const char *id, *salt; /* the salt: 1 to BUCKET_SALT_MAX bytes */
	int64_t stage;	       /* from 1 */
	enum manifest_state state; /* OTHER: of a newer server; nobody enters */
	int64_t candidate_ppm; /* buckets below take the candidate */
	struct slice candidate, control; /* who enters now */
};

struct manifest_model {
	const char *name;
	struct variant_ref *stable; /* in order of preference */
	unsigned stable_count;
	struct variant_ref *candidate; /* none without a rollout */
	unsigned candidate_count;
	struct manifest_spread spread;
	bool has_rollout;
	struct manifest_rollout rollout;
};

/* When a device may download and install. */
struct manifest_install {
	bool metered;  /* also on a metered network; default false */
	bool charging; /* only while charging; default false */
	bool idle;     /* only while idle; default false */
	/* Local hours [from, to), over midnight if from > to; equal: any hour. */
	int64_t hour_from, hour_to;
	int64_t disk_mib; /* for all models together; 0: no budget */
};

struct manifest_telemetry {
	int64_t window_s;	    /* default 3,600 */
	int64_t jitter_s;	    /* default 300 */
	int64_t windows;	    /* W, default 24 */
	int64_t outcome_deadline_s; /* default 86,400 */
};

struct manifest {
	const char *channel, *class;
	int64_t index_version; /* the class rules' version when this was made */
	int64_t poll_s;		  /* default 3,600 */
	int64_t candidate_poll_s; /* default 600 */
	bool development;	  /* signed with development keys */
	struct manifest_model *models;
	unsigned model_count;
	struct manifest_variant *variants; /* all that the models name */
	unsigned variant_count;
	struct digest *revoked; /* files' SHA-256 that must not be loaded */
	unsigned revoked_count;
	struct manifest_install install;
	struct manifest_telemetry telemetry;
	const char *routing, *probes; /* JSON texts for the app; NULL: none */
};

/* Whether a file of a variant may be called so: [A-Za-z0-9][A-Za-z0-9._-]*, at most
 * MANIFEST_FILE_NAME bytes. */
bool manifest_file_name_ok(const char *name);

/* Zero but for the defaults named above. */
void manifest_init(struct manifest *manifest);

/* Read a verified `signed` of type targets.  Everything is copied into the arena (MANIFEST_ARENA
 * suffices).  ERR_INVALID with the member's path; ERR_TOO_LARGE for a limit.  Every variant that a
 * model names must have targets; a candidate and a rollout come together. */
int manifest_parse(struct manifest *manifest, const json_t *body, struct arena *arena,
		   struct err *err) CHECKED;

/* The content: {"flotilla":{...},"targets":{...}}, for tuf_targets_body().  It does not depend on
 * version or time, so that its canon_digest() tells whether something changed.  The caller's.
 * ERR_INVALID or ERR_TOO_LARGE when the manifest does not keep the rules that manifest_parse()
 * checks. */
json_t *manifest_json(const struct manifest *manifest, struct err *err) CHECKED;

/* NULL when there is none. */
const struct manifest_model *manifest_model_find(const struct manifest *manifest,
						 const char *name);
const struct manifest_variant *manifest_variant_find(const struct manifest *manifest,
						     const struct variant_ref *ref);
bool manifest_revoked(const struct manifest *manifest, const struct digest *sha256);

enum manifest_arm { ARM_NONE, ARM_CANDIDATE, ARM_CONTROL };

/* Where a bucket stands: CANDIDATE below candidate_ppm, CONTROL inside the control slice, else
 * NONE.  *ret_enters: it belongs to those who enter now (the lane is running and the bucket lies
 * in its arm's slice).  Without a rollout: NONE, false. */
enum manifest_arm manifest_place(const struct manifest_model *model, int64_t bucket,
				 bool *ret_enters);

/* The first variant of list that the device meets; NULL if none, with the reason of the last. */
const struct manifest_variant *manifest_choose(const struct manifest *manifest,
					       const struct variant_ref *list, unsigned count,
					       const struct attrs *attrs,
					       const struct facts *facts, struct err *why);

#endif
