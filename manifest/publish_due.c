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
	pthread_mutex_t lock; /* guards what follows, up to the threads */
	pthread_cond_t more;
	unsigned count; /* read so far; the ledger's thread alone changes it */
	unsigned next;	/* not yet taken by any thread */
	bool all;	/* no more will be read */
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

/* The next one that nobody has taken; NULL: all are. */
static struct renewal *take_next(struct batch *b)
{
	pthread_mutex_lock(&b->lock);
	while (b->next == b->count && !b->all)
		pthread_cond_wait(&b->more, &b->lock);
	struct renewal *r = b->next < b->count ? &b->list[b->next++] : NULL;
	pthread_mutex_unlock(&b->lock);
	return r;
}

static bool sign_one(struct batch *b)
{
	struct renewal *r = take_next(b);
	if (!r)
		return false;
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

/* One more for every FEW that were read.  A thread that cannot be started is not needed: the others do its
 * work. */
static void thread_start(struct batch *b, long cores)
{
	if (b->started < THREADS && (long)b->started + 1 < cores &&
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

/* What was read is for everyone; none: that was all. */
static void offer(struct batch *b, unsigned more)
{
	pthread_mutex_lock(&b->lock);
	b->count += more;
	b->all = !more;
	pthread_cond_broadcast(&b->more);
	pthread_mutex_unlock(&b->lock);
}

static int batch_init(struct batch *b, int64_t limit, struct err *err)
{
	b->list = calloc((size_t)limit, sizeof(*b->list));
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->more, NULL);
	return b->list ? 0 : err_nomem(err);
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
	offer(b, 0);
	threads_join(b);
	for (unsigned i = 0; i < b->count; i++)
		renewal_done(&b->list[i]);
	free(b->list);
	pthread_cond_destroy(&b->more);
	pthread_mutex_destroy(&b->lock);
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
static int take(struct renewal *r, struct publisher *p, struct db *db, struct stmt *due, struct err *err)
{
	buf_init(&r->targets, DOC_MAX);
	if (making_begin_due(&r->m, p, db, due, err))
		return -1;
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

/* Others sign what was read, meanwhile: a signature costs more than its rows. */
static int read_due(struct batch *b, struct publisher *p, struct db *db, int64_t limit,
		    int64_t *ret_publication, struct err *err)
{
	int got;
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);
	const int64_t now = clock_s(p->clock);
	STMT(q, db, &publish_sql, PQ_REPO_DUE);
	stmt_int(q, "$now", now);
	stmt_int(q, "$limit", limit);
	while ((got = stmt_step(q, err)) > 0) {
		if (!b->count && (publisher_may_sign(p, now, err) ||
				  publish_remember(p, db, now, ret_publication, err)))
			return -1;
		if (take(&b->list[b->count], p, db, q, err)) {
			renewal_done(&b->list[b->count]);
			return -1;
		}
		offer(b, 1);
		thread_start(b, cores);
	}
	offer(b, 0);
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
	int64_t publication = 0;
	*ret_signed = 0;
	if (p->restored)
		return 0;
	publisher_note(p);
	AUTO_BATCH struct batch b = {0};
	if (batch_init(&b, limit, err) || read_due(&b, p, db, limit, &publication, err))
		return -1;
	for (unsigned i = 0; i < b.count; i++) {
		await(&b, &b.list[i]);
		b.list[i].m.change->publication = publication;
		if (store(&b.list[i], err))
			return -1;
	}
	*ret_signed = b.count;
	return 0;
}
