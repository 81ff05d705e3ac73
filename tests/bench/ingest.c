/* bench_ingest DIR FILE: the server's taking in of a raw file (chop.h: cut, hash whole and in chunks,
 * encode, pack, index), into a new store in DIR, which must not exist.  Prints the CPU seconds of it, all
 * threads, then the bytes of the stored chunks, recipe, map and pack footers. */
#include "base/file.h"
#include "store/chop.h"
#include "store/ledger.h"
#include "store/pack.h"
#include "store/source.h"
#include "store/upload.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

struct store {
	struct ledger *ledger;
	struct db *db;
	struct blobs *blobs;
};

static void die(const struct err *err)
{
	fprintf(stderr, "bench_ingest: %s\n", err->text);
	exit(1);
}

static void store_open(struct store *s, const char *dir)
{
	static const struct sql_set *const sets[] = {&inventory_sql, &upload_sql};
	struct blobs_options options = {.dir = dir};
	struct db *writing = NULL;
	char path[4096];
	struct err err;
	snprintf(path, sizeof(path), "%s/flotilla.db", dir);
	if (file_mkdirs(dir, 0700, &err) ||
	    db_open(&writing, path, DB_WRITE, sets, COUNT_OF(sets), &err) ||
	    ledger_new(&s->ledger, writing, 1024, &err) ||
	    db_open(&s->db, path, DB_READ, sets, COUNT_OF(sets), &err))
		die(&err);
	options.ledger = s->ledger;
	if (blobs_open(&s->blobs, &options, &err))
		die(&err);
}

static void store_close(struct store *s)
{
	blobs_free(s->blobs);
	db_close(s->db);
	ledger_free(s->ledger);
}

static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t bytes_of(struct blobs *blobs, enum blob_kind kind)
{
	struct digest *names = NULL;
	size_t count = 0;
	uint64_t all = 0;
	struct err err;
	if (blobs_list(blobs, kind, &names, &count, &err))
		die(&err);
	for (size_t i = 0; i < count; i++) {
		uint64_t len;
		if (blob_stat(blobs, kind, &names[i], &len, NULL, &err))
			die(&err);
		all += len;
	}
	free(names);
	return all;
}

/* Of all packs, what is not a chunk. */
static uint64_t footers(struct blobs *blobs, uint64_t packs)
{
	struct digest *names = NULL;
	size_t count = 0;
	struct err err;
	if (blobs_list(blobs, BLOB_PACK, &names, &count, &err))
		die(&err);
	for (size_t i = 0; i < count; i++) {
		struct memory slot;
		AUTO(pack_index_free) struct pack_index *index = NULL;
		struct blob *blob = blob_get(blobs, BLOB_PACK, &names[i], &err);
		if (!blob)
			die(&err);
		const struct source source = source_memory(&slot, blob->bytes, blob->len);
		if (pack_index_parse(&index, &source, &err))
			die(&err);
		for (uint32_t k = 0; k < index->count; k++)
			packs -= index->chunks[k].stored;
		blob_unref(blob);
	}
	free(names);
	return packs;
}

int main(int argc, char **argv)
{
	struct store store;
	struct stat st;
	struct recipe_info info;
	struct err err;
	if (argc != 3) {
		fputs("usage: bench_ingest DIR FILE\n", stderr);
		return 2;
	}
	AUTO_FD int fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		perror(argv[2]);
		return 1;
	}
	store_open(&store, argv[1]);
	const double begun = cpu_s();
	if (chop_file(store.blobs, store.db, fd, (uint64_t)st.st_size, NULL, NULL, 1800000000,
		      &info, &err))
		die(&err);
	const double took = cpu_s() - begun;
	const uint64_t packs = bytes_of(store.blobs, BLOB_PACK), foot = footers(store.blobs, packs);
	printf("%.4f %llu %llu %llu %llu\n", took, (unsigned long long)(packs - foot),
	       (unsigned long long)bytes_of(store.blobs, BLOB_RECIPE),
	       (unsigned long long)bytes_of(store.blobs, BLOB_MAP), (unsigned long long)foot);
	store_close(&store);
	return 0;
}
