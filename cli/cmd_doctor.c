/* flotilla doctor: is everything as it should be, and what to do if not. */
#include "base/clock.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/commands.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SKEW_MAX_S 120

enum finding { FINE, WARN, FAIL };

/* What was found so far. */
struct visit {
	const struct cli *cli;
	json_t *rows;
	unsigned worst;
};

static void note(struct visit *v, enum finding finding, const char *what, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
static void note(struct visit *v, enum finding finding, const char *what, const char *fmt, ...)
{
	static const char *const names[] = {"ok", "WARN", "FAIL"};
	char text[400];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (finding > v->worst)
		v->worst = finding;
	json_array_append_new(v->rows, json_pack("{s:s, s:s, s:s}", "check", what, "result",
						 names[finding], "detail", text));
}

static void check_ready(struct visit *v, struct api *api)
{
	size_t i;
	json_t *check;
	struct err err;
	struct api_reply reply;
	const struct api_request q = {.method = "GET", .path = "/readyz"};
	if (api_call(api, &q, &reply, &err)) {
		note(v, FAIL, "readiness", "%s", err.text);
		return;
	}
	json_auto_t *doc = json_parse(reply.body.data ? reply.body.data : "", reply.body.len,
				      "readyz", &err);
	api_reply_done(&reply);
	json_array_foreach (json_object_get(doc, "checks"), i, check) {
		const bool ok = json_is_true(json_object_get(check, "ok"));
		const char *detail = json_string_value(json_object_get(check, "detail"));
		note(v, ok ? FINE : FAIL, json_string_value(json_object_get(check, "name")), "%s",
		     detail ? detail : "");
	}
	if (json_is_true(json_object_get(doc, "development_keys")))
		note(v, WARN, "development keys",
		     "roots are signed with keys on the server; for production make an offline root");
}

static void check_clock(struct visit *v, const json_t *status)
{
	const json_t *clock = json_object_get(status, "clock");
	const int64_t speed = json_integer_value(json_object_get(clock, "speed"));
	const int64_t real = json_integer_value(json_object_get(clock, "real_ms"));
	const int64_t skew = (real - clock_wall_ms()) / 1000;
	if (speed > 1)
		note(v, WARN, "clock", "the daemon's clock runs %lld times as fast",
		     (long long)speed);
	else if (llabs(skew) > SKEW_MAX_S)
		note(v, WARN, "clock", "the daemon's clock differs from this machine's by %lld s",
		     (long long)skew);
	else
		note(v, FINE, "clock", "within %lld s of this machine's", (long long)llabs(skew));
}

static void check_expiry(struct visit *v, const json_t *list, int64_t now)
{
	size_t i, late = 0;
	const json_t *repo;
	json_array_foreach (json_object_get(list, "items"), i, repo)
		late += json_integer_value(json_object_get(repo, "resign_at")) < now - 3600;
	if (late)
		note(v, FAIL, "signing", "%zu repositories are overdue to be signed anew; see the log",
		     late);
	else
		note(v, FINE, "signing", "%zu repositories, all signed in time",
		     json_array_size(json_object_get(list, "items")));
}

static void check_device(struct visit *v, const char *url)
{
	struct err err;
	struct api_reply reply;
	AUTO(api_close) struct api *device = NULL;
	const struct api_options options = {.server = url, .timeout_s = 10};
	const struct api_request q = {.method = "GET", .path = "/v1/index/tuf/timestamp.json"};
	if (api_open(&device, &options, &err) || api_call(device, &q, &reply, &err)) {
		note(v, FAIL, "device listener", "%s", err.text);
		return;
	}
	api_reply_done(&reply);
	note(v, FINE, "device listener", "%s answers", url);
}

static void check_admin(struct visit *v, struct api *api)
{
	struct err err;
	json_auto_t *status = NULL, *list = NULL;
	check_ready(v, api);
	if (api_get(api, "/admin/v1/status", &status, &err)) {
		note(v, FAIL, "token", "%s", err.text);
		return;
	}
	note(v, FINE, "token", "accepted; flotillad %s",
	     json_string_value(json_object_get(status, "version")));
	check_clock(v, status);
	if (api_get(api, "/admin/v1/manifests", &list, &err))
		note(v, FAIL, "signing", "%s", err.text);
	else
		check_expiry(v, list,
			     json_integer_value(json_object_get(json_object_get(status, "clock"),
								"own_ms")) / 1000);
}

static int doctor(struct cli *cli, const struct args *args)
{
	static const struct column columns[] = {{"RESULT", "result", COL_TEXT},
						{"CHECK", "check", COL_TEXT},
						{"DETAIL", "detail", COL_TEXT}};
	const char *url = args_text(args, "device-url");
	int code;
	struct api *api = cli_api(cli, &code);
	if (!api)
		return code;
	json_auto_t *rows = json_array();
	struct visit v = {cli, rows, FINE};
	check_admin(&v, api);
	check_device(&v, url ? url : "http://127.0.0.1:8080");
	out_rows(cli, rows, columns, COUNT_OF(columns));
	return v.worst == FAIL ? EXIT_FAILED : EXIT_DONE;
}

static const struct cli_option options[] = {
	{"device-url", "URL", "device listener (http://127.0.0.1:8080)", false}};

/* clang-format off */
const struct command doctor_commands[DOCTOR_COMMANDS] = {
	{"doctor", NULL, "", 0, 0, "Check the daemon, the token, clocks, signing and the listeners",
	 "Exits 1 when something must be mended.", options, COUNT_OF(options), doctor},
};
