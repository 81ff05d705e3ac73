/* report_tree.h -- the reference that report_read() is compared with: the same rules over jansson's
 * tree, by other code.
 * Threads: pure. */
#ifndef TESTS_SUPPORT_REPORT_TREE_H
#define TESTS_SUPPORT_REPORT_TREE_H

#include "base/arena.h"
#include "telemetry/report.h"

#define REPORT_TREE_ARENA (96 * 1024)

/* As report_read(), all of it in the arena. */
int report_tree_read(const char *bytes, size_t len, int64_t now, struct arena *arena,
		     struct report **ret_report, struct err *err) CHECKED;

#endif
