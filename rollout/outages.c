#include "rollout/outages.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIVE "engine.alive"
#define LIST "engine.outages" /* "from-to from-to " */
#define LIST_ROOM ((size_t)OUTAGES_MAX * 44)

/* 0: there is none. */
static int alive_at(struct db *db, int64_t *ret_at, struct err *err)
{
	char text[32];
	*ret_at = 0;
	if (!db_meta_get(db, ALIVE, text, sizeof(text), err))
		*ret_at = strtoll(text, NULL, 10);
	else if (err->status != ERR_NOT_FOUND)
		return -1;
	return 0;
}

int outages_read(struct db *db, struct outages *ret_outages, struct err *err)
{
	char text[LIST_ROOM] = "";
	struct outages o = {.count = 0};
	if (db_meta_get(db, LIST, text, sizeof(text), err) && err->status != ERR_NOT_FOUND)
		return -1;
	for (char *at = text; *at && o.count < OUTAGES_MAX; o.count++) {
		char *dash;
		o.list[o.count].from = strtoll(at, &dash, 10);
		if (*dash != '-')
			return err_set(err, ERR_CORRUPT, LIST ": not a list of times");
		o.list[o.count].to = strtoll(dash + 1, &at, 10);
		at += *at == ' ';
	}
	*ret_outages = o;
	return 0;
}

static int list_write(struct db *db, const struct outages *o, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(LIST_ROOM);
	for (unsigned i = 0; i < o->count; i++)
		buf_addf(&text, "%lld-%lld ", (long long)o->list[i].from, (long long)o->list[i].to);
	return buf_ok(&text, LIST, err) ? -1 : db_meta_set(db, LIST, text.data, err);
}

int outages_alive(struct db *db, int64_t now, struct err *err)
{
	char text[32];
	snprintf(text, sizeof(text), "%lld", (long long)now);
	return db_meta_set(db, ALIVE, text, err);
}

int outages_start(struct db *db, int64_t now, struct err *err)
{
	struct outages o;
	int64_t lived;
	if (alive_at(db, &lived, err) || outages_read(db, &o, err))
		return -1;
	if (!lived || now - lived < OUTAGE_LEAST_S)
		return outages_alive(db, now, err);
	if (o.count == OUTAGES_MAX)
		memmove(o.list, o.list + 1, --o.count * sizeof(o.list[0]));
	o.list[o.count].from = lived;
	o.list[o.count++].to = now;
	return list_write(db, &o, err) || outages_alive(db, now, err) ? -1 : 0;
}

int64_t outages_within(const struct outages *o, int64_t from, int64_t to)
{
	int64_t down = 0;
	for (unsigned i = 0; o && i < o->count; i++) {
		const int64_t first = o->list[i].from > from ? o->list[i].from : from;
		const int64_t last = o->list[i].to < to ? o->list[i].to : to;
		down += last > first ? last - first : 0;
	}
	return down;
}
