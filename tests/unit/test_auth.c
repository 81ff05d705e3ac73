#include "server/auth.h"
#include "store/ledger.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256], path[300];
static struct clock now;
static struct auth *auth;
static struct ledger *ledger;
static struct db *reader;
static struct err err;

static const struct sql_set *const sets[] = {&auth_sql};

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	struct db *writer = NULL;

	snprintf(dir, sizeof(dir), "%s/test_auth.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/flotilla.db", dir);
	clock_real(&now);
	ck_assert_msg(db_open(&writer, path, DB_WRITE, sets, 1, &err) == 0, "%s", err.text);
	ck_assert_msg(auth_new(&auth, writer, &now, &err) == 0, "%s", err.text);
	ck_assert_int_eq(ledger_new(&ledger, writer, 64, &err), 0);
	ck_assert_int_eq(db_open(&reader, path, DB_READ, sets, 1, &err), 0);
}

static void teardown(void)
{
	char command[400];

	db_close(reader);
	ledger_free(ledger);
	auth_free(auth);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

struct make {
	struct token_spec spec;
	struct token_made made;
	bool fail; /* the ledger function fails after the insert */
};

static int make_run(struct db *db, void *arg, struct err *why)
{
	struct make *make = arg;

	if (auth_insert(auth, db, &make->spec, &make->made, why) < 0)
		return -1;
	return make->fail ? err_set(why, ERR_CONFLICT, "undone") : 0;
}

static int make_token(struct make *make)
{
	return ledger_run(ledger, make_run, make, &err);
}

static int revoke_run(struct db *db, void *arg, struct err *why)
{
	return auth_revoke(auth, db, arg, why);
}

static int check(const char *secret, struct token *who)
{
	char header[128];

	snprintf(header, sizeof(header), "Bearer %s", secret);
	return auth_check(auth, header, who, &err);
}

START_TEST(test_auth_token_opens_what_its_role_may)
{
	struct make make = {.spec = {.name = "ci", .role = ROLE_PUBLISHER}};
	struct token who = {0};

	ck_assert_msg(make_token(&make) == 0, "%s", err.text);
	ck_assert_uint_eq(strlen(make.made.secret), TOKEN_SECRET - 1);
	ck_assert_int_eq(check(make.made.secret, &who), 0);
	ck_assert_str_eq(who.name, "ci");
	ck_assert_str_eq(who.id, make.made.id);
	ck_assert_int_eq(auth_role(&who, ROLE_VIEWER, &err), 0);
	ck_assert_int_eq(auth_role(&who, ROLE_PUBLISHER, &err), 0);
	ck_assert_int_eq(auth_role(&who, ROLE_OPERATOR, &err), -1);
	ck_assert_int_eq(err.status, ERR_DENIED);
	ck_assert_int_eq(auth_role(&who, ROLE_RELAY, &err), -1);
	auth_done(&who);
}
END_TEST

START_TEST(test_auth_relay_stands_apart)
{
	struct token relay = {.role = ROLE_RELAY}, admin = {.role = ROLE_ADMIN};

	ck_assert_int_eq(auth_role(&relay, ROLE_RELAY, &err), 0);
	ck_assert_int_eq(auth_role(&relay, ROLE_VIEWER, &err), -1);
	ck_assert_int_eq(auth_role(&admin, ROLE_RELAY, &err), -1);
}
END_TEST

START_TEST(test_auth_refuses_other_tokens)
{
	struct make make = {.spec = {.name = "ci", .role = ROLE_ADMIN}};
	struct token who = {0};
	char wrong[TOKEN_SECRET];

	ck_assert_int_eq(make_token(&make), 0);
	memcpy(wrong, make.made.secret, sizeof(wrong));
	wrong[10] = wrong[10] == 'a' ? 'b' : 'a';
	ck_assert_int_eq(check(wrong, &who), -1);
	ck_assert_int_eq(err.status, ERR_UNAUTHORIZED);
	ck_assert_int_eq(check("flt_", &who), -1);
	ck_assert_int_eq(check("", &who), -1);
	ck_assert_int_eq(auth_check(auth, NULL, &who, &err), -1);
	ck_assert_int_eq(auth_check(auth, "Basic Zm9v", &who, &err), -1);
	ck_assert_int_eq(auth_check(auth, make.made.secret, &who, &err), -1);
}
END_TEST

START_TEST(test_auth_undone_tokens_do_not_work)
{
	struct make make = {.spec = {.name = "ci", .role = ROLE_ADMIN}, .fail = true};
	struct token who = {0};

	ck_assert_int_eq(make_token(&make), -1);
	ck_assert_int_eq(check(make.made.secret, &who), -1);
}
END_TEST

START_TEST(test_auth_revoked_tokens_do_not_work)
{
	struct make make = {.spec = {.name = "ci", .role = ROLE_ADMIN}};
	struct token who = {0};
	char none[] = "t999";

	ck_assert_int_eq(make_token(&make), 0);
	ck_assert_int_eq(ledger_run(ledger, revoke_run, make.made.id, &err), 0);
	ck_assert_int_eq(check(make.made.secret, &who), -1);
	ck_assert_int_eq(ledger_run(ledger, revoke_run, make.made.id, &err), 0);
	ck_assert_int_eq(ledger_run(ledger, revoke_run, none, &err), -1);
	ck_assert_int_eq(err.status, ERR_NOT_FOUND);
}
END_TEST

START_TEST(test_auth_expired_tokens_do_not_work)
{
	struct make make = {.spec = {.name = "ci", .role = ROLE_ADMIN, .expires_s = 60}};
	struct token who = {0};

	ck_assert_int_eq(make_token(&make), 0);
	ck_assert_int_eq(check(make.made.secret, &who), 0);
	auth_done(&who);
	clock_fast(&now, clock_ms(&now) + 61000, 1);
	ck_assert_int_eq(check(make.made.secret, &who), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "expired"));
}
END_TEST

START_TEST(test_auth_scope_of_models)
{
	json_auto_t *models = json_pack("[s, s]", "assistant", "vision");
	struct make make = {.spec = {.name = "ci", .role = ROLE_PUBLISHER, .models = models}};
	struct request rq = {0};

	ck_assert_msg(make_token(&make) == 0, "%s", err.text);
	ck_assert_int_eq(check(make.made.secret, &rq.who), 0);
	ck_assert_int_eq(request_may(&rq, "assistant", &err), 0);
	ck_assert_int_eq(request_may(&rq, "vision", &err), 0);
	ck_assert_int_eq(request_may(&rq, "assist", &err), -1);
	ck_assert_int_eq(request_may(&rq, "ssistant", &err), -1);
	ck_assert_int_eq(request_may(&rq, "", &err), -1);
	ck_assert_int_eq(err.status, ERR_DENIED);
	auth_done(&rq.who);
	ck_assert_int_eq(request_may(&rq, "anything", &err), 0);
}
END_TEST

START_TEST(test_auth_bad_specs)
{
	json_auto_t *models = json_pack("[i]", 3);
	struct make bad[] = {
		{.spec = {.name = "Not A Name", .role = ROLE_ADMIN}},
		{.spec = {.name = "a", .role = ROLE_ANYONE}},
		{.spec = {.name = "a", .role = ROLE_ADMIN, .expires_s = -1}},
		{.spec = {.name = "a", .role = ROLE_ADMIN, .models = models}},
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		ck_assert_int_eq(make_token(&bad[i]), -1);
		ck_assert_int_eq(err.status, ERR_INVALID);
	}
}
END_TEST

START_TEST(test_auth_quotas_come_with_the_token)
{
	struct make make = {.spec = {.name = "ci", .role = ROLE_PUBLISHER, .quota_bytes = 5000,
				     .uploads = 3}};
	char header[100];
	struct token who;
	json_auto_t *items = NULL;

	ck_assert_int_eq(make_token(&make), 0);
	snprintf(header, sizeof(header), "Bearer %s", make.made.secret);
	ck_assert_int_eq(auth_check(auth, header, &who, &err), 0);
	ck_assert_int_eq(who.quota_bytes, 5000);
	ck_assert_int_eq(who.uploads, 3);
	auth_done(&who);
	ck_assert_int_eq(auth_list(reader, &items, &err), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(items, 0),
							    "quota_bytes")), 5000);
	struct make bad = {.spec = {.name = "ci", .role = ROLE_PUBLISHER, .quota_bytes = -1}};
	ck_assert_int_eq(make_token(&bad), -1);
	ck_assert_int_eq(err.status, ERR_INVALID);
}
END_TEST

START_TEST(test_auth_list_tells_no_secret)
{
	json_auto_t *models = json_pack("[s]", "assistant");
	struct make make = {.spec = {.name = "ci", .role = ROLE_PUBLISHER, .models = models}};
	json_auto_t *items = NULL;
	char *text;

	ck_assert_int_eq(make_token(&make), 0);
	ck_assert_int_eq(auth_list(reader, &items, &err), 0);
	ck_assert_uint_eq(json_array_size(items), 1);
	text = json_dumps(items, 0);
	ck_assert_ptr_nonnull(strstr(text, "\"models\": [\"assistant\"]"));
	ck_assert_ptr_null(strstr(text, make.made.secret));
	free(text);
}
END_TEST

struct kept {
	struct idem idem;
	int64_t at;
};

static int keep_run(struct db *db, void *arg, struct err *why)
{
	const struct kept *kept = arg;

	return idem_store(db, &kept->idem, kept->at, 201, "{\"id\":1}", why);
}

START_TEST(test_auth_idempotency_replays_for_a_day)
{
	struct kept kept = {.idem = {.token = "t1", .key = "k"}, .at = 1000};
	struct idem other = kept.idem;
	struct idem_answer answer = {0};

	ck_assert_int_eq(idem_find(reader, &kept.idem, 1000, &answer, &err), 0);
	ck_assert_int_eq(ledger_run(ledger, keep_run, &kept, &err), 0);
	ck_assert_int_eq(idem_find(reader, &kept.idem, 1001, &answer, &err), 1);
	ck_assert_uint_eq(answer.code, 201);
	ck_assert_str_eq(answer.body, "{\"id\":1}");
	free(answer.body);
	other.fingerprint.bytes[0] = 1;
	ck_assert_int_eq(idem_find(reader, &other, 1001, &answer, &err), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	other.token = "t2";
	ck_assert_int_eq(idem_find(reader, &other, 1001, &answer, &err), 0);
	ck_assert_int_eq(idem_find(reader, &kept.idem, 1000 + 86400, &answer, &err), 0);
}
END_TEST

START_TEST(test_auth_idempotency_one_at_a_time)
{
	struct idem idem = {.token = "t1", .key = "k"}, other = {.token = "t2", .key = "k"};

	ck_assert_int_eq(idem_enter(auth, &idem, &err), 0);
	ck_assert_int_eq(idem_enter(auth, &other, &err), 0);
	ck_assert_int_eq(idem_enter(auth, &idem, &err), -1);
	ck_assert_int_eq(err.status, ERR_CONFLICT);
	idem_leave(auth, &idem);
	ck_assert_int_eq(idem_enter(auth, &idem, &err), 0);
	idem_leave(auth, &idem);
	idem_leave(auth, &other);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("auth");
	TCase *tcase = tcase_create("auth");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 30);
	tcase_add_test(tcase, test_auth_token_opens_what_its_role_may);
	tcase_add_test(tcase, test_auth_relay_stands_apart);
	tcase_add_test(tcase, test_auth_refuses_other_tokens);
	tcase_add_test(tcase, test_auth_undone_tokens_do_not_work);
	tcase_add_test(tcase, test_auth_revoked_tokens_do_not_work);
	tcase_add_test(tcase, test_auth_expired_tokens_do_not_work);
	tcase_add_test(tcase, test_auth_scope_of_models);
	tcase_add_test(tcase, test_auth_bad_specs);
	tcase_add_test(tcase, test_auth_quotas_come_with_the_token);
	tcase_add_test(tcase, test_auth_list_tells_no_secret);
	tcase_add_test(tcase, test_auth_idempotency_replays_for_a_day);
	tcase_add_test(tcase, test_auth_idempotency_one_at_a_time);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
