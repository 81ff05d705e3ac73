/* flotillad rebuild.  See app.h. */
#include "server/app.h"

#include "base/file.h"
#include "server/config.h"
#include "store/blob.h"
#include "store/db.h"
#include "store/ledger.h"
#include "store/rebuild.h"

#include <stdio.h>

static void report_print(const struct rebuild_report *report)
{
	printf("rows for %llu packs, %llu chunks, %llu recipes\n",
	       (unsigned long long)report->packs, (unsigned long long)report->chunks,
	       (unsigned long long)report->recipes);
	if (report->dropped)
		printf("%llu packs had rows and are not there\n",
		       (unsigned long long)report->dropped);
	if (report->unreadable)
		printf("%llu packs cannot be read and are in quarantine/ now\n",
		       (unsigned long long)report->unreadable);
	if (report->hurt)
		printf("%llu recipes lack something: start the daemon and see flotilla store verify\n",
		       (unsigned long long)report->hurt);
	if (report->first.status != ERR_NONE)
		printf("the first: %s\n", report->first.text);
}

/* ledger and blobs are stopped by the caller, whatever happens. */
static int rebuild_run(const struct config *config, struct ledger *ledger, struct blobs **ret_blobs,
		       struct err *err)
{
	const struct blobs_options options = {.dir = config->data_dir,
					      .reserve = (uint64_t)config->reserve_mib << 20,
					      .ledger = ledger};
	AUTO(db_close) struct db *reading = NULL;
	struct rebuild_report report;
	struct clock clock;
	bool own;

	if (app_db_open(&reading, config->data_dir, false, err) < 0 ||
	    app_clock_load(reading, &clock, &own, err) < 0 ||
	    blobs_open(ret_blobs, &options, err) < 0 ||
	    store_rebuild(*ret_blobs, reading, clock_s(&clock), &report, err) < 0)
		return -1;
	report_print(&report);
	return 0;
}

int app_rebuild(const struct config *config, struct err *err)
{
	struct ledger *ledger = NULL;
	struct blobs *blobs = NULL;
	struct db *writing = NULL;
	int fd AUTO_FD = -1;

	if (app_lock(config->data_dir, &fd, err) < 0 ||
	    app_db_open(&writing, config->data_dir, true, err) < 0 ||
	    ledger_new(&ledger, writing, 16, err) < 0)
		return -1;
	int result = rebuild_run(config, ledger, &blobs, err);
	blobs_free(blobs);
	ledger_free(ledger);
	return result;
}
