/* What a publication makes, on its way to rows and into the snapshot. */
#include "manifest/publish_internal.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROOM 4 /* documents: what signing a class anew makes */

int making_change_new(struct making *m)
{
	m->change = calloc(1, sizeof(*m->change));
	if (!m->change)
		return err_nomem(m->err);
	m->change->publisher = m->p;
	m->change->now = m->now;
	memcpy(m->change->repo, m->repo.name, sizeof(m->change->repo));
	return 0;
}

void change_free(void *arg)
{
	struct change *change = arg;
	if (!change)
		return;
	for (unsigned i = 0; i < change->count; i++) {
		doc_unref(change->made[i].doc);
		free(change->made[i].role);
	}
	free(change->made);
	free(change);
}

static int make_room(struct making *m)
{
	struct change *change = m->change;
	if (change->count < change->room)
		return 0;
	const unsigned room = change->room ? 2 * change->room : FIRST_ROOM;
	struct made *made = realloc(change->made, room * sizeof(*made));
	if (!made)
		return err_nomem(m->err);
	change->made = made;
	change->room = room;
	return 0;
}

static int add(struct making *m, char *role, int64_t row, struct doc *doc, int64_t expires)
{
	if (!doc || make_room(m)) {
		doc_unref(doc);
		free(role);
		return err_nomem(m->err);
	}
	if (m->p->on_doc)
		m->p->on_doc(m->p->on_doc_arg, doc);
	m->change->made[m->change->count++] = (struct made){doc, role, row, expires};
	return 0;
}

int making_serve(struct making *m, const char *path, const void *bytes, size_t len,
		 enum doc_cache cache, int64_t expires)
{
	return add(m, NULL, 0, doc_new(path, bytes, len, cache, expires), expires);
}

int making_keep(struct making *m, const char *role, int64_t row, const char *path,
		const void *bytes, size_t len, enum doc_cache cache, int64_t expires)
{
	char *copy = strdup(role);
	if (!copy)
		return err_nomem(m->err);
	return add(m, copy, row, doc_new(path, bytes, len, cache, expires), expires);
}

void making_drop(struct making *m, const char *path)
{
	struct change *change = m->change;
	for (unsigned i = 0; i < change->count; i++)
		if (!strcmp(change->made[i].doc->path, path)) {
			doc_unref(change->made[i].doc);
			free(change->made[i].role);
			change->made[i] = change->made[--change->count];
			return;
		}
}

/* The snapshot with change's documents; NULL without memory. */
static struct snapshot *with_change(const struct snapshot *old, const struct change *change)
{
	struct doc **docs = calloc(change->count ? change->count : 1, sizeof(struct doc *));
	if (!docs)
		return NULL;
	for (unsigned i = 0; i < change->count; i++) {
		docs[i] = change->made[i].doc;
		change->made[i].doc = NULL;
	}
	struct snapshot *next =
		snapshot_with(old, change->repo, docs, change->count, change->now);
	free(docs);
	return next;
}

/* What was signed becomes visible.  Without memory the old documents stay until the next change or
 * restart; they are valid, and the rows are kept. */
void change_apply(void *arg)
{
	struct change *change = arg;
	struct publisher *p = change->publisher;
	struct snapshot *next = with_change(p->current, change);
	publisher_came_to(p, change->publication);
	change_free(change);
	if (!next)
		return;
	pthread_mutex_lock(&p->lock);
	struct snapshot *old = p->current;
	p->current = next;
	p->stats.swaps++;
	pthread_mutex_unlock(&p->lock);
	atomic_fetch_add(&p->generation, 1);
	snapshot_unref(old);
}
