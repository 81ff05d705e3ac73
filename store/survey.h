/* survey.h -- a file's recipe, made by reading it once: cut, and hash the chunks and the whole.
 * Memory: about 6 MiB and 100 bytes a chunk.  Threads: any. */
#ifndef STORE_SURVEY_H
#define STORE_SURVEY_H

#include "base/cc.h"
#include "base/err.h"
#include "store/recipe.h"
#include "store/source.h"

/* *ret_recipe is the caller's.  at (may be NULL) is told how many bytes have been read. */
int survey_source(const struct source *source, void (*at)(void *arg, uint64_t bytes), void *arg,
		  struct recipe **ret_recipe, struct err *err) CHECKED;

#endif
