/* What was taken back, beside the database: whole lines, whatever fails and whenever it ends. */
#include "base/file.h"
#include "manifest/publisher_store.h"
#include "manifest/withdrawn.h"
#include "tests/support/failing_calls.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static const struct digest bad_file = {{1, 2, 3}};

static int take_back(struct db *db, void *arg, struct err *err)
{
	const struct house *h = arg;
	return publisher_revocation_add(db, &bad_file, "digest", "leaks", "tester", 1, err) ||
			       publish_all(h->publisher, db, err) ||
			       withdrawn_add(h->publisher, db,
					     json_pack("{s:s, s:s}", "what", "revocation", "of", "it"),
					     err)
		       ? -1
		       : 0;
}

static json_t *since(const struct house *h, int64_t publication)
{
	json_t *entries;
	struct err err;
	ck_assert_msg(!withdrawn_since(h->scratch.dir, publication, &entries, &err), "%s", err.text);
	return entries;
}

static void path_of(const struct house *h, char out[static 400])
{
	snprintf(out, 400, "%s/" WITHDRAWN_FILE, h->scratch.dir);
}

static void append(const struct house *h, const char *text)
{
	char path[400];
	path_of(h, path);
	FILE *file = fopen(path, "a");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

START_TEST(test_withdrawn_since_a_publication)
{
	struct house h;
	house_open(&h, 1);
	json_auto_t *none = since(&h, 0);
	ck_assert_uint_eq(json_array_size(none), 0);
	house_run(&h, take_back, &h);
	house_run(&h, take_back, &h);
	json_auto_t *both = since(&h, 0);
	ck_assert_uint_eq(json_array_size(both), 2);
	const json_int_t first = json_integer_value(
		json_object_get(json_array_get(both, 0), "publication"));
	json_auto_t *one = since(&h, first);
	ck_assert_uint_eq(json_array_size(one), 1);
	house_close(&h);
}
END_TEST

START_TEST(test_withdrawn_a_torn_line_is_left_out_and_overwritten)
{
	struct house h;
	house_open(&h, 1);
	house_run(&h, take_back, &h);
	append(&h, "{\"what\":\"revocation\",\"publica");
	json_auto_t *torn = since(&h, 0);
	ck_assert_uint_eq(json_array_size(torn), 1);
	house_run(&h, take_back, &h);
	json_auto_t *whole = since(&h, 0);
	ck_assert_uint_eq(json_array_size(whole), 2);
	house_close(&h);
}
END_TEST

START_TEST(test_withdrawn_a_damaged_line_is_named)
{
	static const char *const damaged[] = {"{}\n", "[1]\n", "\n", "{\"what\":1,\"publication\":9}\n",
					      "{\"what\":\"x\",\"publication\":\"9\"}\n"};
	for (size_t i = 0; i < COUNT_OF(damaged); i++) {
		struct house h;
		struct err err;
		json_t *entries;
		house_open(&h, 1);
		house_run(&h, take_back, &h);
		append(&h, damaged[i]);
		house_run(&h, take_back, &h);
		ck_assert_int_eq(withdrawn_since(h.scratch.dir, 0, &entries, &err), -1);
		ck_assert_int_eq(err.status, ERR_CORRUPT);
		ck_assert_msg(strstr(err.text, "line 2") != NULL, "%s", err.text);
		house_close(&h);
	}
}
END_TEST

/* Every writing call of a revocation fails once.  Acknowledged is in both the database and the file;
 * never is the database without its line; and no start takes it for a restored backup. */
START_TEST(test_withdrawn_every_call_fails_once)
{
	int nth = 0, acknowledged = 0, refused = 0;
	do {
		struct house h;
		struct err err;
		house_open(&h, 1);
		atomic_store(&failures, 0);
		atomic_store(&error_number, EIO);
		atomic_store(&countdown, ++nth);
		const bool well = ledger_run(h.ledger, take_back, &h, &err) == 0;
		atomic_store(&countdown, 0);
		json_auto_t *lines = since(&h, 0);
		char hex[DIGEST_HEX];
		digest_hex(&bad_file, hex);
		const bool published = house_published(&h, "mid", hex);
		ck_assert_int_eq(well, published);
		ck_assert(!well || json_array_size(lines) == 1);
		acknowledged += well;
		refused += !well;
		house_restart(&h);
		ck_assert(!publisher_withheld(h.publisher));
		ck_assert_int_eq(well, house_published(&h, "mid", hex));
		house_run(&h, take_back, &h); /* and it can be repeated */
		house_close(&h);
	} while (atomic_load(&failures));
	ck_assert_int_gt(refused, 2);
	ck_assert_int_gt(acknowledged, 1); /* the epoch's file may lag */
}
END_TEST

static int64_t committed(const struct house *h)
{
	struct publisher_restored now;
	publisher_restored(h->publisher, &now);
	return now.publication;
}

static int anew(struct db *db, void *arg, struct err *err)
{
	const struct house *h = arg;
	return publisher_anew(h->publisher, db, 2, err) || publish_all(h->publisher, db, err) ||
			       publisher_anew_end(h->publisher, db, err)
		       ? -1
		       : 0;
}

static void write_epoch(const struct house *h, const char *text)
{
	char path[400];
	struct err err;
	snprintf(path, sizeof path, "%s/epoch", h->scratch.dir);
	ck_assert_int_eq(file_write(path, text, strlen(text), 0600, &err), 0);
}

START_TEST(test_withdrawn_an_older_database_is_held_back_until_anew)
{
	struct house h;
	struct err err;
	char text[40];
	house_open(&h, 1);
	const int64_t last = committed(&h);
	ck_assert_int_gt(last, 0);
	house_restart(&h);
	ck_assert(!publisher_withheld(h.publisher));
	snprintf(text, sizeof text, "1 %lld\n", (long long)last + 1);
	write_epoch(&h, text);
	house_restart(&h);
	ck_assert(publisher_withheld(h.publisher));
	ck_assert_int_eq(ledger_run(h.ledger, take_back, &h, &err), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	atomic_store(&error_number, ENOSPC);
	/* Every call of going on fails once: then it is held back as before, also after a restart, or all
	 * of it is done. */
	for (int nth = 1; publisher_withheld(h.publisher); nth++) {
		ck_assert_int_lt(nth, 1000);
		atomic_store(&failures, 0);
		atomic_store(&countdown, nth);
		const bool well = ledger_run(h.ledger, anew, &h, &err) == 0;
		atomic_store(&countdown, 0);
		ck_assert_int_eq(well, !publisher_withheld(h.publisher));
		house_restart(&h);
		ck_assert_int_eq(well, !publisher_withheld(h.publisher));
	}
	ck_assert(house_published(&h, "mid", "\"version\":2000"));
	house_run(&h, take_back, &h);
	house_close(&h);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_withdrawn_since_a_publication,
		test_withdrawn_a_torn_line_is_left_out_and_overwritten,
		test_withdrawn_a_damaged_line_is_named,
		test_withdrawn_every_call_fails_once,
		test_withdrawn_an_older_database_is_held_back_until_anew,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("withdrawn", tests, COUNT_OF(tests));
}
