#include "manifest/publish_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_SLACK_MS 3600000 /* wall and monotonic clock may part by this */

/* ---- the clock guard ---- */

static void set_doubt(struct publisher *p, const char *text)
{
	pthread_mutex_lock(&p->lock);
	snprintf(p->doubt, sizeof(p->doubt), "%s", text);
	p->stats.refusals += text[0] != 0;
	pthread_mutex_unlock(&p->lock);
}

/* Time that jumped must not be signed: a device would believe it. */
int publisher_may_sign(struct publisher *p, int64_t now, struct err *err)
{
	const int64_t wall = clock_wall_ms() - p->wall_ms;
	const int64_t apart = llabs(wall - (clock_monotonic_ms() - p->monotonic_ms));
	if (p->restored)
		return err_set(err, ERR_CONFLICT,
			       "the database is a restored backup, and nothing is signed from it: look at "
			       "`flotilla db status`, then run `flotilla db restored`");
	if (apart > CLOCK_SLACK_MS)
		err_set(err, ERR_CONFLICT,
			"refusing to sign: the wall clock has moved %lld s against the monotonic one;"
			" set it right and restart",
			(long long)(apart / 1000));
	else if (now < p->last_signed - CLOCK_SLACK_MS / 1000)
		err_set(err, ERR_CONFLICT,
			"refusing to sign: the clock is %lld s before the last signature; set it right",
			(long long)(p->last_signed - now));
	else {
		set_doubt(p, "");
		return 0;
	}
	set_doubt(p, err->text);
	return -1;
}

bool publisher_clock_doubt(struct publisher *p, char out[static 200])
{
	pthread_mutex_lock(&p->lock);
	memcpy(out, p->doubt, sizeof(p->doubt));
	pthread_mutex_unlock(&p->lock);
	return out[0] != 0;
}

/* ---- the publisher ---- */

int publisher_new(struct publisher **ret_publisher, const struct keystore *keys,
		  const struct clock *clock, struct err *err)
{
	struct publisher *p = calloc(1, sizeof(*p));
	if (!p)
		return err_nomem(err);
	p->current = snapshot_new();
	p->derived = map_new(publish_derived_free);
	if (!p->current || !p->derived) {
		snapshot_unref(p->current);
		map_free(p->derived);
		free(p);
		return err_nomem(err);
	}
	p->keys = *keys;
	publisher_name_seeds(p);
	p->clock = clock;
	p->wall_ms = clock_wall_ms();
	p->monotonic_ms = clock_monotonic_ms();
	pthread_mutex_init(&p->lock, NULL);
	*ret_publisher = p;
	return 0;
}

void publisher_name_seeds(struct publisher *p)
{
	keystore_seed_id(&p->keys.online, &p->online_id);
	if (p->keys.rotating)
		keystore_seed_id(&p->keys.next, &p->next_id);
}

static int seed_used(const struct publisher *p, struct db *db, bool *ret_used, struct err *err)
{
	STMT(q, db, &publish_sql, PQ_SEED_USED);
	stmt_digest(q, "$seed", &p->next_id);
	const int got = stmt_step(q, err);
	*ret_used = got > 0;
	return got < 0 ? -1 : 0;
}

int publisher_count_stranded(struct publisher *p, struct db *db, struct err *err)
{
	STMT(q, db, &publish_sql, PQ_STRANDED);
	stmt_digest(q, "$online", &p->online_id);
	stmt_digest(q, "$next", p->keys.rotating ? &p->next_id : &p->online_id);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	pthread_mutex_lock(&p->lock);
	p->stats.stranded = got ? (unsigned)stmt_col_int(q, 0) : 0;
	pthread_mutex_unlock(&p->lock);
	return 0;
}

/* Should the rename fail, the next start tries again: until then both seeds are known. */
static void settle_apply(void *arg)
{
	struct publisher *p = arg;
	struct err ignored;
	if (keystore_settle(&p->keys, &ignored) == 0)
		publisher_name_seeds(p);
}

static void settle_drop(void *arg)
{
	(void)arg;
}

int publisher_settle_seed(struct publisher *p, struct db *db, struct err *err)
{
	bool used;
	if (!p->keys.rotating || p->keys.elsewhere)
		return 0;
	if (seed_used(p, db, &used, err) || used)
		return used ? 0 : -1;
	return db_after_commit(db, settle_apply, settle_drop, p, err);
}

void publisher_free(struct publisher *p)
{
	if (!p)
		return;
	snapshot_unref(p->current);
	map_free(p->derived);
	keystore_done(&p->keys);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void publisher_on_doc(struct publisher *p, void (*fn)(void *arg, struct doc *doc), void *arg)
{
	p->on_doc = fn;
	p->on_doc_arg = arg;
}

/* Whether a later row of the same role follows: then only its numbered name is served. */
static int load_row(struct making *m, struct stmt *q)
{
	size_t len;
	const char *path = stmt_col_text(q, 3), *role = stmt_col_text(q, 1);
	const void *bytes = stmt_col_blob(q, 4, &len);
	const int64_t expires = stmt_col_int(q, 5);
	char plain[512];
	if (!strcmp(role, "timestamp"))
		return making_serve(m, path, bytes, len, DOC_SHORT, expires);
	if (making_serve(m, path, bytes, len, DOC_IMMUTABLE, expires))
		return -1;
	if (strcmp(role, "targets") || !strcmp(m->repo.name, INDEX_REPO))
		return 0;
	/* Rows come in order of version: the last one stays under the plain name. */
	snprintf(plain, sizeof(plain), "/v1/%s/manifest.json", m->repo.name);
	making_drop(m, plain);
	return making_serve(m, plain, bytes, len, DOC_SHORT, expires - KEEP_S);
}

static int load_change(struct making *m, const char *repo)
{
	if (m->change)
		change_apply(m->change);
	snprintf(m->repo.name, sizeof(m->repo.name), "%s", repo);
	return making_change_new(m);
}

static int load_last_signed(struct publisher *p, struct db *db, struct err *err)
{
	char text[32];
	if (!db_meta_get(db, "last_signed", text, sizeof(text), err)) {
		p->last_signed = strtoll(text, NULL, 10);
		return 0;
	}
	return err->status == ERR_NOT_FOUND ? 0 : -1;
}

int publisher_load(struct publisher *p, struct db *db, struct err *err)
{
	struct making m = {.p = p, .db = db, .err = err};
	STMT(q, db, &publish_sql, PQ_DOC_ALL);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		const char *repo = stmt_col_text(q, 0);
		if ((!m.change || strcmp(m.repo.name, repo)) && load_change(&m, repo))
			return -1;
		if (load_row(&m, q)) {
			change_free(m.change);
			return -1;
		}
	}
	if (m.change)
		change_apply(m.change);
	if (got < 0 || load_last_signed(p, db, err))
		return -1;
	/* A rotation that ended with a crash. */
	bool used = true;
	if (p->keys.rotating && seed_used(p, db, &used, err))
		return -1;
	if (!used)
		settle_apply(p);
	return publisher_count_stranded(p, db, err) || publisher_compare(p, db, err) ? -1 : 0;
}

struct snapshot *publisher_snapshot(struct publisher *p)
{
	pthread_mutex_lock(&p->lock);
	struct snapshot *snapshot = snapshot_ref(p->current);
	pthread_mutex_unlock(&p->lock);
	return snapshot;
}

uint64_t publisher_generation(const struct publisher *p)
{
	return atomic_load(&p->generation);
}

void publisher_stats(struct publisher *p, struct publisher_stats *ret_stats)
{
	struct snapshot *snapshot = publisher_snapshot(p);
	pthread_mutex_lock(&p->lock);
	*ret_stats = p->stats;
	pthread_mutex_unlock(&p->lock);
	ret_stats->documents = snapshot_documents(snapshot);
	ret_stats->repositories = snapshot_repositories(snapshot);
	const int64_t first = snapshot_first_expiry(snapshot);
	ret_stats->first_expiry = first == INT64_MAX ? 0 : first;
	snapshot_unref(snapshot);
}

bool publisher_development(const struct publisher *p)
{
	return p->keys.development;
}
