/* inspect.h -- a model file as push and inspect see it.  Threads: the main thread. */
#ifndef CLI_INSPECT_H
#define CLI_INSPECT_H

#include "base/cc.h"
#include "base/err.h"
#include "store/estimate.h"
#include "store/inspect.h"

#include <jansson.h>

/* ret_estimate may be NULL.  *ret_inspect is the caller's. */
int inspect_file(const char *path, struct inspect **ret_inspect, struct estimate *ret_estimate,
		 struct err *err) CHECKED;
/* A variant's "meta" (manifest/catalog.h), the caller's. */
json_t *inspect_meta(const struct inspect *inspect) CHECKED;

#endif
