/* A file as one stream, which the daemon cuts. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/push_internal.h"
#include "cli/sender.h"

#include <stdlib.h>
#include <string.h>

#define READ_BYTES (1 << 20)
#define BACK_OFF_MS 16000

struct stream {
	struct cli *cli;
	struct api *api;
	struct push_file file;
	char path[256]; /* of the upload */
	int64_t offset; /* where the daemon stands */
	int64_t sent;	/* bytes, those that were lost included */
	int64_t trying; /* bytes of the try under way */
	struct progress progress;
};

static void on_sent(void *arg, int64_t sent)
{
	struct stream *s = arg;
	s->trying = sent;
	progress_set(&s->progress, s->offset + sent);
}

static int hash_file(struct stream *s, struct digest *ret, struct err *err)
{
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	AUTO_FREE uint8_t *buffer = malloc(READ_BYTES);
	if (!ctx || !buffer)
		return err_nomem(err);
	progress_start(&s->progress, s->cli, "reading", s->file.length);
	for (int64_t at = 0; at < s->file.length;) {
		const int64_t left = s->file.length - at;
		const size_t len = left < READ_BYTES ? (size_t)left : READ_BYTES;
		if (file_pread_all(s->file.fd, buffer, len, at, err))
			return err_in(err, "%s", s->file.path);
		digest_add(ctx, buffer, len);
		at += (int64_t)len;
		progress_set(&s->progress, at);
	}
	progress_end(&s->progress);
	digest_end(ctx, ret);
	return 0;
}

/* ---- the stream ---- */

static int ask_offset(struct stream *s, struct err *err)
{
	struct api_reply reply;
	json_auto_t *state = NULL;
	const struct api_request q = {
		.method = "GET", .path = s->path, .patience_s = PATIENCE_S};
	if (api_call(s->api, &q, &reply, err))
		return -1;
	state = json_parse(reply.body.data ? reply.body.data : "", reply.body.len,
			   "the daemon's reply", err);
	api_reply_done(&reply);
	if (!state)
		return -1;
	s->offset = json_integer_value(json_object_get(state, "offset"));
	return 0;
}

static int send_rest(struct stream *s, struct err *err)
{
	char header[64];
	struct api_reply reply;
	FILE *file = fopen(s->file.path, "rb");
	if (!file)
		return err_sys(err, "%s", s->file.path);
	snprintf(header, sizeof(header), "Upload-Offset: %lld", (long long)s->offset);
	const struct api_request q = {.method = "PATCH",
				      .path = s->path,
				      .file = file,
				      .file_at = s->offset,
				      .file_len = s->file.length - s->offset,
				      .headers = {header},
				      .progress = on_sent,
				      .progress_arg = s};
	s->trying = 0;
	const int bad = api_call(s->api, &q, &reply, err);
	fclose(file);
	if (!bad) {
		s->trying = q.file_len;
		api_reply_done(&reply);
	}
	s->sent += s->trying;
	return bad;
}

static void tell_waiting(const struct stream *s, const struct err *err)
{
	char text[sizeof(err->text) + 100];
	snprintf(text, sizeof(text), "%s; waiting up to %d s; once interrupted, the same command goes on "
		 "where it was", err->text, PATIENCE_S);
	cli_waits(s->cli, text);
}

/* Broken off, or another connection still holds the upload: the daemon tells where to go on.
 * Patience begins anew with every byte that arrived. */
static int stream_all(struct stream *s, struct err *err)
{
	int64_t since = clock_monotonic_ms(), stood = -1, wait = 500;
	for (;;) {
		if (ask_offset(s, err))
			return -1;
		if (s->offset >= s->file.length)
			return 0;
		if (s->offset > stood) {
			since = clock_monotonic_ms();
			wait = 500;
		}
		stood = s->offset;
		if (!send_rest(s, err))
			continue;
		const bool passing = err->status == ERR_NETWORK || err->status == ERR_BUSY ||
				     err->status == ERR_CONFLICT;
		if (!passing || clock_monotonic_ms() + wait > since + 1000 * PATIENCE_S)
			return -1;
		tell_waiting(s, err);
		clock_sleep_ms(wait);
		wait = wait * 2 < BACK_OFF_MS ? wait * 2 : BACK_OFF_MS;
	}
}

/* ---- before and after ---- */

/* The daemon goes on with an upload of the same file that was broken off. */
static int create(struct stream *s, const char *hex, struct err *err)
{
	json_auto_t *reply = NULL, *body = json_pack("{s:I, s:s}", "length",
						     (json_int_t)s->file.length, "sha256", hex);
	if (api_send(s->api, "POST", "/admin/v1/store/uploads", body, &reply, err))
		return -1;
	const char *id = json_string_value(json_object_get(reply, "id"));
	if (!id)
		return err_set(err, ERR_CORRUPT, "the daemon gave no upload id");
	snprintf(s->path, sizeof(s->path), "/admin/v1/store/uploads/%.64s", id);
	return 0;
}

static int finish(struct stream *s, const char *hex, struct push_result *result, struct err *err)
{
	char path[300];
	struct api_reply reply;
	json_auto_t *body = json_pack("{s:s}", "sha256", hex);
	snprintf(path, sizeof(path), "%s/finish", s->path);
	const struct api_request q = {.method = "POST",
				      .path = path,
				      .json = body,
				      .timeout_s = PUSH_CHECK_S(s->file.length),
				      .patience_s = PATIENCE_S};
	if (api_call(s->api, &q, &reply, err))
		return -1;
	const int bad = push_read_result(result, reply.body.data, reply.body.len, err);
	api_reply_done(&reply);
	return bad;
}

static int push_stream(struct stream *s, struct push_result *result, struct err *err)
{
	struct digest sha256;
	char hex[DIGEST_HEX];
	if (hash_file(s, &sha256, err))
		return -1;
	digest_hex(&sha256, hex);
	if (create(s, hex, err))
		return -1;
	progress_start(&s->progress, s->cli, "sending", s->file.length);
	const int bad = stream_all(s, err);
	progress_end(&s->progress);
	return bad ? -1 : finish(s, hex, result, err);
}

int push_raw(struct cli *cli, struct api *api, const char *path, struct push_result *ret_result,
	     struct err *err)
{
	struct stream s = {.cli = cli, .api = api, .file = {.fd = -1}};
	struct push_result result = {.length = 0};
	const int bad = push_open(&s.file, path, err) || push_stream(&s, &result, err);
	push_close(&s.file);
	if (bad)
		return -1;
	result.sent = s.sent;
	*ret_result = result;
	return 0;
}
