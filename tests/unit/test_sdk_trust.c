/* What a device believes: a whole server in memory, honest and not. */
#include "tests/support/sdk_fixture.h"

#define PHONE "/v1/c/stable/phone"
#define TIMESTAMP PHONE "/tuf/timestamp.json"

/* ---- polling ---- */

START_TEST(test_sdk_trust_first_poll_finds_the_class)
{
	FIXTURE(t);
	ck_assert_str_eq(flotilla_class(t.device), "phone");
}
END_TEST

START_TEST(test_sdk_trust_unchanged_is_one_request)
{
	FIXTURE(t);
	struct flotilla_stats stats;
	polls(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->hit_count, 1);
	ck_assert_str_eq(t.s->hits[0].path, TIMESTAMP);
	ck_assert_int_eq(t.s->hits[0].status, 304);
	flotilla_stats(t.device, &stats);
	ck_assert_uint_eq(stats.unchanged, 1);
}
END_TEST

START_TEST(test_sdk_trust_unchanged_is_one_request_after_restart)
{
	FIXTURE(t);
	reopens(&t);
	polls(&t, FLOTILLA_OK);
	ck_assert_uint_eq(t.s->hit_count, 1);
	ck_assert_int_eq(t.s->hits[0].status, 304);
	runs(&t, t.old);
}
END_TEST

START_TEST(test_sdk_trust_change_is_fetched)
{
	FIXTURE(t);
	publish_new(&t);
	polls(&t, FLOTILLA_OK);
	runs(&t, t.new);
	ck_assert_uint_eq(fake_count(t.s, PHONE), 4); /* timestamp, root 2, snapshot, targets */
	ck_assert_uint_eq(fake_count(t.s, "/v1/index"), 0);
}
END_TEST

START_TEST(test_sdk_trust_unreachable_keeps_what_is_there)
{
	FIXTURE(t);
	const int64_t usual = flotilla_next_wake(t.device) - t.s->now;
	fake_break(t.s, (struct fake_fault){.match = "/", .silent = true});
	refuses(&t, FLOTILLA_E_NETWORK);
	ck_assert_int_lt(flotilla_next_wake(t.device) - t.s->now, usual); /* it tries sooner */
	ck_assert_int_gt(flotilla_next_wake(t.device), t.s->now);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_server_error_is_a_network_error)
{
	FIXTURE(t);
	fake_break(t.s, (struct fake_fault){.match = "timestamp", .status = 500});
	refuses(&t, FLOTILLA_E_NETWORK);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_waits_as_long_as_the_server_asks)
{
	FIXTURE(t);
	fake_break(t.s, (struct fake_fault){.match = "timestamp", .status = 503,
					    .retry_after = 20000});
	polls(&t, FLOTILLA_E_NETWORK);
	ck_assert_int_ge(flotilla_next_wake(t.device), t.s->now + 20000);
}
END_TEST

/* ---- rollback ---- */

START_TEST(test_sdk_trust_refuses_old_timestamp)
{
	FIXTURE(t);
	const struct kept before = keep(&t, TIMESTAMP);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	fake_break(t.s, (struct fake_fault){.match = TIMESTAMP, .bytes = before.bytes,
					    .len = before.len});
	refuses(&t, FLOTILLA_E_ROLLBACK);
	recovers(&t);
	free(before.bytes);
}
END_TEST

START_TEST(test_sdk_trust_refuses_old_snapshot)
{
	FIXTURE(t);
	struct fake_repo *repo = &t.phone->repo;
	repo->version[TUF_SNAPSHOT]--;
	repo->version[TUF_TIMESTAMP]++;
	fake_sign_snapshot(t.s, repo);
	fake_sign_timestamp(t.s, repo);
	refuses(&t, FLOTILLA_E_ROLLBACK);
	repo->version[TUF_SNAPSHOT]++;
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_old_targets)
{
	FIXTURE(t);
	struct fake_repo *repo = &t.phone->repo;
	repo->version[TUF_TARGETS] -= 2;
	fake_publish(t.s, t.phone); /* targets one version lower than what is trusted */
	refuses(&t, FLOTILLA_E_ROLLBACK);
	repo->version[TUF_TARGETS] += 2;
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_old_index)
{
	FIXTURE(t);
	const struct kept before = keep(&t, "/v1/index/tuf/timestamp.json");
	fake_publish_index(t.s);
	t.phone->manifest.index_version = ++t.s->rules_version; /* it must look at the index */
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	t.phone->manifest.index_version++;
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = "/v1/index/tuf/timestamp",
					    .bytes = before.bytes, .len = before.len});
	polls(&t, FLOTILLA_E_ROLLBACK);
	reopens(&t);
	polls(&t, FLOTILLA_E_ROLLBACK);
	runs(&t, t.old);
	free(before.bytes);
}
END_TEST

/* ---- freeze ---- */

START_TEST(test_sdk_trust_refuses_expired)
{
	FIXTURE(t);
	t.s->now += 4 * FAKE_DAY;
	refuses(&t, FLOTILLA_E_EXPIRED);
	fake_publish_index(t.s);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_to_be_frozen_by_304)
{
	FIXTURE(t);
	fake_publish_index(t.s);
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	t.phone->repo.life_s = 3600;
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	fake_forget(t.s);
	t.s->now += 3601;
	polls(&t, FLOTILLA_E_EXPIRED);
	ck_assert_int_eq(t.s->hits[0].status, 304);
}
END_TEST

START_TEST(test_sdk_trust_clock_set_back_does_not_help)
{
	FIXTURE(t);
	t.s->now += FAKE_DAY;
	fake_publish(t.s, t.phone); /* proves that it is a day later */
	const struct kept frozen = keep(&t, TIMESTAMP);
	polls(&t, FLOTILLA_OK);
	t.s->now += 4 * FAKE_DAY;
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	polls(&t, FLOTILLA_OK);
	t.s->now -= 40 * FAKE_DAY; /* the battery was empty */
	t.phone->repo.life_s = 3600;
	fake_publish(t.s, t.phone); /* so signed then, or by who turned the server's clock */
	polls(&t, FLOTILLA_E_EXPIRED);
	free(frozen.bytes);
}
END_TEST

START_TEST(test_sdk_trust_expired_installs_nothing)
{
	FIXTURE(t);
	publish_new(&t);
	polls(&t, FLOTILLA_OK);
	t.s->now += 4 * FAKE_DAY;
	polls(&t, FLOTILLA_E_EXPIRED);
	shows(&t, FLOTILLA_E_EXPIRED, t.old);
	ck_assert_uint_eq(fake_count(t.s, "/v1/packs/"), 0);
}
END_TEST

/* ---- mix and match, arbitrary bytes ---- */

static void altered(const char *match, int64_t at, int code)
{
	FIXTURE(t);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = match, .flip = true, .flip_at = at});
	refuses(&t, code);
	recovers(&t);
}

START_TEST(test_sdk_trust_refuses_altered_timestamp)
{
	altered(TIMESTAMP, 60, FLOTILLA_E_SIGNATURE); /* in a signature's hex */
}
END_TEST

START_TEST(test_sdk_trust_refuses_altered_children)
{
	altered(".snapshot.json", 60, FLOTILLA_E_HASH);
	altered(".targets.json", 60, FLOTILLA_E_HASH);
	altered(".targets.json", 900, FLOTILLA_E_HASH);
}
END_TEST

START_TEST(test_sdk_trust_refuses_documents_of_another_publication)
{
	FIXTURE(t);
	char path[256];
	snprintf(path, sizeof(path), PHONE "/tuf/%lld.targets.json",
		 (long long)t.phone->repo.version[TUF_TARGETS]);
	const struct kept before = keep(&t, path);
	publish_new(&t);
	fake_break(t.s, (struct fake_fault){.match = ".targets.json", .bytes = before.bytes,
					    .len = before.len});
	refuses(&t, FLOTILLA_E_HASH);
	recovers(&t);
	free(before.bytes);
}
END_TEST

START_TEST(test_sdk_trust_refuses_garbage)
{
	FIXTURE(t);
	fake_break(t.s, (struct fake_fault){.match = TIMESTAMP, .bytes = "<html>", .len = 6});
	refuses(&t, FLOTILLA_E_MALFORMED);
	fake_break(t.s, (struct fake_fault){.match = TIMESTAMP, .bytes = "", .len = 0});
	refuses(&t, FLOTILLA_E_MALFORMED);
	recovers(&t);
}
END_TEST

START_TEST(test_sdk_trust_refuses_cut_document)
{
	FIXTURE(t);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = ".targets.json", .cut = 100});
	refuses(&t, FLOTILLA_E_NETWORK);
	recovers(&t);
}
END_TEST

static void endless(const char *match)
{
	FIXTURE(t);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = match, .extra = 64 << 20});
	refuses(&t, FLOTILLA_E_TOO_MUCH);
	ck_assert_uint_lt(fake_sent(t.s, match), 4 * TUF_TARGETS_MAX);
	recovers(&t);
}

START_TEST(test_sdk_trust_refuses_endless_data)
{
	endless("timestamp.json");
	endless(".snapshot.json");
	endless(".targets.json");
}
END_TEST

START_TEST(test_sdk_trust_refuses_altered_index_file)
{
	FIXTURE(t);
	t.phone->manifest.index_version = ++t.s->rules_version;
	fake_publish_index(t.s);
	fake_publish(t.s, t.phone);
	fake_break(t.s, (struct fake_fault){.match = "index/targets/", .flip = true,
					    .flip_at = 3});
	polls(&t, FLOTILLA_E_HASH);
	fake_break(t.s, (struct fake_fault){.match = "index/targets/", .extra = 100});
	polls(&t, FLOTILLA_E_TOO_MUCH);
	runs(&t, t.old);
	recovers(&t);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		test_sdk_trust_first_poll_finds_the_class,
		test_sdk_trust_unchanged_is_one_request,
		test_sdk_trust_unchanged_is_one_request_after_restart,
		test_sdk_trust_change_is_fetched,
		test_sdk_trust_unreachable_keeps_what_is_there,
		test_sdk_trust_server_error_is_a_network_error,
		test_sdk_trust_waits_as_long_as_the_server_asks,
		test_sdk_trust_refuses_old_timestamp,
		test_sdk_trust_refuses_old_snapshot,
		test_sdk_trust_refuses_old_targets,
		test_sdk_trust_refuses_old_index,
		test_sdk_trust_refuses_expired,
		test_sdk_trust_refuses_to_be_frozen_by_304,
		test_sdk_trust_clock_set_back_does_not_help,
		test_sdk_trust_expired_installs_nothing,
		test_sdk_trust_refuses_altered_timestamp,
		test_sdk_trust_refuses_altered_children,
		test_sdk_trust_refuses_documents_of_another_publication,
		test_sdk_trust_refuses_garbage,
		test_sdk_trust_refuses_cut_document,
		test_sdk_trust_refuses_endless_data,
		test_sdk_trust_refuses_altered_index_file,
	};
	return suite_run("sdk_trust", tests, COUNT_OF(tests));
}
