/* classes_diff.h -- which devices other rules would lead to another class.
 * Decided from the rules alone, one alternative against one: where a move is told there may be none
 * (its devices may be taken by several others together), but no device moves unannounced.
 * Threads: pure. */
#ifndef MANIFEST_CLASSES_DIFF_H
#define MANIFEST_CLASSES_DIFF_H

#include "base/arena.h"
#include "base/cc.h"
#include "base/err.h"
#include "manifest/classes.h"

#include <stdbool.h>

struct class_moves { /* of the devices that are in class `from` now */
	const char *from;
	bool some_stay;	 /* may */
	unsigned count;	 /* 0: none moves */
	const char **to; /* where they may move, each once */
};

/* One entry for each class of before, in the order of its rules; in the arena; names borrowed from
 * before and after, as classes_parse() or classes_lint() read them. */
int classes_diff(const struct class_rules *before, const struct class_rules *after,
		 struct arena *arena, struct class_moves **ret_moves, unsigned *ret_count,
		 struct err *err) CHECKED;

#endif
