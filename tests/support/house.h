/* house.h -- for tests of what acts: ledger, publisher and cells over a scratch directory with
 * development keys, three classes, and two published releases of one model, the first one stable. */
#ifndef TESTS_SUPPORT_HOUSE_H
#define TESTS_SUPPORT_HOUSE_H

#include "base/clock.h"
#include "manifest/keystore.h"
#include "manifest/publish.h"
#include "store/ledger.h"
#include "telemetry/cells.h"
#include "tests/support/scratch.h"

#include <stdbool.h>

#define HOUSE_CLASSES 3
#define HOUSE_DEVICES 1200 /* as each class's settings say */
extern const char *const house_classes[HOUSE_CLASSES]; /* "flagship", "mid", "budget" */

struct house {
	struct scratch scratch;
	struct clock clock;
	struct keystore keys;
	struct ledger *ledger;
	struct publisher *publisher;
	struct cells *cells;
	struct db *db; /* reads */
};

/* speed: of the clock.  The test fails when anything does. */
void house_open(struct house *house, int64_t speed);
void house_close(struct house *house);
/* End ledger and publisher and start them again over the same directory. */
void house_restart(struct house *house);
void house_run(struct house *house, int (*fn)(struct db *db, void *arg, struct err *err), void *arg);
/* Whether the published manifest of class says text. */
bool house_published(struct house *house, const char *class, const char *text);
/* The published document at path, the caller's (free()); NULL: none. */
char *house_document(struct house *house, const char *path);
/* No statement of set with a WHERE goes through a table; nor, with sorted, sorts what it read. */
void house_never_scans(struct house *house, const struct sql_set *set, bool sorted);

#endif
