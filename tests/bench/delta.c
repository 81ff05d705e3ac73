/* bench_delta OLD NEW...: for each pair the delta's bytes as percent of the new file, and the processor time
 * of making and applying it as multiples of the new file's SHA-256; applying includes all its checks.
 * One thread; in memory but for reading the files. */
#include "store/delta.h"
#include "tests/support/between.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define DELTA_MAX ((size_t)2 << 30)
#define TIMES 3 /* applied; the fastest counts */

static void die(const char *what)
{
	fprintf(stderr, "bench_delta: %s\n", what);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct source map_file(const char *path, struct memory *memory)
{
	struct stat st;
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || !st.st_size)
		die(path);
	void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (bytes == MAP_FAILED)
		die(path);
	return source_memory(memory, bytes, (size_t)st.st_size);
}

static int swallow(void *arg, const void *bytes, size_t len, struct err *err)
{
	(void)arg;
	(void)bytes;
	(void)len;
	(void)err;
	return 0;
}

static double sha_s(const struct source *file, const struct memory *m)
{
	struct digest digest;
	const double begun = now();
	digest_of(&digest, m->bytes, file->size);
	return now() - begun;
}

static double apply_s(const struct source *old, const struct buf *delta)
{
	const struct sink nowhere = {swallow, NULL};
	struct memory slot;
	struct err err;
	const struct source source = source_memory(&slot, delta->data, delta->len);
	double best = 1e9;
	for (unsigned i = 0; i < TIMES; i++) {
		const double begun = now();
		if (delta_apply(old, &source, &nowhere, NULL, &err))
			die(err.text);
		const double took = now() - begun;
		best = took < best ? took : best;
	}
	return best;
}

static void pair(const char *old_path, const char *new_path)
{
	struct memory a, b;
	struct err err;
	struct delta_stats stats;
	AUTO(recipe_free) struct recipe *before = NULL;
	AUTO(recipe_free) struct recipe *after = NULL;
	AUTO_BUF struct buf delta = BUF_INIT(DELTA_MAX);
	const struct source old = map_file(old_path, &a), new = map_file(new_path, &b);
	const struct sink_at out = {between_write, &delta};
	if (survey_source(&old, NULL, NULL, &before, &err) || survey_source(&new, NULL, NULL, &after, &err))
		die(err.text);
	const struct delta_side from = {&old, before}, to = {&new, after};
	const double begun = now();
	if (delta_make(&from, &to, &out, NULL, &stats, &err))
		die(err.text);
	const double made = now() - begun, sha = sha_s(&new, &b), applied = apply_s(&old, &delta);
	const char *slash = strrchr(new_path, '/');
	printf("%-28s %6.1f MB  delta %6.2f  make %.2f  apply %.2f x sha  sha %.0f MB/s\n",
	       slash ? slash + 1 : new_path, (double)new.size / 1e6,
	       100.0 * (double)delta.len / (double)new.size, made / sha, applied / sha,
	       (double)new.size / 1e6 / sha);
	munmap((void *)(uintptr_t)a.bytes, old.size);
	munmap((void *)(uintptr_t)b.bytes, new.size);
}

int main(int argc, char **argv)
{
	if (argc < 3 || argc % 2 == 0)
		die("usage: bench_delta OLD NEW ...");
	for (int i = 1; i < argc; i += 2)
		pair(argv[i], argv[i + 1]);
	return 0;
}
