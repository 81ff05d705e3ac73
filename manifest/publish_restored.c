/* A backup that was put back: noticing it, and beginning anew. */
#include "manifest/publish_internal.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int meta_int(struct db *db, const char *key, int64_t *ret, struct err *err)
{
	char text[32];
	*ret = 0;
	if (db_meta_get(db, key, text, sizeof(text), err))
		return err->status == ERR_NOT_FOUND ? 0 : -1;
	*ret = strtoll(text, NULL, 10);
	return 0;
}

static int meta_put(struct db *db, const char *key, int64_t value, struct err *err)
{
	char text[32];
	snprintf(text, sizeof(text), "%lld", (long long)value);
	return db_meta_set(db, key, text, err);
}

int publisher_compare(struct publisher *p, struct db *db, struct err *err)
{
	int64_t epoch;
	if (meta_int(db, "publication", &p->publication, err) || meta_int(db, "epoch", &epoch, err))
		return -1;
	p->committed = p->publication;
	p->restored = p->publication < p->keys.published || !p->keys.epoch;
	/* A crash between the commit that began anew and its file; or the file is gone. */
	if (epoch > p->keys.epoch)
		p->keys.epoch = epoch;
	if (!p->keys.epoch)
		p->keys.epoch = 1;
	atomic_store(&p->withheld, p->restored);
	if (p->restored)
		log_event(LOG_ERROR, "database.restored", F_INT("publication", p->publication),
			  F_INT("published", p->keys.published),
			  F_TEXT("text", "nothing is signed or served until `flotilla db restored`"));
	return 0;
}

int publisher_next_publication(struct publisher *p, struct db *db, int64_t *ret, struct err *err)
{
	if (db_meta_next(db, "publication", ret, err))
		return -1;
	p->publication = *ret;
	return 0;
}

static void remember(struct publisher *p, int64_t publication)
{
	struct err err;
	if (keystore_remember(&p->keys, p->keys.epoch, publication, &err))
		log_event(LOG_WARN, "epoch.unwritten", F_ERR(&err));
}

/* One write for all that was committed together: the last of it was given the last number.  When the
 * file cannot be written it lags, and a restored backup that is as new is not noticed; never does
 * it run ahead of the database, which would look like a restored one. */
void publisher_came_to(struct publisher *p, int64_t publication)
{
	if (publication > p->committed)
		p->committed = publication;
	if (publication == p->publication)
		publisher_note(p);
}

void publisher_note(struct publisher *p)
{
	if (p->committed > p->keys.published)
		remember(p, p->committed);
}

void publisher_restored(const struct publisher *p, struct publisher_restored *ret)
{
	*ret = (struct publisher_restored){.restored = p->restored,
					   .epoch = p->keys.epoch,
					   .publication = p->committed,
					   .published = p->keys.published,
					   .last_signed = p->last_signed};
}

bool publisher_withheld(const struct publisher *p)
{
	return atomic_load(&p->withheld);
}

const char *publisher_data_dir(const struct publisher *p)
{
	return p->keys.data_dir;
}

/* ---- anew ---- */

/* What a transaction that fails puts back. */
struct before {
	struct publisher *p;
	int64_t epoch, publication;
	bool restored;
};

static void before_forget(void *before)
{
	free(before);
}

static void before_return(void *arg)
{
	struct before *before = arg;
	before->p->keys.epoch = before->epoch;
	before->p->publication = before->publication;
	before->p->restored = before->restored;
	free(before);
}

static int make_all_anew(struct publisher *p, struct db *db, int64_t epoch, struct err *err)
{
	const int64_t last =
		p->committed > p->keys.published ? p->committed : p->keys.published;
	STMT(q, db, &publish_sql, PQ_REPO_ANEW);
	stmt_digest(q, "$content", &(struct digest){0}); /* equal to none */
	p->keys.epoch = epoch;
	p->restored = false;
	return meta_put(db, "epoch", epoch, err) || meta_put(db, "publication", last, err) ||
			       publisher_next_publication(p, db, &p->publication, err) ||
			       stmt_run(q, err)
		       ? -1
		       : 0;
}

int publisher_anew(struct publisher *p, struct db *db, int64_t epoch, struct err *err)
{
	if (epoch <= p->keys.epoch || epoch > EPOCH_MAX)
		return err_set(err, ERR_INVALID, "epoch: must be from %lld to %d",
			       (long long)p->keys.epoch + 1, EPOCH_MAX);
	struct before *before = malloc(sizeof(*before));
	if (!before)
		return err_nomem(err);
	*before = (struct before){p, p->keys.epoch, p->publication, p->restored};
	if (db_after_commit(db, before_forget, before_return, before, err))
		return -1;
	return make_all_anew(p, db, epoch, err);
}

static void serve(void *arg)
{
	struct publisher *p = arg;
	p->committed = p->publication;
	remember(p, p->publication);
	atomic_store(&p->withheld, false);
	log_event(LOG_WARN, "database.anew", F_INT("epoch", p->keys.epoch),
		  F_INT("publication", p->publication));
}

static void stay(void *arg)
{
	(void)arg;
}

int publisher_anew_end(struct publisher *p, struct db *db, struct err *err)
{
	return db_after_commit(db, serve, stay, p, err);
}
