/* kill_loop BIN ROUNDS SEED -- kill -9 of the daemon at any moment of uploads, publishing, telemetry,
 * rollouts and their taking back, ROUNDS times; after each restart what was acknowledged must be
 * there, every report once however often it was sent, and what is published must not have gone
 * back. */
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/api.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UPLOAD_BYTES 200000
#define START_MS 20000
#define LIFE_LEAST_MS 30
#define LIFE_MOST_MS 500
#define NAMES 20000
#define SENDERS 5	   /* of telemetry; the last one relays */
#define RELAYED 40	   /* reports of a body */
#define REPORT_ROOM 400	   /* bytes of a report */
#define SHOWN_FROM 100	   /* devices from which the census tells how many */
#define NONCES_A_ROUND 1500 /* at the most; a part of them all is open: they are closed a few times, too */

/* One who sends telemetry until it is acknowledged, over as many lives of the daemon as it takes. */
struct sender {
	bool relay;
	bool pending;	  /* body was sent and not yet answered: it counts or does not */
	unsigned reports; /* in body */
	unsigned acknowledged, repeated;
	char body[RELAYED * REPORT_ROOM];
	char before[RELAYED * REPORT_ROOM]; /* the last one that was acknowledged; "" none */
};

enum lane { LANE_NONE, LANE_STARTED, LANE_ABORTED };

static struct {
	const char *bin;
	char max_nonces[24];
	char dir[64], log[128], token[128], relay_token[128];
	char admin[64], device[64];
	pid_t pid;
	uint64_t random;

	/* acknowledged; each written by one thread, read when no thread runs */
	struct digest uploads[NAMES];
	unsigned upload_count, uploads_checked;
	unsigned releases; /* published: assistant@1.0.N, N below */
	struct sender senders[SENDERS];
	char rollout[65];
	enum lane lane, lane_before; /* the action under way may or may not have happened */
	bool lane_unknown;
	unsigned actions;
	int64_t timestamp; /* newest version seen of the class's timestamp */
	long long day;	   /* that all reports are of, whatever midnight passes */
} t;

static _Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void die(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fputs("kill_loop: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	if (t.pid > 0)
		kill(t.pid, SIGKILL);
	_exit(1);
}

/* ---- the daemon ---- */

static unsigned below(unsigned n)
{
	t.random = t.random * 6364136223846793005U + 1442695040888963407U;
	return (unsigned)(t.random >> 33) % n;
}

static pid_t spawn(const char *const argv[], const char *log)
{
	const pid_t pid = fork();
	if (pid)
		return pid;
	const int fd = open(log, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	dup2(fd, STDERR_FILENO);
	dup2(fd, STDOUT_FILENO);
	execv(argv[0], (char *const *)(uintptr_t)argv); /* POSIX: they are not changed */
	_exit(127);
}

static int64_t port_in(const char *log, const char *name)
{
	struct err err;
	int64_t port = 0;
	AUTO_BUF struct buf text = BUF_INIT(1 << 20);
	if (file_read(log, &text, &err) || !text.len)
		return 0;
	buf_addc(&text, 0);
	const char *at = strstr(text.data, "\"event\":\"server.started\"");
	at = at && strchr(at, '\n') ? strstr(at, name) : NULL;
	if (at)
		port = strtoll(at + strlen(name), NULL, 10);
	return port;
}

static void start_daemon(void)
{
	char path[200], data[100];
	snprintf(path, sizeof(path), "%s/flotillad", t.bin);
	snprintf(data, sizeof(data), "%s/data", t.dir);
	const char *argv[] = {path, "--data-dir", data, "--device-listen", "127.0.0.1:0",
			"--admin-listen", "127.0.0.1:0", "--max-nonces", t.max_nonces, NULL};
	unlink(t.log);
	t.pid = spawn(argv, t.log);
	const int64_t end = clock_monotonic_ms() + START_MS;
	int64_t device = 0;
	while (!(device = port_in(t.log, "\"device_port\":"))) {
		int status;
		if (waitpid(t.pid, &status, WNOHANG) || clock_monotonic_ms() > end)
			die("the daemon does not start; see %s", t.log);
		clock_sleep_ms(5);
	}
	snprintf(t.device, sizeof(t.device), "http://127.0.0.1:%lld", (long long)device);
	snprintf(t.admin, sizeof(t.admin), "http://127.0.0.1:%lld",
		 (long long)port_in(t.log, "\"admin_port\":"));
}

static void kill_daemon(void)
{
	int status;
	kill(t.pid, SIGKILL);
	waitpid(t.pid, &status, 0);
	t.pid = 0;
}

static void init_data(void)
{
	char path[200], data[100], log[128];
	int status;
	snprintf(path, sizeof(path), "%s/flotillad", t.bin);
	snprintf(data, sizeof(data), "%s/data", t.dir);
	snprintf(log, sizeof(log), "%s/init.log", t.dir);
	snprintf(t.token, sizeof(t.token), "%s/data/admin.token", t.dir);
	const char *argv[] = {path, "init", "--data-dir", data, "--dev", NULL};
	const pid_t pid = spawn(argv, log);
	waitpid(pid, &status, 0);
	if (status)
		die("init failed; see %s", log);
}

static struct api *api_to(const char *server)
{
	struct api *api;
	struct err err;
	const struct api_options options = {.server = server, .token_file = t.token, .timeout_s = 30};
	if (api_open(&api, &options, &err))
		die("%s", err.text);
	return api;
}

/* ---- what the threads do until the daemon is gone ---- */

static int upload(struct api *api, const struct digest *digest, const uint8_t *bytes,
		  struct err *err)
{
	char path[200], hex[DIGEST_HEX];
	struct api_reply reply;
	json_auto_t *made = NULL, *finish = NULL;
	digest_hex(digest, hex);
	if (api_send(api, "POST", "/admin/v1/store/uploads", NULL, &made, err))
		return -1;
	const char *id = json_string_value(json_object_get(made, "id"));
	snprintf(path, sizeof(path), "/admin/v1/store/uploads/%s", id ? id : "");
	const struct api_request patch = {.method = "PATCH", .path = path, .bytes = bytes,
					  .len = UPLOAD_BYTES, .headers = {"Upload-Offset: 0"}};
	if (api_call(api, &patch, &reply, err))
		return -1;
	api_reply_done(&reply);
	snprintf(path, sizeof(path), "/admin/v1/store/uploads/%s/finish", id ? id : "");
	finish = json_pack("{s:s}", "sha256", hex);
	json_auto_t *done = NULL;
	return api_send(api, "POST", path, finish, &done, err);
}

/* assistant@1.0.N of the newest upload, published. */
static int publish(struct api *api, unsigned n, const struct digest *digest, struct err *err)
{
	char path[200], release[32], hex[DIGEST_HEX];
	json_auto_t *file = NULL;
	digest_hex(digest, hex);
	snprintf(path, sizeof(path), "/admin/v1/store/files/%s", hex);
	if (api_get(api, path, &file, err))
		return -1;
	snprintf(release, sizeof(release), "1.0.%u", n);
	json_auto_t *spec = json_pack("{s:s}", "release", release);
	if (api_send(api, "POST", "/admin/v1/models/assistant/releases", spec, NULL, err) &&
	    err->status != ERR_CONFLICT) /* made before a kill */
		return -1;
	json_auto_t *variant =
		json_pack("{s:s, s:[{s:s, s:O}]}", "format", "raw", "files", "name", "model.bin",
			  "recipe", json_object_get(file, "recipe"));
	snprintf(path, sizeof(path), "/admin/v1/models/assistant/releases/%s/variants/raw", release);
	if (api_send(api, "PUT", path, variant, NULL, err) && err->status != ERR_CONFLICT)
		return -1;
	snprintf(path, sizeof(path), "/admin/v1/models/assistant/releases/%s/publish", release);
	return api_send(api, "POST", path, NULL, NULL, err) && err->status != ERR_CONFLICT ? -1 : 0;
}

/* A refusal by a daemon that lives is a failure; that it is gone is what the test is about. */
static bool gone(const struct err *err, const char *what)
{
	if (err->status != ERR_NETWORK)
		die("%s: %s", what, err->text);
	return true;
}

static void *pushing(void *arg)
{
	struct api *api = api_to(t.admin);
	uint8_t *bytes = malloc(UPLOAD_BYTES);
	struct err err;
	(void)arg;
	while (bytes && t.upload_count < NAMES) {
		struct digest digest;
		randombytes_buf(bytes, UPLOAD_BYTES);
		digest_of(&digest, bytes, UPLOAD_BYTES);
		if (upload(api, &digest, bytes, &err) && gone(&err, "upload"))
			break;
		t.uploads[t.upload_count++] = digest;
		if (publish(api, t.releases, &digest, &err) && gone(&err, "publish"))
			break;
		t.releases++;
	}
	free(bytes);
	api_close(api);
	return NULL;
}

static void add_report(char *out)
{
	uint8_t nonce[16];
	char text[32];
	randombytes_buf(nonce, sizeof(nonce));
	sodium_bin2base64(text, sizeof(text), nonce, sizeof(nonce), sodium_base64_VARIANT_ORIGINAL);
	snprintf(out, REPORT_ROOM,
		 "{\"schema\":1,\"kind\":\"usage\",\"nonce\":\"%s\",\"channel\":\"stable\","
		 "\"class\":\"default\",\"os_major\":15,\"day\":%lld,\"day_first\":true,"
		 "\"entries\":[{\"model\":\"assistant\",\"variant\":\"assistant@1.0.0/raw\","
		 "\"used\":1,\"hit\":{},\"n\":{\"requests\":1},\"h\":{}}]}\n",
		 text, t.day);
}

static void make_body(struct sender *sender)
{
	char *at = sender->body;
	sender->reports = sender->relay ? RELAYED : 1;
	for (unsigned i = 0; i < sender->reports; i++, at += strlen(at))
		add_report(at);
}

static int send_body(struct api *api, const struct sender *sender, const char *body,
		     struct err *err)
{
	struct api_reply reply;
	const struct api_request q = {
		.method = "POST",
		.path = sender->relay ? "/v1/telemetry/batch" : "/v1/telemetry",
		.bytes = body,
		.len = strlen(body),
		.headers = {"Content-Type: application/json"}};
	if (api_call(api, &q, &reply, err))
		return -1;
	api_reply_done(&reply);
	return 0;
}

/* What was acknowledged in the life before is sent once more, and must not count again. */
static void *reporting(void *arg)
{
	struct sender *sender = arg;
	struct api *api;
	struct err err;
	const struct api_options options = {.server = t.device,
					    .token_file = sender->relay ? t.relay_token : NULL,
					    .timeout_s = 30};
	if (api_open(&api, &options, &err))
		die("%s", err.text);
	bool alive = true;
	if (sender->before[0]) {
		alive = !send_body(api, sender, sender->before, &err) || !gone(&err, "again");
		sender->repeated += alive ? sender->reports : 0;
	}
	while (alive) {
		if (!sender->pending)
			make_body(sender);
		sender->pending = true;
		if (send_body(api, sender, sender->body, &err) && gone(&err, "telemetry"))
			break;
		sender->pending = false;
		strcpy(sender->before, sender->body);
		sender->acknowledged += sender->reports;
	}
	api_close(api);
	return NULL;
}

static int start_rollout(struct api *api, struct err *err)
{
	json_auto_t *order = json_pack("{s:s, s:s, s:s, s:b}", "model", "assistant", "release",
				       "1.0.1", "channel", "stable", "retry", 1);
	json_auto_t *made = NULL;
	if (api_send(api, "POST", "/admin/v1/rollouts", order, &made, err))
		return -1;
	snprintf(t.rollout, sizeof(t.rollout), "%s",
		 json_string_value(json_object_get(made, "id")));
	return 0;
}

static int abort_rollout(struct api *api, struct err *err)
{
	char path[200];
	snprintf(path, sizeof(path), "/admin/v1/rollouts/%s/abort", t.rollout);
	return api_send(api, "POST", path, NULL, NULL, err);
}

static void *rolling(void *arg)
{
	struct api *api = api_to(t.admin);
	struct err err;
	(void)arg;
	for (;;) {
		const bool start = t.lane != LANE_STARTED;
		t.lane_unknown = true;
		if ((start ? start_rollout(api, &err) : abort_rollout(api, &err)) &&
		    gone(&err, start ? "start" : "abort"))
			break;
		t.lane_unknown = false;
		t.lane = start ? LANE_STARTED : LANE_ABORTED;
		t.actions++;
	}
	api_close(api);
	return NULL;
}

/* ---- what must be there afterwards ---- */

static void check_uploads(struct api *api)
{
	struct err err;
	for (; t.uploads_checked < t.upload_count; t.uploads_checked++) {
		char path[200], hex[DIGEST_HEX];
		digest_hex(&t.uploads[t.uploads_checked], hex);
		snprintf(path, sizeof(path), "/admin/v1/store/files/%s", hex);
		if (api_get(api, path, NULL, &err))
			die("upload %u was acknowledged and is gone: %s", t.uploads_checked, err.text);
	}
}

static void check_blob(const struct digest *want)
{
	char path[120], hex[DIGEST_HEX];
	struct digest have;
	struct err err;
	struct api_reply reply;
	AUTO(api_close) struct api *device = api_to(t.device);
	digest_hex(want, hex);
	snprintf(path, sizeof(path), "/v1/blobs/sha256:%s", hex);
	const struct api_request q = {.method = "GET", .path = path};
	if (api_call(device, &q, &reply, &err))
		die("blob %s: %s", hex, err.text);
	digest_of(&have, reply.body.data, reply.body.len);
	api_reply_done(&reply);
	if (!digest_eq(&have, want))
		die("blob %s is torn", hex);
}

static void check_releases(struct api *api)
{
	char path[200];
	struct err err;
	json_auto_t *release = NULL;
	if (!t.releases)
		return;
	snprintf(path, sizeof(path), "/admin/v1/models/assistant/releases/1.0.%u", t.releases - 1);
	if (api_get(api, path, &release, &err) ||
	    strcmp(json_string_value(json_object_get(release, "state")), "published") != 0)
		die("release 1.0.%u was published and is not", t.releases - 1);
}

/* Whether a rollout is under way, by its row and by what is published: the two must agree. */
static bool under_way(struct api *api, char id[65])
{
	struct err err;
	json_auto_t *list = NULL, *manifest = NULL;
	if (api_get(api, "/admin/v1/rollouts", &list, &err) ||
	    api_get(api, "/admin/v1/manifests/stable/default", &manifest, &err))
		die("rollouts: %s", err.text);
	const json_t *newest = json_array_get(json_object_get(list, "items"), 0);
	const char *state = json_string_value(json_object_get(newest, "state"));
	const bool active = state && !strcmp(state, "active");
	json_t *signed_part = json_object_get(manifest, "signed");
	const json_t *model = json_object_get(
		json_object_get(json_object_get(signed_part, "flotilla"), "models"), "assistant");
	const bool named = json_object_get(model, "rollout") != NULL;
	if (active != named)
		die("the rollout is %s and the manifest %s it", active ? "active" : "over",
		    named ? "names" : "does not name");
	snprintf(id, 65, "%s", newest ? json_string_value(json_object_get(newest, "id")) : "");
	return active;
}

static void check_lane(struct api *api)
{
	char id[65];
	const bool active = under_way(api, id);
	if (!t.lane_unknown && active != (t.lane == LANE_STARTED))
		die("rollout %s: an acknowledged %s is lost", id, active ? "abort" : "start");
	snprintf(t.rollout, sizeof(t.rollout), "%s", id);
	t.lane = active ? LANE_STARTED : LANE_ABORTED;
	t.lane_unknown = false;
}

static void check_versions(void)
{
	struct err err;
	json_auto_t *doc = NULL;
	AUTO(api_close) struct api *device = api_to(t.device);
	if (api_get(device, "/v1/c/stable/default/tuf/timestamp.json", &doc, &err))
		die("timestamp: %s", err.text);
	const int64_t version = json_integer_value(
		json_object_get(json_object_get(doc, "signed"), "version"));
	if (version < t.timestamp)
		die("the timestamp went back from %lld to %lld", (long long)t.timestamp,
		    (long long)version);
	t.timestamp = version;
}

static unsigned acknowledged(void)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < SENDERS; i++)
		sum += t.senders[i].acknowledged;
	return sum;
}

/* What was sent and not answered counts as a whole or not at all. */
static bool explained(unsigned more)
{
	unsigned singles = 0;
	for (unsigned i = 0; i < SENDERS - 1; i++)
		singles += t.senders[i].pending;
	if (t.senders[SENDERS - 1].pending && more >= RELAYED)
		more -= RELAYED;
	return more <= singles;
}

/* Every report exactly once, whatever was sent again. */
static void check_census(struct api *api)
{
	size_t i;
	struct err err;
	const json_t *item;
	json_int_t devices = 0;
	json_auto_t *census = NULL;
	const unsigned known = acknowledged();
	if (known < SHOWN_FROM)
		return;
	char path[64];
	snprintf(path, sizeof(path), "/admin/v1/fleet/census?channel=stable&day=%lld", t.day);
	if (api_get(api, path, &census, &err))
		die("census: %s", err.text);
	json_array_foreach (json_object_get(census, "items"), i, item)
		devices += json_integer_value(json_object_get(item, "devices"));
	if (devices < known || !explained((unsigned)(devices - known)))
		die("%u reports were acknowledged, the census counts %lld", known,
		    (long long)devices);
}

static void check_all(void)
{
	AUTO(api_close) struct api *api = api_to(t.admin);
	const unsigned first = t.uploads_checked;
	check_uploads(api);
	if (t.upload_count > first)
		check_blob(&t.uploads[t.upload_count - 1]);
	check_releases(api);
	if (t.releases > 1)
		check_lane(api);
	check_versions();
	check_census(api);
}

/* ---- rounds ---- */

/* A token into a file, as the client takes it. */
static void make_token(struct api *api, const char *path, const char *role, int uploads)
{
	struct err err;
	json_auto_t *order = json_pack("{s:s, s:s, s:i}", "name", role, "role", role, "uploads", uploads);
	json_auto_t *made = NULL;
	if (api_send(api, "POST", "/admin/v1/tokens", order, &made, &err))
		die("token: %s", err.text);
	const char *token = json_string_value(json_object_get(made, "token"));
	if (!token || file_write(path, token, strlen(token), 0600, &err))
		die("token: %s", token ? err.text : "none");
}

/* The relay has its own; and whoever is killed so often leaves more uploads open, whose ids were never
 * told, than are usually allowed. */
static void make_tokens(struct api *api)
{
	snprintf(t.relay_token, sizeof(t.relay_token), "%s/relay.token", t.dir);
	make_token(api, t.relay_token, "relay", 1);
	t.senders[SENDERS - 1].relay = true;
	snprintf(t.token, sizeof(t.token), "%s/often.token", t.dir);
	make_token(api, t.token, "admin", 10000);
}

static void first_steps(void)
{
	struct err err;
	AUTO(api_close) struct api *api = api_to(t.admin);
	json_auto_t *model = json_pack("{s:s}", "name", "assistant");
	json_auto_t *stable = json_pack("{s:s, s:s}", "release", "1.0.0", "channel", "stable");
	uint8_t *bytes = malloc(UPLOAD_BYTES);
	if (!bytes || api_send(api, "POST", "/admin/v1/models", model, NULL, &err))
		die("%s", bytes ? err.text : "out of memory");
	for (unsigned i = 0; i < 2; i++) {
		randombytes_buf(bytes, UPLOAD_BYTES);
		digest_of(&t.uploads[t.upload_count], bytes, UPLOAD_BYTES);
		if (upload(api, &t.uploads[t.upload_count], bytes, &err) ||
		    publish(api, i, &t.uploads[t.upload_count], &err))
			die("%s", err.text);
		t.upload_count++;
		t.releases++;
	}
	free(bytes);
	make_tokens(api);
	if (api_send(api, "POST", "/admin/v1/models/assistant/bootstrap", stable, NULL, &err))
		die("%s", err.text);
}

static void one_round(void)
{
	void *(*const others[])(void *) = {pushing, rolling};
	pthread_t threads[COUNT_OF(others) + SENDERS];
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		if (i < SENDERS ? pthread_create(&threads[i], NULL, reporting, &t.senders[i])
				: pthread_create(&threads[i], NULL, others[i - SENDERS], NULL))
			die("cannot start a thread");
	clock_sleep_ms(LIFE_LEAST_MS + below(LIFE_MOST_MS - LIFE_LEAST_MS));
	kill_daemon();
	for (unsigned i = 0; i < COUNT_OF(threads); i++)
		pthread_join(threads[i], NULL);
	start_daemon();
	check_all();
}

static unsigned repeated(void)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < SENDERS; i++)
		sum += t.senders[i].repeated;
	return sum;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		die("usage: kill_loop BIN ROUNDS SEED");
	const int rounds = atoi(argv[2]);
	const char *tmp = getenv("TMPDIR");
	signal(SIGPIPE, SIG_IGN);
	t.bin = argv[1];
	t.day = clock_wall_ms() / 86400000 - 1;
	t.random = strtoull(argv[3], NULL, 10);
	snprintf(t.dir, sizeof(t.dir), "%.40s/flotilla-kill.XXXXXX", tmp ? tmp : "/tmp");
	if (sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) || !mkdtemp(t.dir))
		die("cannot start");
	snprintf(t.log, sizeof(t.log), "%s/flotillad.log", t.dir);
	snprintf(t.max_nonces, sizeof(t.max_nonces), "%d", NONCES_A_ROUND * (rounds + 10));
	init_data();
	start_daemon();
	first_steps();
	for (int i = 0; i < rounds; i++)
		one_round();
	if (acknowledged() < SHOWN_FROM)
		die("only %u reports were acknowledged: too few to tell", acknowledged());
	kill_daemon();
	char command[100];
	snprintf(command, sizeof(command), "rm -rf %s", t.dir);
	printf("%d kills: %u uploads, %u releases, %u reports (%u of them relayed, %u sent again later)"
	       " and %u rollout actions acknowledged, none lost, none counted twice\n",
	       rounds, t.upload_count, t.releases, acknowledged(),
	       t.senders[SENDERS - 1].acknowledged, repeated(), t.actions);
	return system(command) ? 1 : 0;
}
