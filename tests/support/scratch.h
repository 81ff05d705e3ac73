/* scratch.h -- for tests: a directory of their own, removed with all it holds. */
#ifndef TESTS_SUPPORT_SCRATCH_H
#define TESTS_SUPPORT_SCRATCH_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

struct scratch {
	char dir[200];
};

static inline int scratch_remove_one(const char *path, const struct stat *st, int kind,
				     struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static inline void scratch_remove(struct scratch *scratch)
{
	if (scratch->dir[0])
		nftw(scratch->dir, scratch_remove_one, 8, FTW_DEPTH | FTW_PHYS);
	scratch->dir[0] = 0;
}

/* SCRATCH(s);  makes s.dir under ${TMPDIR:-/tmp}, gone at scope exit. */
#define SCRATCH(name)                                                                     \
	__attribute__((cleanup(scratch_remove))) struct scratch name;                     \
	scratch_make(&name)

static inline void scratch_make(struct scratch *scratch)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(scratch->dir, sizeof(scratch->dir), "%s/flotilla-test-XXXXXX",
		 tmp ? tmp : "/tmp");
	if (!mkdtemp(scratch->dir)) {
		perror(scratch->dir);
		abort();
	}
}

#endif
