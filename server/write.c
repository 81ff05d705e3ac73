#include "server/write.h"

#include "manifest/journal.h"
#include "server/app.h"
#include "store/ledger.h"

struct write {
	struct request *rq;
	struct journal_entry entry;
	int (*fn)(struct db *db, void *arg, struct err *err);
	void *arg;
};

int64_t write_now(const struct request *rq)
{
	return clock_s(&rq->app->clock);
}

static int write_both(struct db *db, void *arg, struct err *err)
{
	const struct write *write = arg;
	return write->fn(db, write->arg, err) || journal_audit(db, &write->entry, err) ? -1 : 0;
}

int write_run(struct request *rq, const char *action, const char *resource, json_t *data,
	      int (*fn)(struct db *db, void *arg, struct err *err), void *arg, struct err *err)
{
	struct write write = {.rq = rq, .fn = fn, .arg = arg};
	write.entry = (struct journal_entry){.t = write_now(rq),
					     .actor = rq->who.name,
					     .action = action,
					     .resource = resource,
					     .request = rq->id,
					     .data = data};
	return ledger_run(rq->app->ledger, write_both, &write, err);
}
