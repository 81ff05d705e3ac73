/* Pushes, downloads, looking over and collecting with repacking, all at once: what was acknowledged and
 * is named stays readable, by the map of now and by the map of a moment ago. */
#include "store/delta_job.h"
#include "store/gc.h"
#include "tests/support/shop.h"

#include <pthread.h>
#include <stdatomic.h>

#define POOL 240	       /* chunks there are to choose from */
#define LEN 3000       /* bytes of each */
#define OF_FILE 8      /* chunks of a file */
#define PUSHERS 3
#define READERS 2
#define NAMED 6	       /* files that a pusher has named at a time */
#define GRACE 4	       /* of a clock that goes on by one each collection */
#define ENOUGH 250     /* collections */
#define MOST_S 60      /* but no longer than that */

enum { NAME, UNNAME, SQL_COUNT };
static const char *const statements[] = {
	[NAME] = "INSERT INTO files (model, release, tier, name, length, sha256, recipe, stored)"
		 " VALUES ('m', $release, 't', 'w', 1, $recipe, $recipe, 1)",
	[UNNAME] = "DELETE FROM files WHERE model = 'm' AND release = $release",
};
static const struct sql_set files_sql = {"files", statements, SQL_COUNT};
static const struct sql_set *const sets[] = {&inventory_sql, &upload_sql, &delta_job_sql, &files_sql};

#define MUST(call) ck_assert_msg((call) >= 0, "%s", err->text)

static struct shop shop;
static char path[300];
static uint8_t pool[POOL][LEN];
static struct digest names[POOL];
static atomic_llong now = SHOP_NOW;
static atomic_bool over;
static atomic_uint pushes, conflicts, reads, old_reads, removed, repacked;

/* A file that is named: readers take it under the lock, and look again whether it still is. */
struct named {
	bool is;
	unsigned generation;
	struct digest recipe, sha256;
};
static struct named named[PUSHERS][NAMED];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards named */

static void begin(void)
{
	struct db *db = NULL;
	struct err err;

	shop_dir(&shop);
	snprintf(path, sizeof(path), "%s/flotilla.db", shop.dir);
	SHOP_OK(db_open(&db, path, DB_WRITE, sets, COUNT_OF(sets), &err));
	SHOP_OK(ledger_new(&shop.ledger, db, 1024, &err));
	SHOP_OK(db_open(&shop.db, path, DB_READ, sets, COUNT_OF(sets), &err));
	/* Little stays mapped, so that packs are opened again and again. */
	struct blobs_options options = {
		.dir = shop.dir, .mapped_max = 64 * 1024, .ledger = shop.ledger};
	SHOP_OK(blobs_open(&shop.blobs, &options, &err));
	for (unsigned i = 0; i < POOL; i++) {
		char seed[20];
		snprintf(seed, sizeof(seed), "pool%u", i);
		model_stream(pool[i], LEN, seed);
		digest_of(&names[i], pool[i], LEN);
	}
}

static void end(void)
{
	shop_stop(&shop);
	shop_remove(&shop);
}

static struct db *reading(void)
{
	struct db *db = NULL;
	struct err err;

	SHOP_OK(db_open(&db, path, DB_READ, sets, COUNT_OF(sets), &err));
	return db;
}

static uint32_t roll(uint64_t *state, uint32_t below)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33) % below;
}

/* ---- Pushing, as a client does. ---- */

struct pusher {
	unsigned number;
	uint64_t state;
	struct db *db;
	struct encoder *encoder;
};

/* Neighbours, so that files share chunks and packs die little by little. */
static void choose(struct pusher *p, unsigned chunks[static OF_FILE])
{
	unsigned at = roll(&p->state, POOL);

	for (unsigned i = 0; i < OF_FILE; i++) {
		chunks[i] = at % POOL;
		at += 1 + roll(&p->state, 3);
	}
}

static int send_missing(struct pusher *p, const unsigned *chunks, uint8_t bitmap, struct err *err)
{
	struct buf pack = BUF_INIT(PACK_MAX);
	struct pack_writer *writer = pack_writer_new(sink_buf(&pack));
	struct digest name;
	struct coded coded;
	uint32_t bytes;
	int result = 0;

	for (unsigned i = 0; i < OF_FILE; i++) {
		if (!(bitmap >> i & 1))
			continue;
		MUST(codec_encode(p->encoder, ELEMENT_OPAQUE, pool[chunks[i]], LEN, &coded,
				     err));
		MUST(pack_writer_add(writer, &names[chunks[i]], LEN, &coded, NULL, err));
	}
	if (bitmap) {
		struct ingest_result stored;
		MUST(pack_writer_finish(writer, &name, &bytes, err));
		int fd = shop_spool(&shop, pack.data, pack.len);
		result = ingest_pack(shop.blobs, p->db, &name, fd, pack.len, atomic_load(&now),
				     NULL, &stored, err);
		close(fd);
	}
	pack_writer_free(writer);
	buf_done(&pack);
	return result;
}

struct naming {
	char release[20];
	struct digest recipe;
};

/* As the catalog does: only a recipe that has a row can be named. */
static int name_it(struct db *db, void *arg, struct err *err)
{
	const struct naming *naming = arg;
	struct recipe_info info;

	if (inventory_recipe(db, &naming->recipe, &info, err) < 0)
		return -1;
	STMT(q, db, &files_sql, NAME);
	stmt_text(q, "$release", naming->release);
	stmt_digest(q, "$recipe", &naming->recipe);
	return stmt_run(q, err);
}

static int unname_it(struct db *db, void *arg, struct err *err)
{
	const struct naming *naming = arg;
	STMT(q, db, &files_sql, UNNAME);

	stmt_text(q, "$release", naming->release);
	return stmt_run(q, err);
}

/* 0: acknowledged; -1 with ERR_CONFLICT: told to push again. */
static int push_once(struct pusher *p, const unsigned *chunks, const struct recipe *recipe,
		     struct recipe_info *info, struct err *err)
{
	struct digest asked[OF_FILE];
	struct buf bytes = BUF_INIT(1 << 16);
	struct digest name;
	uint8_t bitmap = 0;

	for (unsigned i = 0; i < OF_FILE; i++)
		asked[i] = names[chunks[i]];
	MUST(recipe_encode(recipe, &bytes, &name, err));
	int result = ingest_missing(shop.blobs, p->db, asked, OF_FILE, NULL, atomic_load(&now),
				    &bitmap, err);
	if (!result)
		result = send_missing(p, chunks, bitmap, err);
	if (!result)
		result = ingest_recipe(shop.blobs, p->db, bytes.data, bytes.len, NULL,
				       atomic_load(&now), NULL, info, err);
	buf_done(&bytes);
	return result;
}

static struct recipe *recipe_of(const unsigned *chunks)
{
	struct recipe *recipe = recipe_new();
	struct digest_ctx *ctx = digest_begin();
	struct err err;

	for (unsigned i = 0; i < OF_FILE; i++) {
		SHOP_OK(recipe_add(recipe, &names[chunks[i]], LEN, ELEMENT_OPAQUE, &err));
		digest_add(ctx, pool[chunks[i]], LEN);
	}
	digest_end(ctx, &recipe->sha256);
	digest_free(ctx);
	return recipe;
}

/* One file, from choosing to naming; slot is free again. */
static void push_and_name(struct pusher *p, unsigned slot)
{
	struct naming naming;
	struct recipe_info info;
	unsigned chunks[OF_FILE];
	struct err err;

	choose(p, chunks);
	struct recipe *recipe = recipe_of(chunks);
	snprintf(naming.release, sizeof(naming.release), "%u.%u", p->number, slot);
	for (;;) {
		int result = push_once(p, chunks, recipe, &info, &err);
		naming.recipe = info.recipe;
		if (!result)
			result = ledger_run(shop.ledger, name_it, &naming, &err);
		if (!result)
			break;
		ck_assert_msg(err.status == ERR_CONFLICT || err.status == ERR_NOT_FOUND, "%s: %s",
			      err_name(err.status), err.text);
		atomic_fetch_add(&conflicts, 1);
	}
	atomic_fetch_add(&pushes, 1);
	pthread_mutex_lock(&lock);
	struct named *n = &named[p->number][slot];
	*n = (struct named){true, n->generation + 1, info.recipe, recipe->sha256};
	pthread_mutex_unlock(&lock);
	recipe_free(recipe);
}

static void unname(struct pusher *p, unsigned slot)
{
	struct naming naming;
	struct err err;

	snprintf(naming.release, sizeof(naming.release), "%u.%u", p->number, slot);
	pthread_mutex_lock(&lock);
	const bool was = named[p->number][slot].is;
	named[p->number][slot].is = false;
	pthread_mutex_unlock(&lock);
	if (was)
		SHOP_OK(ledger_run(shop.ledger, unname_it, &naming, &err));
}

static void *push_main(void *arg)
{
	struct pusher p = {.number = (unsigned)(uintptr_t)arg,
			   .state = 77 + (uint64_t)(uintptr_t)arg,
			   .db = reading(),
			   .encoder = encoder_new()};

	while (!atomic_load(&over)) {
		unsigned slot = roll(&p.state, NAMED);
		unname(&p, slot);
		push_and_name(&p, slot);
		usleep(roll(&p.state, 8000));
	}
	encoder_free(p.encoder);
	db_close(p.db);
	return NULL;
}

/* ---- Downloading, as a device does. ---- */

static bool still(const struct named *where, const struct named *was)
{
	pthread_mutex_lock(&lock);
	bool is = where->is && where->generation == was->generation;
	pthread_mutex_unlock(&lock);
	return is;
}

/* Slowly, by a map that may be replaced meanwhile. */
static int download(const struct digest *name, struct digest *ret_sha256, struct err *err)
{
	AUTO(recipe_free) struct recipe *recipe = NULL;
	AUTO(chunkmap_free) struct chunkmap *map = NULL;
	AUTO(decoder_free) struct decoder *decoder = decoder_new();
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	uint8_t raw[LEN];
	AUTO(blob_unref) struct blob *a = blob_get(shop.blobs, BLOB_RECIPE, name, err);
	AUTO(blob_unref) struct blob *b = a ? blob_get(shop.blobs, BLOB_MAP, name, err) : NULL;

	if (!b || recipe_parse(&recipe, a->bytes, a->len, err) < 0 ||
	    chunkmap_parse(&map, b->bytes, b->len, err) < 0)
		return -1;
	for (uint32_t i = 0; i < recipe->count; i++) {
		const struct chunkmap_chunk *at = &map->chunks[i];
		AUTO(blob_unref) struct blob *pack =
			blob_get(shop.blobs, BLOB_PACK, &map->packs[at->pack].digest, err);
		if (!pack)
			return -1;
		struct coded coded = {(const uint8_t *)pack->bytes + at->at, at->stored, at->codec,
				      ELEMENT_OPAQUE};
		if (codec_open(decoder, &coded, &recipe->chunks[i].digest, raw, LEN, err) < 0)
			return -1;
		digest_add(ctx, raw, LEN);
		usleep(1000);
	}
	digest_end(ctx, ret_sha256);
	return 0;
}

static void *read_main(void *arg)
{
	uint64_t state = 5 + (uint64_t)(uintptr_t)arg;
	struct digest sha256;
	struct err err;

	while (!atomic_load(&over)) {
		struct named *where = &named[roll(&state, PUSHERS)][roll(&state, NAMED)];
		pthread_mutex_lock(&lock);
		const struct named was = *where;
		pthread_mutex_unlock(&lock);
		const long long begun = atomic_load(&now);
		if (!was.is)
			continue;
		int result = download(&was.recipe, &sha256, &err);
		/* A device that takes longer than the grace asks for the map again. */
		const bool promised = still(where, &was) && atomic_load(&now) - begun < GRACE;
		ck_assert_msg(!result || !promised, "lost: %s", err.text);
		if (!result)
			ck_assert(digest_eq(&sha256, &was.sha256));
		atomic_fetch_add(&reads, !result);
		atomic_fetch_add(&old_reads, !result && atomic_load(&now) > begun);
	}
	return NULL;
}

/* ---- Collecting. ---- */

static void *collect_main(void *arg)
{
	struct db *db = reading();
	struct gc_report report;
	struct err err;
	const time_t until = time(NULL) + MOST_S;

	(void)arg;
	for (unsigned i = 0; i < ENOUGH && time(NULL) < until; i++) {
		const struct gc_options options = {.now = atomic_fetch_add(&now, 1) + 1,
						   .grace_s = GRACE};
		SHOP_OK(gc_run(shop.blobs, db, &options, &report, &err));
		atomic_fetch_add(&removed, (unsigned)report.packs);
		atomic_fetch_add(&repacked, (unsigned)report.repacked.packs);
		usleep(5000);
	}
	atomic_store(&over, true);
	db_close(db);
	return NULL;
}

static void *verify_main(void *arg)
{
	const struct verify_options options = {.deep = true};
	struct db *db = reading();
	struct verify_report report;
	struct err err;

	(void)arg;
	/* It takes its time, and what is collected while it looks is no damage. */
	while (!atomic_load(&over)) {
		SHOP_OK(verify_store(shop.blobs, db, &options, &report, &err));
		ck_assert_msg(!report.damaged, "%s", report.first.text);
		usleep(20000);
	}
	db_close(db);
	return NULL;
}

static void all_named_are_there(void)
{
	for (unsigned p = 0; p < PUSHERS; p++)
		for (unsigned i = 0; i < NAMED; i++) {
			struct digest sha256;
			struct err err;
			if (!named[p][i].is)
				continue;
			SHOP_OK(download(&named[p][i].recipe, &sha256, &err));
			ck_assert(digest_eq(&sha256, &named[p][i].sha256));
		}
}

START_TEST(test_gc_stress_loses_nothing)
{
	pthread_t threads[PUSHERS + READERS + 2];
	unsigned n = 0;

	for (uintptr_t i = 0; i < PUSHERS; i++)
		ck_assert(!pthread_create(&threads[n++], NULL, push_main, (void *)i));
	for (uintptr_t i = 0; i < READERS; i++)
		ck_assert(!pthread_create(&threads[n++], NULL, read_main, (void *)i));
	ck_assert(!pthread_create(&threads[n++], NULL, verify_main, NULL));
	ck_assert(!pthread_create(&threads[n++], NULL, collect_main, NULL));
	while (n)
		pthread_join(threads[--n], NULL);
	all_named_are_there();
	shop_sound(&shop);
	fprintf(stderr, "gc_stress: %u pushes (%u told to push again), %u downloads (%u during a "
		"collection), packs: %u removed, %u repacked\n",
		atomic_load(&pushes), atomic_load(&conflicts), atomic_load(&reads),
		atomic_load(&old_reads), atomic_load(&removed), atomic_load(&repacked));
	ck_assert_uint_gt(atomic_load(&pushes), 20);
	ck_assert_uint_gt(atomic_load(&reads), 10);
	ck_assert_uint_gt(atomic_load(&removed), 5);
	ck_assert_uint_gt(atomic_load(&repacked), 5);
}
END_TEST

/* ---- The same file again and again, while each collection removes it. ---- */

static struct goods goods;

static void *again_main(void *arg)
{
	uint64_t state = 9 + (uint64_t)(uintptr_t)arg;
	struct db *db = reading();
	struct err err;

	while (!atomic_load(&over)) {
		struct ingest_result stored;
		struct recipe_info info;
		int fd = shop_spool(&shop, goods.pack.data, goods.pack.len);
		int result = ingest_pack(shop.blobs, db, &goods.pack_name, fd, goods.pack.len,
					 atomic_load(&now), NULL, &stored, &err);
		close(fd);
		if (!result)
			result = ingest_recipe(shop.blobs, db, goods.recipe.data, goods.recipe.len, NULL,
					       atomic_load(&now), NULL, &info, &err);
		ck_assert_msg(!result || err.status == ERR_CONFLICT, "%s: %s",
			      err_name(err.status), err.text);
		atomic_fetch_add(result ? &conflicts : &pushes, 1);
		usleep(roll(&state, 6000)); /* or it would be wanted always */
	}
	db_close(db);
	return NULL;
}

/* Hardly any grace: what nobody has wanted since the run before goes. */
static void *at_once_main(void *arg)
{
	struct db *db = reading();
	struct gc_report report;
	struct err err;
	const time_t until = time(NULL) + MOST_S;

	(void)arg;
	while ((atomic_load(&pushes) < 50 || atomic_load(&removed) < 30) && time(NULL) < until) {
		const struct gc_options options = {.now = atomic_fetch_add(&now, 1) + 1,
						   .grace_s = 1};
		SHOP_OK(gc_run(shop.blobs, db, &options, &report, &err));
		atomic_fetch_add(&removed, (unsigned)report.packs);
		usleep(2000);
	}
	atomic_store(&over, true);
	db_close(db);
	return NULL;
}

START_TEST(test_gc_stress_no_row_without_its_file)
{
	pthread_t threads[4];

	goods_make(&goods, 2, 4000, "again");
	ck_assert(!pthread_create(&threads[0], NULL, again_main, (void *)1));
	ck_assert(!pthread_create(&threads[1], NULL, again_main, (void *)2));
	ck_assert(!pthread_create(&threads[2], NULL, verify_main, NULL));
	ck_assert(!pthread_create(&threads[3], NULL, at_once_main, NULL));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	shop_sound(&shop);
	fprintf(stderr, "gc_stress: %u pushes of the same (%u in vain), %u removed\n",
		atomic_load(&pushes), atomic_load(&conflicts), atomic_load(&removed));
	ck_assert_uint_gt(atomic_load(&pushes), 20);
	ck_assert_uint_gt(atomic_load(&removed), 20);
	goods_done(&goods);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gc_stress");
	TCase *tc = tcase_create("gc_stress");

	tcase_set_timeout(tc, 300);
	tcase_add_checked_fixture(tc, begin, end);
	tcase_add_test(tc, test_gc_stress_loses_nothing);
	tcase_add_test(tc, test_gc_stress_no_row_without_its_file);
	suite_add_tcase(suite, tc);

	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
