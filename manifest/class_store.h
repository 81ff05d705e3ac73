/* class_store.h -- the class rules' history and each class's settings, as rows.
 * Threads: any, each with its own struct db; functions that write, only inside a ledger function. */
#ifndef MANIFEST_CLASS_STORE_H
#define MANIFEST_CLASS_STORE_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const struct sql_set class_sql;

#define CLASS_TIERS 16
#define CLASS_REMOVED_S (90 * 86400) /* a removed class is still served that long */

struct class_settings {
	const char *tiers[CLASS_TIERS]; /* in order of preference; none: all, by name */
	unsigned tier_count;
	int64_t poll_s, candidate_poll_s;
	int64_t window_s, windows, jitter_s, outcome_deadline_s, report_grace_s;
	int64_t devices;  /* estimate, for margins and forecasts */
	int64_t spread_s; /* over which a completion's installs are spread */
	int64_t ram_mib, disk_mib; /* budgets; 0: none */
};

/* Read settings; texts borrow from object.  ERR_INVALID names the field. */
int class_settings_read(struct class_settings *settings, const json_t *object,
			struct err *err) CHECKED;
json_t *class_settings_json(const struct class_settings *settings) CHECKED;

/* Current rules document with its version inside; ERR_NOT_FOUND before class_init(). */
int class_rules_get(struct db *db, json_t **ret_document, int64_t *ret_version,
		    struct err *err) CHECKED;
/* Their version alone; 0 before class_init(). */
int class_rules_version(struct db *db, int64_t *ret_version, struct err *err) CHECKED;
/* Lint and store document as the next version; classes that are new get default settings, those
 * that are gone are marked removed.  if_version -1: any; else ERR_STALE when it is not current. */
int class_rules_put(struct db *db, json_t *document, int64_t if_version, const char *actor,
		    int64_t now, int64_t *ret_version, struct err *err) CHECKED;

/* The same rules once more, as the next version: the index says something else beside them, and
 * devices that see a newer version in their manifest read it again. */
int class_rules_touch(struct db *db, const char *actor, int64_t now, struct err *err) CHECKED;

/* ERR_NOT_FOUND for a class that no rule ever named.  *settings borrows from *ret_object, the
 * caller's. */
int class_get(struct db *db, const char *name, struct class_settings *settings,
	      json_t **ret_object, int64_t *ret_version, struct err *err) CHECKED;
int class_put(struct db *db, const char *name, const json_t *object, int64_t if_version,
	      struct err *err) CHECKED;
int class_known(struct db *db, const char *name, bool *ret_known, struct err *err) CHECKED;
/* Whether rules lead to it; a removed one is served on for a while, but nothing new goes there. */
int class_active(struct db *db, const char *name, bool *ret_active, struct err *err) CHECKED;
/* [{name, settings, version, state: "active"|"pending"|"removed"}]. */
int class_list(struct db *db, json_t **ret_items, struct err *err) CHECKED;
/* Names of all that are served: active, or removed less than CLASS_REMOVED_S ago. */
int class_each(struct db *db, int64_t now, int (*fn)(void *arg, const char *name, struct err *err),
	       void *arg, struct err *err) CHECKED;

/* Make a class that no rule leads to yet, so that its roots can be signed first.  ERR_CONFLICT when
 * it exists. */
int class_prepare(struct db *db, const char *name, int64_t now, struct err *err) CHECKED;
/* Names of those. */
int class_each_pending(struct db *db, int (*fn)(void *arg, const char *name, struct err *err),
		       void *arg, struct err *err) CHECKED;

/* Rules version 1: one catch-all class "default". */
int class_init(struct db *db, int64_t now, struct err *err) CHECKED;

#endif
