/* Tokens, scopes and Idempotency-Key through a real listener, worker, ledger and database. */
#include "base/buf.h"
#include "server/app.h"
#include "server/auth.h"
#include "server/config.h"
#include "server/listen.h"
#include "server/metrics.h"
#include "server/workers.h"
#include "store/ledger.h"

#include <check.h>
#include <curl/curl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int calls;

static int count(struct request *rq, struct reply *reply, struct err *err)
{
	int n = atomic_fetch_add(&calls, 1) + 1;

	if (rq->body && json_object_get(rq->body, "fail"))
		return err_set(err, ERR_CONFLICT, "asked to fail");
	if (rq->body && json_object_get(rq->body, "slow"))
		usleep(300000);
	return reply_json(reply, 201,
			  json_pack("{s:i, s:s, s:b}", "call", n, "who", rq->who.name, "db",
				    rq->db != NULL),
			  err);
}

static const struct route rows[] = {
	{POST, "/count", ROLE_PUBLISHER, count, BODY_MAYBE, .summary = "x"},
	{GET, "/models/{model}", ROLE_VIEWER, count, .summary = "x"},
	{GET, "/admin", ROLE_ADMIN, count, .summary = "x"},
};

static const struct sql_set *const sets[] = {&auth_sql};
static char dir[256], path[300];
static struct app app;
static struct config config;
static struct listener *listener;
static struct token_made made;
static struct err err;

static int make_run(struct db *db, void *arg, struct err *why)
{
	return auth_insert(app.auth, db, arg, &made, why);
}

static void start_listener(void)
{
	struct listener_spec spec = {.address = "127.0.0.1:0",
				     .key = "admin_listen",
				     .listener = LISTENER_ADMIN,
				     .rows = rows,
				     .row_count = COUNT_OF(rows),
				     .loops = 1,
				     .max_connections = 64,
				     .memory = 16384,
				     .workers = app.workers,
				     .guard_host = true,
				     .spool_dir = dir};

	ck_assert_msg(listener_new(&listener, &app, &spec, &err) == 0, "%s", err.text);
	ck_assert_msg(listener_start(listener, &err) == 0, "%s", err.text);
}

static void setup(void)
{
	const char *tmp = getenv("TMPDIR");
	json_auto_t *models = json_pack("[s]", "assistant");
	struct token_spec spec = {.name = "ci", .role = ROLE_PUBLISHER, .models = models};
	struct db *writer = NULL;

	curl_global_init(CURL_GLOBAL_ALL);
	atomic_store(&calls, 0);
	snprintf(dir, sizeof(dir), "%s/test_dispatch.XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/flotilla.db", dir);
	config.admin_hosts = strdup("fleet.example.org, ops.example.org");
	clock_real(&app.clock);
	app.config = &config;
	app.metrics = metrics_new(1);
	ck_assert_msg(db_open(&writer, path, DB_WRITE, sets, 1, &err) == 0, "%s", err.text);
	ck_assert_int_eq(auth_new(&app.auth, writer, &app.clock, &err), 0);
	ck_assert_int_eq(ledger_new(&app.ledger, writer, 64, &err), 0);
	const struct workers_options pool = {
		.count = 2, .max_queued = 16, .path = path, .sets = sets, .set_count = 1};
	ck_assert_int_eq(workers_new(&app.workers, &pool, &err), 0);
	ck_assert_int_eq(ledger_run(app.ledger, make_run, &spec, &err), 0);
	start_listener();
}

static void teardown(void)
{
	char command[400];

	listener_drain(listener, 2000);
	listener_free(listener);
	workers_free(app.workers);
	ledger_free(app.ledger);
	auth_free(app.auth);
	metrics_free(app.metrics);
	free(config.admin_hosts);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
	curl_global_cleanup();
}

struct answer {
	long code;
	char text[4096];
};

static size_t keep(char *bytes, size_t size, size_t n, void *arg)
{
	struct answer *answer = arg;
	size_t have = strlen(answer->text);

	if (have + size * n < sizeof(answer->text))
		memcpy(answer->text + have, bytes, size * n);
	return size * n;
}

static struct answer ask(const char *method, const char *where, const char *body,
			 const char *header)
{
	CURL *curl = curl_easy_init();
	struct curl_slist *list = NULL;
	struct answer answer = {0};
	char text[256];

	snprintf(text, sizeof(text), "Authorization: Bearer %s", made.secret);
	list = curl_slist_append(list, text);
	if (header)
		list = curl_slist_append(list, header);
	snprintf(text, sizeof(text), "http://127.0.0.1:%u%s", listener_port(listener), where);
	curl_easy_setopt(curl, CURLOPT_URL, text);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.code);
	curl_easy_cleanup(curl);
	curl_slist_free_all(list);
	return answer;
}

START_TEST(test_dispatch_roles_and_scopes)
{
	struct answer got = ask("GET", "/models/assistant", NULL, NULL);

	ck_assert_int_eq(got.code, 201);
	ck_assert_ptr_nonnull(strstr(got.text, "\"who\":\"ci\""));
	ck_assert_ptr_nonnull(strstr(got.text, "\"db\":true"));
	ck_assert_int_eq(ask("GET", "/models/vision", NULL, NULL).code, 403);
	got = ask("GET", "/admin", NULL, NULL);
	ck_assert_int_eq(got.code, 403);
	ck_assert_ptr_nonnull(strstr(got.text, "needs the role admin"));
	ck_assert_ptr_null(strstr(got.text, made.secret));
}
END_TEST

START_TEST(test_dispatch_idempotency_key_runs_once)
{
	struct answer first = ask("POST", "/count", "{\"a\":1}", "Idempotency-Key: k1");
	struct answer again = ask("POST", "/count", "{\"a\":1}", "Idempotency-Key: k1");

	ck_assert_int_eq(first.code, 201);
	ck_assert_int_eq(again.code, 201);
	ck_assert_str_eq(first.text, again.text);
	ck_assert_int_eq(atomic_load(&calls), 1);
	ck_assert_int_eq(ask("POST", "/count", "{\"a\":2}", "Idempotency-Key: k1").code, 409);
	ck_assert_int_eq(ask("POST", "/count", "{\"a\":1}", "Idempotency-Key: k2").code, 201);
	ck_assert_int_eq(ask("POST", "/count", "{\"a\":1}", NULL).code, 201);
	ck_assert_int_eq(atomic_load(&calls), 3);
}
END_TEST

START_TEST(test_dispatch_failures_are_not_kept)
{
	ck_assert_int_eq(ask("POST", "/count", "{\"fail\":1}", "Idempotency-Key: k").code, 409);
	ck_assert_int_eq(ask("POST", "/count", "{\"fail\":1}", "Idempotency-Key: k").code, 409);
	ck_assert_int_eq(atomic_load(&calls), 2);
}
END_TEST

static void *ask_slowly(void *arg)
{
	*(struct answer *)arg = ask("POST", "/count", "{\"slow\":1}", "Idempotency-Key: s");
	return NULL;
}

START_TEST(test_dispatch_the_same_key_at_once_is_refused)
{
	struct answer slow, other;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, ask_slowly, &slow), 0);
	while (atomic_load(&calls) == 0)
		usleep(1000);
	other = ask("POST", "/count", "{\"slow\":1}", "Idempotency-Key: s");
	pthread_join(thread, NULL);
	ck_assert_int_eq(other.code, 409);
	ck_assert_int_eq(slow.code, 201);
	ck_assert_int_eq(atomic_load(&calls), 1);
}
END_TEST

START_TEST(test_dispatch_host_and_origin)
{
	ck_assert_int_eq(ask("GET", "/models/assistant", NULL, "Host: evil.example.org").code, 403);
	ck_assert_int_eq(ask("GET", "/models/assistant", NULL, "Host: ops.example.org:81").code,
			 201);
	ck_assert_int_eq(ask("GET", "/models/assistant", NULL, "Host: localhost").code, 201);
	ck_assert_int_eq(ask("GET", "/models/assistant", NULL, "Host: [::1]:8081").code, 201);
	ck_assert_int_eq(ask("GET", "/models/assistant", NULL, "Origin: http://evil.org").code,
			 403);
	ck_assert_int_eq(ask("GET", "/models/assistant", NULL, "Origin: null").code, 403);
}
END_TEST

START_TEST(test_dispatch_drain_lets_requests_finish)
{
	struct answer slow;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, ask_slowly, &slow), 0);
	while (atomic_load(&calls) == 0)
		usleep(1000);
	listener_drain(listener, 5000);
	pthread_join(thread, NULL);
	ck_assert_int_eq(slow.code, 201);
	ck_assert_int_eq(ask("GET", "/models/assistant", NULL, NULL).code, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dispatch");
	TCase *tcase = tcase_create("dispatch");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, test_dispatch_roles_and_scopes);
	tcase_add_test(tcase, test_dispatch_idempotency_key_runs_once);
	tcase_add_test(tcase, test_dispatch_failures_are_not_kept);
	tcase_add_test(tcase, test_dispatch_the_same_key_at_once_is_refused);
	tcase_add_test(tcase, test_dispatch_host_and_origin);
	tcase_add_test(tcase, test_dispatch_drain_lets_requests_finish);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
