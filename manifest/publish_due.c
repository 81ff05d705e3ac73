/* Signing anew what grows old.  Nothing is built again: the stored document gets another version, expiry
 * and signature.  Rows are read and written on the ledger's thread while others sign, since a
 * signature costs more than its rows. */
#include "manifest/publish_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS 3 /* at the most, beside the ledger's */
#define FEW 8	  /* repositories a thread is started for */

/* A repository whose documents grow old. */
struct renewal {
	struct making m; /* channel and class: its own copies */
	char *channel, *class;
	bool renewable;		  /* else it must be made */
	struct buf targets;	  /* as stored; when they are due, too */
	struct tuf_meta snapshot; /* else: the one that stays */
	struct err err;
	int bad;
	atomic_bool ready; /* signed, or bad */
};

struct batch {
	struct renewal *list;
	unsigned count;
	atomic_uint next; /* not yet taken by any thread */
	pthread_t thread[THREADS];
	unsigned started;
};

static bool all_due(const struct making *m)
{
	return m->repo.resign_targets <= m->now;
}

/* The class's targets with a later expiry, and all that names them. */
static int sign_all(struct renewal *r)
{
	struct making *m = &r->m;
	const int64_t expires = m->now + MANIFEST_LIFE_S;
	const int64_t version = making_next_version(m->p, m->repo.targets);
	struct tuf_meta meta;
	AUTO_SIGN_KEY struct sign_key key;
	AUTO_BUF struct buf out = BUF_INIT(DOC_MAX);
	making_derive(m, KEY_TARGETS, &key);
	if (tuf_renew(r->targets.data, r->targets.len, version, expires, &key, &out, m->err) ||
	    making_store_targets(m, version, out.data, out.len, expires, &meta))
		return -1;
	return making_snapshot(m, &meta, NULL);
}

/* The next one that nobody has taken; false: all are. */
static bool sign_one(struct batch *b)
{
	const unsigned i = atomic_fetch_add(&b->next, 1);
	if (i >= b->count)
		return false;
	struct renewal *r = &b->list[i];
	r->m.err = &r->err;
	if (r->renewable)
		r->bad = all_due(&r->m) ? sign_all(r) : making_timestamp(&r->m, &r->snapshot);
	atomic_store(&r->ready, true);
	return true;
}

static void *sign_all_of(void *arg)
{
	while (sign_one(arg))
		;
	return NULL;
}

/* A thread that cannot be started is not needed: the others do its work. */
static void threads_start(struct batch *b)
{
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);
	while (b->started < THREADS && (long)b->started + 1 < cores &&
	       (b->started + 1) * FEW < b->count &&
	       !pthread_create(&b->thread[b->started], NULL, sign_all_of, b))
		b->started++;
}

static void threads_join(struct batch *b)
{
	while (b->started)
		pthread_join(b->thread[--b->started], NULL);
}

/* Sign others until r is signed; when all are taken, those who have them are waited for. */
static void await(struct batch *b, struct renewal *r)
{
	while (!atomic_load(&r->ready))
		if (!sign_one(b))
			threads_join(b);
}

/* ---- rows before and after ---- */

static void renewal_done(struct renewal *r)
{
	change_free(r->m.change);
	buf_done(&r->targets);
	free(r->channel);
	free(r->class);
}

static void batch_done(struct batch *b)
{
	threads_join(b);
	for (unsigned i = 0; i < b->count; i++)
		renewal_done(&b->list[i]);
	free(b->list);
}
#define AUTO_BATCH __attribute__((cleanup(batch_done)))

/* What signing it will need. */
static int read_parts(struct renewal *r)
{
	struct making *m = &r->m;
	if (!all_due(m))
		return making_read_meta(m, TUF_SNAPSHOT, m->repo.snapshot, &r->snapshot);
	return publish_doc_get(m->db, m->repo.name, TUF_TARGETS, m->repo.targets, &r->targets,
			       m->err);
}

/* A class whose content stands, under a root whose seed is here. */
static bool renewable(const struct making *m)
{
	return m->repo.channel && m->repo.targets && !digest_zero(&m->repo.content) &&
	       making_has_seed(m);
}

/* One due row. */
static int take(struct batch *b, struct publisher *p, struct db *db, struct stmt *due,
		struct err *err)
{
	struct renewal *r = &b->list[b->count];
	buf_init(&r->targets, DOC_MAX);
	if (making_begin_due(&r->m, p, db, due, err))
		return -1;
	b->count++;
	struct repo *repo = &r->m.repo;
	r->renewable = renewable(&r->m);
	r->channel = repo->channel ? strdup(repo->channel) : NULL;
	r->class = repo->class ? strdup(repo->class) : NULL;
	if (repo->channel && (!r->channel || !r->class))
		return err_nomem(err);
	repo->channel = r->channel;
	repo->class = r->class;
	return r->renewable ? read_parts(r) : 0;
}

static int read_due(struct batch *b, struct publisher *p, struct db *db, int64_t limit,
		    struct err *err)
{
	int got;
	STMT(q, db, &publish_sql, PQ_REPO_DUE);
	stmt_int(q, "$now", clock_s(p->clock));
	stmt_int(q, "$limit", limit);
	while ((got = stmt_step(q, err)) > 0)
		if (take(b, p, db, q, err))
			return -1;
	return got;
}

/* What was signed, or what cannot be renewed made. */
static int store(struct renewal *r, struct err *err)
{
	struct making *m = &r->m;
	if (!r->renewable)
		return r->channel ? publish_repo(m->p, m->db, r->channel, r->class, err)
				  : publish_index(m->p, m->db, err);
	m->err = err;
	if (r->bad)
		*err = r->err;
	const int bad = making_store(m, r->bad);
	m->change = NULL;
	return bad;
}

int publish_due(struct publisher *p, struct db *db, int64_t limit, int64_t *ret_signed,
		struct err *err)
{
	int64_t publication;
	const int64_t now = clock_s(p->clock);
	*ret_signed = 0;
	if (p->restored)
		return 0;
	publisher_note(p);
	AUTO_BATCH struct batch b = {.list = calloc((size_t)limit, sizeof(struct renewal))};
	if (!b.list)
		return err_nomem(err);
	if (read_due(&b, p, db, limit, err))
		return -1;
	if (b.count && (publisher_may_sign(p, now, err) ||
			publish_remember(p, db, now, &publication, err)))
		return -1;
	threads_start(&b);
	for (unsigned i = 0; i < b.count; i++) {
		await(&b, &b.list[i]);
		b.list[i].m.change->publication = publication;
		if (store(&b.list[i], err))
			return -1;
	}
	*ret_signed = b.count;
	return 0;
}
