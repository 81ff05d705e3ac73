#include "base/json.h"
#include "manifest/catalog.h"
#include "manifest/journal.h"
#include "manifest/offer.h"
#include "manifest/publish.h"
#include "manifest/tuf.h"
#include "store/db_internal.h"
#include "telemetry/series.h"
#include "telemetry/span.h"
#include "tests/support/house.h"
#include "tests/support/suite.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMESTAMP "/v1/c/stable/mid/tuf/timestamp.json"

static int64_t version_of(struct house *h, const char *path)
{
	struct err err;
	char *text = house_document(h, path);
	ck_assert_msg(text != NULL, "%s is not published", path);
	json_auto_t *doc = json_parse(text, strlen(text), path, &err);
	free(text);
	return json_integer_value(
		json_object_get(json_object_get(doc, "signed"), "version"));
}

static int publish_mid(struct db *db, void *arg, struct err *err)
{
	const struct house *h = arg;
	return publish_repo(h->publisher, db, "stable", "mid", err);
}

static struct offer candidate(void)
{
	return (struct offer){.channel = "stable", .class = "mid", .model = "assistant",
			      .rollout = "r9", .candidate = "2.0.0", .salt = "salt",
			      .state = "running", .stage = 1, .candidate_ppm = 10000,
			      .enter = {0, 10000}, .control = {900000, 940000}};
}

static int offer_and_publish(struct db *db, void *arg, struct err *err)
{
	const struct offer offer = candidate();
	return offer_set_candidate(db, &offer, err) || publish_mid(db, arg, err) ? -1 : 0;
}

static int withdraw(struct db *db, void *arg, struct err *err)
{
	return offer_clear_candidate(db, "stable", "mid", "assistant", "r9", err) ||
			       publish_mid(db, arg, err)
		       ? -1
		       : 0;
}

START_TEST(test_publish_versions_rise_also_when_an_older_release_is_named)
{
	struct house h;
	house_open(&h, 1);
	const int64_t first = version_of(&h, TIMESTAMP);
	ck_assert_int_gt(first, 1000000); /* the epoch's */
	house_run(&h, offer_and_publish, &h);
	const int64_t second = version_of(&h, TIMESTAMP);
	ck_assert_int_gt(second, first);
	ck_assert(house_published(&h, "mid", "2.0.0") && house_published(&h, "mid", "r9"));
	ck_assert(!house_published(&h, "budget", "2.0.0"));
	house_run(&h, withdraw, &h);
	ck_assert_int_gt(version_of(&h, TIMESTAMP), second);
	ck_assert(!house_published(&h, "mid", "2.0.0"));
	house_close(&h);
}
END_TEST

START_TEST(test_publish_what_did_not_change_is_not_signed_again)
{
	struct house h;
	struct publisher_stats before, after;
	house_open(&h, 1);
	publisher_stats(h.publisher, &before);
	house_run(&h, publish_mid, &h);
	publisher_stats(h.publisher, &after);
	ck_assert_uint_eq(before.signed_documents, after.signed_documents);
	house_close(&h);
}
END_TEST

START_TEST(test_publish_a_restart_changes_no_byte)
{
	struct house h;
	static const char *const paths[] = {TIMESTAMP, "/v1/c/stable/mid/manifest.json",
					    "/v1/index/tuf/timestamp.json"};
	char *before[COUNT_OF(paths)];
	house_open(&h, 1);
	house_run(&h, offer_and_publish, &h);
	for (unsigned i = 0; i < COUNT_OF(paths); i++)
		before[i] = house_document(&h, paths[i]);
	house_restart(&h);
	for (unsigned i = 0; i < COUNT_OF(paths); i++) {
		char *after = house_document(&h, paths[i]);
		ck_assert_str_eq(before[i], after);
		free(before[i]);
		free(after);
	}
	house_close(&h);
}
END_TEST

static int fail_after(struct db *db, void *arg, struct err *err)
{
	return offer_and_publish(db, arg, err) ? -1
					       : err_set(err, ERR_CONFLICT, "as the test wants");
}

START_TEST(test_publish_nothing_shows_of_a_transaction_that_fails)
{
	struct house h;
	struct err err;
	house_open(&h, 1);
	const int64_t before = version_of(&h, TIMESTAMP);
	ck_assert_int_eq(ledger_run(h.ledger, fail_after, &h, &err), -1);
	ck_assert_int_eq(version_of(&h, TIMESTAMP), before);
	ck_assert(!house_published(&h, "mid", "2.0.0"));
	/* The next one gets the version that was not used. */
	house_run(&h, offer_and_publish, &h);
	ck_assert_int_eq(version_of(&h, TIMESTAMP), before + 1);
	house_close(&h);
}
END_TEST

struct due {
	struct house *h;
	int64_t signed_repos;
};

static int sign_due(struct db *db, void *arg, struct err *err)
{
	struct due *due = arg;
	return publish_due(due->h->publisher, db, 100, &due->signed_repos, err);
}

START_TEST(test_publish_signs_anew_before_expiry)
{
	struct house h;
	struct due due = {&h, -1};
	house_open(&h, 1);
	house_run(&h, sign_due, &due);
	ck_assert_int_eq(due.signed_repos, 0);
	const int64_t before = version_of(&h, TIMESTAMP);
	h.clock.own_ms += (int64_t)20 * 3600 * 1000; /* timestamps live a day */
	house_run(&h, sign_due, &due);
	ck_assert_int_ge(due.signed_repos, HOUSE_CLASSES);
	ck_assert_int_gt(version_of(&h, TIMESTAMP), before);
	house_run(&h, sign_due, &due);
	ck_assert_int_eq(due.signed_repos, 0);
	house_close(&h);
}
END_TEST

/* As a client that trusts the first root reads the repository; returns the manifest, the caller's. */
static json_t *verified(struct house *h, const char *repo)
{
	struct tuf_trust trust;
	struct tuf_meta meta;
	struct err err = {0};
	char path[200];
	const int64_t now = clock_s(&h->clock);
	tuf_init(&trust);
	for (unsigned role = 0; role < TUF_RULES; role++) {
		if (role > TUF_TIMESTAMP)
			ck_assert_int_eq(tuf_meta_get(&trust, (enum tuf_role)role, &meta, &err), 0);
		if (role == TUF_TIMESTAMP)
			snprintf(path, sizeof(path), "/v1/%s/tuf/timestamp.json", repo);
		else
			snprintf(path, sizeof(path), "/v1/%s/tuf/%lld.%s.json", repo,
				 (long long)(role == TUF_ROOT ? 1 : meta.version),
				 tuf_role_name((enum tuf_role)role));
		char *text = house_document(h, path);
		ck_assert_msg(text != NULL, "%s is not published", path);
		const size_t len = strlen(text);
		const int bad = role == TUF_ROOT	? tuf_trust_root(&trust, text, len, &err)
				: role == TUF_TIMESTAMP ? tuf_update_timestamp(&trust, text, len, now, &err)
				: role == TUF_SNAPSHOT	? tuf_update_snapshot(&trust, text, len, now, &err)
							: tuf_update_targets(&trust, text, len, now, &err);
		ck_assert_msg(!bad, "%s: %s", path, err.text);
		free(text);
	}
	json_t *manifest = json_deep_copy(trust.body[TUF_TARGETS]);
	tuf_done(&trust);
	return manifest;
}

#define MORE_CHANNELS 20

static int add_channels(struct db *db, void *arg, struct err *err)
{
	const struct house *h = arg;
	char name[32];
	for (int i = 0; i < MORE_CHANNELS; i++) {
		snprintf(name, sizeof(name), "channel-%d", i);
		if (catalog_channel_add(db, name, 1, err) ||
		    offer_bootstrap(db, name, "mid", "assistant", "1.0.0", 1, err))
			return -1;
	}
	return publish_all(h->publisher, db, err);
}

/* Every manifest of many, signed by as many threads as there are. */
START_TEST(test_publish_renewed_manifests_say_the_same)
{
	struct house h;
	struct due due = {&h, -1};
	json_t *before[MORE_CHANNELS];
	char repo[40];
	house_open(&h, 1);
	house_run(&h, add_channels, &h);
	for (int i = 0; i < MORE_CHANNELS; i++) {
		snprintf(repo, sizeof(repo), "c/channel-%d/mid", i);
		before[i] = verified(&h, repo);
	}
	h.clock.own_ms += (int64_t)31 * 3600 * 1000; /* manifests are signed anew after at most 30 h */
	house_run(&h, sign_due, &due);
	ck_assert_int_eq(due.signed_repos, (MORE_CHANNELS + 1) * (HOUSE_CLASSES + 1) + 1); /* with "default" and the index */
	for (int i = 0; i < MORE_CHANNELS; i++) {
		snprintf(repo, sizeof(repo), "c/channel-%d/mid", i);
		json_auto_t *after = verified(&h, repo);
		ck_assert_int_eq(json_integer_value(json_object_get(after, "version")),
				 json_integer_value(json_object_get(before[i], "version")) + 1);
		ck_assert_str_gt(json_string_value(json_object_get(after, "expires")),
				 json_string_value(json_object_get(before[i], "expires")));
		json_object_del(after, "version");
		json_object_del(before[i], "version");
		json_object_del(after, "expires");
		json_object_del(before[i], "expires");
		ck_assert(json_equal(after, before[i]));
		json_decref(before[i]);
	}
	house_close(&h);
}
END_TEST

static int spoil_document(struct db *db, void *arg, struct err *err)
{
	(void)arg;
	return db_exec(db, "UPDATE documents SET bytes = x'7b7d' WHERE repo = 'c/stable/mid'", "spoiling",
		       err);
}

START_TEST(test_publish_nothing_is_renewed_of_a_batch_that_fails)
{
	struct house h;
	struct due due = {&h, -1};
	struct err err;
	house_open(&h, 1);
	house_run(&h, add_channels, &h);
	const int64_t before = version_of(&h, "/v1/c/channel-0/mid/tuf/timestamp.json");
	house_run(&h, spoil_document, &h);
	h.clock.own_ms += (int64_t)31 * 3600 * 1000;
	ck_assert_int_eq(ledger_run(h.ledger, sign_due, &due, &err), -1);
	ck_assert_int_eq(err.status, ERR_CORRUPT);
	ck_assert_int_eq(version_of(&h, "/v1/c/channel-0/mid/tuf/timestamp.json"), before);
	house_close(&h);
}
END_TEST

static int change_published(struct db *db, void *arg, struct err *err)
{
	(void)arg;
	ck_assert_int_eq(catalog_variant_delete(db, "assistant", "1.0.0", "q4_0", err), -1);
	ck_assert_int_eq(err->status, ERR_CONFLICT);
	ck_assert_int_eq(offer_bootstrap(db, "stable", "mid", "assistant", "2.0.0", 1, err), -1);
	ck_assert_int_eq(err->status, ERR_CONFLICT);
	const struct release_spec again = {.model = "assistant", .release = "1.0.0"};
	ck_assert_int_eq(catalog_release_add(db, &again, 1, err), -1);
	ck_assert_int_eq(err->status, ERR_CONFLICT);
	ck_assert_int_eq(catalog_release_need(db, "assistant", "9.9.9", err), -1);
	ck_assert_int_eq(err->status, ERR_NOT_FOUND);
	return 0;
}

START_TEST(test_publish_published_releases_and_first_stables_stay)
{
	struct house h;
	house_open(&h, 1);
	house_run(&h, change_published, &h);
	house_close(&h);
}
END_TEST

static int write_audit(struct db *db, void *arg, struct err *err)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		const struct journal_entry entry = {i, "tester", "test.act", "thing", "q1", NULL};
		if (journal_audit(db, &entry, err))
			return -1;
	}
	return 0;
}

static int forge_audit(struct db *db, void *arg, struct err *err)
{
	(void)arg;
	return db_exec(db, "UPDATE audit SET actor = 'somebody else' WHERE seq = 2", "forging", err);
}

START_TEST(test_publish_audit_is_a_chain)
{
	struct house h;
	struct err err;
	int64_t rows = 0;
	house_open(&h, 1);
	house_run(&h, write_audit, &h);
	ck_assert_msg(!journal_verify(h.db, &rows, &err), "%s", err.text);
	ck_assert_int_eq(rows, 3);
	house_run(&h, forge_audit, &h);
	ck_assert_int_eq(journal_verify(h.db, &rows, &err), -1);
	house_close(&h);
}
END_TEST

/* What a decision reads and writes does not grow with the classes. */
START_TEST(test_publish_never_scans)
{
	struct house h;
	house_open(&h, 1);
	house_never_scans(&h, &offer_sql, false);
	house_never_scans(&h, &series_sql, false);
	house_never_scans(&h, &span_sql, false);
	house_close(&h);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_publish_versions_rise_also_when_an_older_release_is_named,
		test_publish_what_did_not_change_is_not_signed_again,
		test_publish_a_restart_changes_no_byte,
		test_publish_nothing_shows_of_a_transaction_that_fails,
		test_publish_signs_anew_before_expiry,
		test_publish_renewed_manifests_say_the_same,
		test_publish_nothing_is_renewed_of_a_batch_that_fails,
		test_publish_published_releases_and_first_stables_stay,
		test_publish_audit_is_a_chain,
		test_publish_never_scans,
	};
	if (sodium_init() < 0)
		return 1;
	return suite_run("publish", tests, COUNT_OF(tests));
}
