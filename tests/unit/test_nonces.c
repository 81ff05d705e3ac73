/* Which reports were counted: told apart open and closed, over starts, and whatever write fails. */
#include "telemetry/nonces.h"

#include "server/app.h"
#include "telemetry/sums.h"
#include "tests/support/failing_calls.h"
#include "tests/support/scratch.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <string.h>

#define T0 ((int64_t)3600 * 490000)
#define FEW 100 /* open at the most, where a test closes often */
#define ROW_MOST 1000

struct bench {
	struct scratch scratch;
	struct db *db;
	struct nonces *nonces;
	uint64_t open_most;
};

static void open_db(struct bench *b)
{
	struct err err;
	ck_assert_msg(!app_db_open(&b->db, b->scratch.dir, true, &err), "%s", err.text);
}

static void load(struct bench *b)
{
	struct err err;
	ck_assert_msg(!nonces_new(&b->nonces, b->scratch.dir, b->open_most, &err), "%s", err.text);
	ck_assert_msg(!db_begin(b->db, &err), "%s", err.text);
	ck_assert_msg(!nonces_load(b->nonces, b->db, &err), "%s", err.text);
	ck_assert_msg(!db_commit(b->db, &err), "%s", err.text);
}

static void begin(struct bench *b, uint64_t open_most)
{
	ck_assert_int_ge(sodium_init(), 0);
	*b = (struct bench){.open_most = open_most};
	scratch_make(&b->scratch);
	open_db(b);
	load(b);
}

static void restart(struct bench *b)
{
	nonces_free(b->nonces);
	db_close(b->db);
	open_db(b);
	load(b);
}

static void end(struct bench *b)
{
	nonces_free(b->nonces);
	db_close(b->db);
	scratch_remove(&b->scratch);
}

static void nonce_of(uint32_t i, uint8_t out[static REPORT_NONCE_LEN])
{
	memset(out, 0, REPORT_NONCE_LEN);
	memcpy(out, &i, sizeof(i));
}

static int add(struct bench *b, uint32_t i)
{
	uint8_t nonce[REPORT_NONCE_LEN];
	struct err err;
	nonce_of(i, nonce);
	const int added = nonces_add(b->nonces, b->db, nonce, &err);
	ck_assert_msg(added >= 0, "%s", err.text);
	return added;
}

/* first .. first + count - 1, as a commit; expires at T0 + first. */
static void commit(struct bench *b, uint32_t first, unsigned count)
{
	static uint8_t row[ROW_MOST][REPORT_NONCE_LEN];
	struct err err;
	ck_assert(!db_begin(b->db, &err));
	for (uint32_t i = 0; i < count; i++) {
		ck_assert_int_eq(add(b, first + i), 1);
		nonce_of(first + i, row[i]);
	}
	ck_assert(!nonces_keep(b->nonces, b->db, row[0], count, T0 + first, &err));
	ck_assert(!db_commit(b->db, &err));
}

static bool close_open(struct bench *b)
{
	struct err err;
	bool ok = !db_begin(b->db, &err) && !nonces_close(b->nonces, b->db, &err) &&
		  !db_commit(b->db, &err);
	if (!ok)
		db_rollback(b->db);
	nonces_closed(b->nonces, ok);
	return ok;
}

static int64_t rows_of(struct bench *b, const char *table)
{
	struct err err;
	char text[100];
	int64_t count = -1;
	snprintf(text, sizeof(text), "SELECT count(*) FROM %s", table);
	const char *const sql[] = {text};
	const struct sql_set set = {"count", sql, 1};
	const struct sql_set *const sets[] = {&set};
	char path[600];
	struct db *db;
	snprintf(path, sizeof(path), "%s/flotilla.db", b->scratch.dir);
	ck_assert_msg(!db_open(&db, path, DB_READ, sets, 1, &err), "%s", err.text);
	{
		STMT(q, db, &set, 0);
		ck_assert_int_eq(stmt_step(q, &err), 1);
		count = stmt_col_int(q, 0);
	}
	db_close(db);
	return count;
}

/* Of two segments and of the open ones; nonces that differ in few bits; over starts. */
START_TEST(test_nonces_are_told_apart)
{
	enum { N = 60000 };
	struct bench b;
	begin(&b, UINT64_MAX);
	for (uint32_t i = 0; i < N; i += ROW_MOST) {
		commit(&b, i, ROW_MOST);
		ck_assert(!nonces_full(b.nonces));
		if (i == N / 4 || i == N / 2)
			ck_assert(close_open(&b));
	}
	ck_assert_int_eq(rows_of(&b, "nonce_segments"), 2);
	for (unsigned start = 0; start < 2; start++) {
		ck_assert_uint_eq(nonces_count(b.nonces), N);
		for (uint32_t i = 0; i < N; i += 7)
			ck_assert_int_eq(add(&b, i), 0);
		ck_assert_uint_eq(nonces_count(b.nonces), N);
		restart(&b);
	}
	ck_assert_int_eq(add(&b, N), 1);
	ck_assert_int_eq(add(&b, N), 0);
	end(&b);
}
END_TEST

START_TEST(test_nonces_are_taken_back)
{
	struct bench b;
	uint8_t nonce[REPORT_NONCE_LEN];
	begin(&b, UINT64_MAX);
	commit(&b, 5000, 10);
	ck_assert(close_open(&b));
	for (uint32_t i = 0; i < 1000; i++)
		add(&b, i);
	for (uint32_t i = 0; i < 1000; i += 2) {
		nonce_of(i, nonce);
		nonces_remove(b.nonces, nonce);
		nonces_remove(b.nonces, nonce); /* once more changes nothing */
	}
	nonce_of(5001, nonce);
	nonces_remove(b.nonces, nonce); /* is closed: stays */
	ck_assert_uint_eq(nonces_count(b.nonces), 510);
	for (uint32_t i = 0; i < 1000; i++)
		ck_assert_int_eq(add(&b, i), i % 2 == 0);
	ck_assert_int_eq(add(&b, 5001), 0);
	end(&b);
}
END_TEST

/* Rows of before the start, more than may be open, become segments then. */
START_TEST(test_nonces_close_what_is_too_much)
{
	struct bench b;
	begin(&b, UINT64_MAX);
	for (uint32_t i = 0; i < 10; i++)
		commit(&b, i * FEW, FEW);
	b.open_most = FEW * 3;
	restart(&b);
	ck_assert_int_eq(rows_of(&b, "nonce_segments"), 3);
	ck_assert_int_eq(rows_of(&b, "nonce_rows"), 1);
	ck_assert_uint_eq(nonces_count(b.nonces), 10 * FEW);
	restart(&b);
	for (uint32_t i = 0; i < 10 * FEW; i++)
		ck_assert_int_eq(add(&b, i), 0);
	end(&b);
}
END_TEST

/* A segment is forgotten when its last nonce may be, here and in its rows. */
START_TEST(test_nonces_segments_expire)
{
	struct err err;
	struct bench b;
	begin(&b, FEW);
	for (uint32_t i = 0; i < 10; i++) {
		commit(&b, i * FEW, FEW);
		ck_assert(nonces_full(b.nonces));
		ck_assert(close_open(&b));
	}
	nonces_expire(b.nonces, T0 + 4 * FEW);
	ck_assert_uint_eq(nonces_count(b.nonces), 6 * FEW);
	ck_assert_int_eq(add(&b, 4 * FEW), 0); /* not over yet */
	ck_assert_int_eq(add(&b, 4 * FEW - 1), 1);
	ck_assert(!nonces_delete(b.db, T0 + 4 * FEW, &err));
	ck_assert_int_eq(rows_of(&b, "nonce_segments"), 6);
	const int64_t pages = rows_of(&b, "nonce_pages");
	ck_assert_int_gt(pages, 0);
	ck_assert(!nonces_delete(b.db, T0 + 5 * FEW, &err));
	ck_assert_int_lt(rows_of(&b, "nonce_pages"), pages);
	ck_assert_int_eq(add(&b, 4 * FEW), 1); /* the filter stands, its row is gone */
	restart(&b);
	ck_assert_uint_eq(nonces_count(b.nonces), 5 * FEW);
	ck_assert(!nonces_delete(b.db, INT64_MAX, &err));
	ck_assert_int_eq(rows_of(&b, "nonce_pages"), 0);
	end(&b);
}
END_TEST

/* Each write of closing fails once: nothing is lost, and nothing becomes new. */
START_TEST(test_nonces_failed_closings_lose_nothing)
{
	struct bench b;
	unsigned failed = 0;
	bool hit = true;
	begin(&b, FEW);
	for (uint32_t nth = 1; hit; nth++) {
		commit(&b, nth * FEW, FEW);
		atomic_store(&failures, 0);
		atomic_store(&error_number, nth % 2 ? EIO : ENOSPC);
		atomic_store(&countdown, (int)nth);
		const bool ok = close_open(&b);
		hit = atomic_load(&failures) > 0;
		atomic_store(&countdown, 0);
		ck_assert(ok || hit);
		ck_assert(ok || !nonces_full(b.nonces)); /* not at once again */
		failed += !ok;
		ck_assert_uint_eq(nonces_count(b.nonces), (uint64_t)nth * FEW);
		for (uint32_t i = FEW; i < (nth + 1) * FEW; i++)
			ck_assert_int_eq(add(&b, i), 0);
		if (nth % 8)
			continue;
		restart(&b);
		ck_assert_uint_eq(nonces_count(b.nonces), (uint64_t)nth * FEW);
	}
	ck_assert_uint_gt(failed, 3);
	end(&b);
}
END_TEST

/* Without a place for its file a filter is in memory; without a page's place the rest waits. */
START_TEST(test_nonces_without_files)
{
	struct err err;
	struct bench b;
	begin(&b, UINT64_MAX);
	nonces_free(b.nonces);
	ck_assert(!nonces_new(&b.nonces, "/nowhere", UINT64_MAX, &err));
	ck_assert(!nonces_load(b.nonces, b.db, &err));
	commit(&b, 0, FEW);
	ck_assert(close_open(&b));
	ck_assert_int_eq(add(&b, 1), 0);
	uint32_t i = FEW;
	uint8_t nonce[REPORT_NONCE_LEN];
	int added;
	do {
		nonce_of(i++, nonce);
		added = nonces_add(b.nonces, b.db, nonce, &err);
	} while (added > 0);
	ck_assert_int_eq(added, -1);
	ck_assert_int_eq(err.status, ERR_BUSY);
	ck_assert(nonces_full(b.nonces));
	ck_assert_uint_gt(i, 327680); /* long after it was time */
	end(&b);
}
END_TEST

START_TEST(test_sums_merge_in_order)
{
	AUTO(sums_free) struct sums *sums = sums_new();
	for (unsigned round = 0; round < 3; round++)
		for (int64_t i = 0; i < 5000; i++) {
			const struct sum_key key = {i * 7919 % 5000, i % 3, i % 2 != 0,
						    i % 5 ? (int32_t)i : SUM_NO_BUCKET};
			struct cell *cell = sums_at(sums, &key);
			ck_assert_ptr_nonnull(cell);
			cell->n += i;
		}
	ck_assert_uint_eq(sums_count(sums), 5000);
	const struct sum *list = sums_sorted(sums);
	int64_t all = 0;
	for (size_t i = 0; i < 5000; i++) {
		all += list[i].cell.n;
		ck_assert(!i || list[i - 1].key.at < list[i].key.at);
	}
	ck_assert_int_eq(all, 3 * (int64_t)5000 * 4999 / 2);
	sums_clear(sums);
	ck_assert_uint_eq(sums_count(sums), 0);
	const struct sum_key key = {1, 1, 0, 1};
	ck_assert_int_eq(sums_at(sums, &key)->n, 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_nonces_are_told_apart,
		test_nonces_are_taken_back,
		test_nonces_close_what_is_too_much,
		test_nonces_segments_expire,
		test_nonces_failed_closings_lose_nothing,
		test_nonces_without_files,
		test_sums_merge_in_order,
	};
	return suite_run("nonces", tests, COUNT_OF(tests));
}
