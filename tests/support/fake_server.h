/* fake_server.h -- for tests of the SDK: a server in memory behind a struct flotilla_transport.
 * It publishes real TUF repositories (an index, and one for each class) and real recipes, maps and
 * packs, takes reports, and can be told to misbehave.  One clock serves both sides.
 * It knows no Check: what goes wrong inside ends the program with a message.
 * Threads: one. */
#ifndef TESTS_SUPPORT_FAKE_SERVER_H
#define TESTS_SUPPORT_FAKE_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "manifest/attest.h"
#include "manifest/doc.h"
#include "manifest/keys.h"
#include "manifest/tuf.h"
#include "sdk/flotilla.h"

#include <stdbool.h>

#define FAKE_NOW 1800000000LL /* when the clock starts: the start of a 10-minute slot */
#define FAKE_DAY 86400
#define FAKE_MODEL "assistant"
#define FAKE_PIECE 16384 /* raw bytes of a chunk */
#define FAKE_PACK_PIECES 5 /* chunks of a pack */
#define FAKE_CLASSES 4
#define FAKE_VARIANTS 8
#define FAKE_FILES 4
#define FAKE_DOCS 1024
#define FAKE_HITS 8192
#define FAKE_POSTS 512

/* ---- what goes wrong ---- */

/* Applies to requests whose path contains match. */
struct fake_fault {
	const char *match;  /* NULL: nothing goes wrong */
	unsigned skip;	    /* that many of them go well first */
	unsigned times;	    /* then that many do not; 0: all */
	int status;	    /* answered instead, without a body */
	const void *bytes;  /* served instead */
	size_t len;
	bool silent;	    /* no answer at all */
	bool lost;	    /* a POST is taken, its answer does not arrive */
	bool flip;	    /* one bit of byte flip_at of the document is wrong */
	int64_t flip_at;
	int64_t cut;	    /* the connection breaks after that many bytes; 0: it does not */
	int64_t extra;	    /* that many bytes too many follow */
	bool whole;	    /* Range is ignored: 200 */
	int64_t retry_after; /* seconds; 0: not said */
};

/* ---- what is published ---- */

/* One TUF repository.  Each role has its version and its last document; keys are of a
 * generation. */
struct fake_repo {
	char base[128]; /* "/v1/index", "/v1/c/stable/phone" */
	const char *channel, *class; /* NULL: the index */
	int64_t version[TUF_ROLES];
	unsigned generation[KEY_ROLES];
	int64_t life_s;	/* of what is signed next */
	struct buf doc[TUF_ROLES];
};

struct fake_class {
	struct fake_repo repo;
	struct manifest manifest; /* edit, then fake_publish(); the lists of it are made then */
	struct manifest_model model; /* likewise: rollout and spread */
	struct variant_ref stable[FAKE_VARIANTS], candidate[FAKE_VARIANTS];
};

struct fake_doc {
	char path[256];
	char *bytes; /* owned */
	size_t len;
};

struct fake_hit {
	char path[256];
	int status;
	int64_t from; /* of the range; -1: none */
	size_t sent;
};

struct fake_server {
	int64_t now;	     /* the clock of the server */
	int64_t clock_error; /* the device's clock is ahead by that */
	struct arena *arena;
	struct key_seed seed;
	struct fake_repo index;
	struct fake_class classes[FAKE_CLASSES];
	unsigned class_count;
	struct manifest_variant variants[FAKE_VARIANTS]; /* all that exist */
	unsigned variant_count;
	const char *rules; /* JSON, without "version" */
	int64_t rules_version;
	const char *publishers; /* JSON; changes with the next fake_publish_index() */

	struct fake_doc docs[FAKE_DOCS];
	unsigned doc_count;

	struct fake_fault fault;
	unsigned faults; /* requests that matched it so far */
	int64_t kill_at; /* SIGKILL to this process at that step of a transfer; 0: never */
	int64_t steps;	 /* taken so far: a request, or a piece of a body */

	struct fake_hit hits[FAKE_HITS]; /* since fake_forget() */
	unsigned hit_count;
	char *posts[FAKE_POSTS]; /* owned; bodies of reports, in order */
	unsigned post_count;
};

/* A server with the index and the class "phone", which offers nothing yet; rules lead devices from
 * 4,096 MiB to "phone" and all others to "small". */
struct fake_server *fake_server_new(void);
void fake_server_free(struct fake_server *server); /* NULL is fine */
DEFINE_AUTO(struct fake_server, fake_server_free)

/* Options of a device of this server, in class "phone": its index root, transport and clock,
 * development allowed, reports without delay, rollouts entered a second after the first load. */
struct flotilla_options fake_options(struct fake_server *server, const char *state_dir);

/* ---- publishing ---- */

/* A class with its own root, named by the index from the next fake_publish_index() on. */
struct fake_class *fake_class_add(struct fake_server *server, const char *name);

/* A variant of one file, whose chunks are named by a letter each: equal letters, equal chunks;
 * capitals compress.  The server's. */
const struct manifest_variant *fake_variant(struct fake_server *server, const char *ref,
					    const char *pieces);
/* Another file of the variant that was made last. */
void fake_variant_file(struct fake_server *server, const char *name, const char *pieces);
/* A publisher's word for the variant: its envelope is served and named by what is published from now
 * on.  attest: its counter, floor and channels; the rest is the variant's. */
void fake_attest(struct fake_server *server, const struct manifest_variant *variant,
		 const struct attest *attest, const struct sign_key *key);
/* The same with an envelope that somebody else made. */
void fake_envelope(struct fake_server *server, const struct manifest_variant *variant,
		   const struct buf *envelope);
/* A variant of one file of any bytes, cut as the real server cuts. */
const struct manifest_variant *fake_variant_bytes(struct fake_server *server, const char *ref,
						  const struct buf *bytes);
/* The map of the variant's first file names a delta from that of old, which is served; its bytes. */
uint64_t fake_delta(struct fake_server *server, const struct manifest_variant *old,
		    const struct manifest_variant *variant);
/* The first file is served as it is, too. */
void fake_raw(struct fake_server *server, const struct manifest_variant *variant);
/* A GGUF file of that many F16 tensors, a chunk each, with a note of some bytes before them; their
 * numbers are those of seed, moved by up to step. */
void fake_model(struct buf *out, unsigned tensors, unsigned seed, unsigned step, unsigned note);
/* What a file of these pieces holds; len is strlen(pieces) * FAKE_PIECE. */
void fake_content(const char *pieces, uint8_t *out);

/* What the class offers: a stable, and as a rollout "r1" to all devices a candidate (NULL: none). */
void fake_offer(struct fake_class *class, const struct manifest_variant *stable,
		const struct manifest_variant *candidate);
/* One more to choose from, behind the others. */
void fake_stable_add(struct fake_class *class, const struct manifest_variant *variant);

void fake_publish(struct fake_server *server, struct fake_class *class); /* all versions rise */
void fake_publish_index(struct fake_server *server);

/* A root one version later, with the next generation's keys for the roles in mask (1 << enum
 * key_role), signed by the old and the new root key.  What the other keys sign comes with the next
 * publication. */
void fake_rotate(struct fake_server *server, struct fake_repo *repo, unsigned mask);

/* For attacks: sign one role again with the versions as they stand in repo. */
void fake_sign_snapshot(struct fake_server *server, struct fake_repo *repo);
void fake_sign_timestamp(struct fake_server *server, struct fake_repo *repo);

/* ---- serving ---- */

/* Replaces what is there. */
void fake_put(struct fake_server *server, const char *path, const void *bytes, size_t len);
void fake_put_named(struct fake_server *server, const char *kind, const struct digest *name,
		    const struct buf *bytes); /* as /v1/KIND/NAME */
const struct fake_doc *fake_get_named(const struct fake_server *server, const char *kind,
				      const struct digest *name);
void fake_must(bool well, const char *what, const struct err *err); /* ends the program otherwise */
const struct fake_doc *fake_get(const struct fake_server *server, const char *path); /* or NULL */
void fake_take(struct fake_server *server, const char *path); /* it is gone: 404 */

void fake_break(struct fake_server *server, struct fake_fault fault); /* from now on */
void fake_mend(struct fake_server *server);
void fake_forget(struct fake_server *server); /* hits */
/* Requests since fake_forget() whose path contains part; bytes of bodies sent for them. */
unsigned fake_count(const struct fake_server *server, const char *part);
uint64_t fake_sent(const struct fake_server *server, const char *part);

flotilla_transport fake_transport; /* arg: the server */
int64_t fake_now(void *server);

#endif
