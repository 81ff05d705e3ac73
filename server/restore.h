/* restore.h -- a backup that was put back: what differs from what was published since, and going on
 * from it.  What withdrawn.log says was taken back since the backup is taken back again, every lane
 * holds, versions go on in a new epoch, so that devices follow.
 * Threads: inside ledger functions only. */
#ifndef SERVER_RESTORE_H
#define SERVER_RESTORE_H

#include "base/cc.h"
#include "base/err.h"
#include "rollout/act.h"
#include "server/app.h"
#include "store/db.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* {restored, epoch, publication, published, last_signed, withdrawn: [{what, subject, t}]}: what was
 * taken back since the backup, revocations first.  The caller's. */
int restore_status(const struct app *app, struct db *db, json_t **ret, struct err *err) CHECKED;

struct restore_order {
	int64_t epoch; /* 0: the next */
	bool force;    /* although nothing shows that the database was restored */
};
/* Take back, hold, and publish all anew.  ERR_CONFLICT when the database was not restored, or
 * withdrawn.log is damaged.  *ret: as above, each with "outcome", and "held": the lanes that
 * hold now. */
int restore_run(const struct app *app, struct db *db, const struct act *act,
		const struct restore_order *order, json_t **ret, struct err *err) CHECKED;

#endif
