#include "cli/push.h"

#include "base/file.h"
#include "base/json.h"
#include "store/codec.h"
#include "store/format.h"
#include "store/pack.h"
#include "store/recipe.h"
#include "store/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES (1 << 20)

/* One push under way. */
struct push {
	struct cli *cli;
	struct api *api;
	const char *path;
	int fd;
	int64_t length;
	struct recipe *recipe;
	uint8_t *missing; /* bitmap over the recipe's chunks */
	struct encoder *encoder;
	struct progress progress;
	struct push_result result;
	int64_t done; /* raw bytes looked at, for progress */
};

static int open_file(struct push *p, struct err *err)
{
	struct stat st;
	p->fd = open(p->path, O_RDONLY | O_CLOEXEC);
	if (p->fd < 0 || fstat(p->fd, &st))
		return err_sys(err, "%s", p->path);
	if (!S_ISREG(st.st_mode) || !st.st_size)
		return err_set(err, ERR_INVALID, "%s: not a file, or empty", p->path);
	p->length = st.st_size;
	return 0;
}

/* ---- first pass: cut and hash ---- */

static void have_read(void *arg, uint64_t bytes)
{
	struct push *p = arg;
	progress_set(&p->progress, (int64_t)bytes);
}

static int cut_file(struct push *p, struct err *err)
{
	const struct source source = source_fd(&p->fd, (uint64_t)p->length);
	progress_start(&p->progress, p->cli, "reading", p->length);
	const int bad = survey_source(&source, have_read, p, &p->recipe, err);
	progress_end(&p->progress);
	return bad ? err_in(err, "%s", p->path) : 0;
}

/* ---- what is missing ---- */

static bool is_missing(const struct push *p, uint32_t i)
{
	return p->missing[i / 8] >> (i % 8) & 1;
}

static int ask_missing(struct push *p, struct err *err)
{
	const uint32_t count = p->recipe->count;
	uint8_t *digests = malloc((size_t)count * DIGEST_LEN);
	struct api_reply reply;
	if (!digests)
		return err_nomem(err);
	for (uint32_t i = 0; i < count; i++)
		memcpy(digests + (size_t)i * DIGEST_LEN, p->recipe->chunks[i].digest.bytes,
		       DIGEST_LEN);
	const struct api_request q = {.method = "POST", .path = "/admin/v1/store/missing",
				      .bytes = digests, .len = (size_t)count * DIGEST_LEN};
	int bad = api_call(p->api, &q, &reply, err);
	free(digests);
	if (bad)
		return -1;
	if (reply.body.len != (count + 7) / 8) {
		api_reply_done(&reply);
		return err_set(err, ERR_CORRUPT, "the daemon's bitmap has %zu bytes for %u chunks",
			       reply.body.len, count);
	}
	size_t len;
	p->missing = (uint8_t *)buf_take(&reply.body, &len);
	for (uint32_t i = 0; i < count; i++)
		p->result.missing += is_missing(p, i);
	return 0;
}

/* ---- second pass: encode and send ---- */

/* A pack being filled: an unlinked temporary file. */
struct filling {
	int fd;
	struct pack_writer *writer;
};

static void filling_done(struct filling *f)
{
	pack_writer_free(f->writer);
	if (f->fd >= 0)
		close(f->fd);
	*f = (struct filling){.fd = -1};
}

static int filling_new(struct filling *f, struct err *err)
{
	const char *tmp = getenv("TMPDIR");
	char path[4096];
	snprintf(path, sizeof(path), "%s/flotilla-pack-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	f->fd = mkostemp(path, O_CLOEXEC);
	if (f->fd < 0)
		return err_sys(err, "temporary file %s", path);
	unlink(path);
	f->writer = pack_writer_new(sink_fd(&f->fd));
	return f->writer ? 0 : err_nomem(err);
}

static int send_pack(struct push *p, struct filling *f, struct err *err)
{
	char path[128], hex[DIGEST_HEX];
	struct digest name;
	uint32_t bytes;
	struct api_reply reply;
	if (pack_writer_finish(f->writer, &name, &bytes, err))
		return -1;
	digest_hex(&name, hex);
	snprintf(path, sizeof(path), "/admin/v1/store/packs/%s", hex);
	FILE *file = fdopen(dup(f->fd), "rb");
	if (!file || fseek(file, 0, SEEK_SET)) {
		if (file)
			fclose(file);
		return err_sys(err, "temporary file");
	}
	const struct api_request q = {
		.method = "PUT", .path = path, .file = file, .file_len = bytes};
	int bad = api_call(p->api, &q, &reply, err);
	fclose(file);
	if (bad)
		return err_in(err, "pack %s", hex);
	api_reply_done(&reply);
	p->result.sent += bytes;
	filling_done(f);
	return 0;
}

static int add_chunk(struct push *p, struct filling *f, uint32_t i, uint8_t *raw,
		     struct err *err)
{
	const struct recipe_chunk *c = &p->recipe->chunks[i];
	struct coded coded;
	if (file_pread_all(p->fd, raw, c->len, (int64_t)c->at, err) ||
	    codec_encode(p->encoder, c->type, raw, c->len, &coded, err))
		return err_in(err, "%s", p->path);
	if (f->writer && !pack_writer_fits(f->writer, coded.len) && send_pack(p, f, err))
		return -1;
	if (!f->writer && filling_new(f, err))
		return -1;
	return pack_writer_add(f->writer, &c->digest, c->len, &coded, NULL, err);
}

/* Chunks that stand twice in the file are sent once. */
static bool first_of_its_kind(const struct push *p, uint32_t i)
{
	for (uint32_t k = i > 64 ? i - 64 : 0; k < i; k++)
		if (digest_eq(&p->recipe->chunks[k].digest, &p->recipe->chunks[i].digest))
			return false;
	return true;
}

static int send_missing(struct push *p, struct err *err)
{
	struct filling f = {.fd = -1};
	uint8_t *raw = malloc(CHUNK_RAW_MAX);
	int bad = raw ? 0 : err_nomem(err);
	progress_start(&p->progress, p->cli, "sending", p->length);
	for (uint32_t i = 0; !bad && i < p->recipe->count; i++) {
		if (is_missing(p, i) && first_of_its_kind(p, i))
			bad = add_chunk(p, &f, i, raw, err);
		p->done += p->recipe->chunks[i].len;
		progress_set(&p->progress, p->done);
	}
	if (!bad && f.writer)
		bad = send_pack(p, &f, err);
	filling_done(&f);
	free(raw);
	progress_end(&p->progress);
	return bad;
}

/* ---- the recipe ---- */

static int read_result(struct push_result *r, const char *bytes, size_t len, struct err *err)
{
	const char *format = NULL;
	json_auto_t *doc = json_parse(bytes ? bytes : "", len, "the daemon's reply", err);
	const struct json_field fields[] = {
		FIELD_DIGEST("recipe", &r->recipe), FIELD_DIGEST("sha256", &r->sha256),
		FIELD_INT("length", &r->length), FIELD_INT("stored", &r->stored),
		FIELD_TEXT("format", &format, .max = 31)};
	if (!doc || json_read_loose(doc, fields, COUNT_OF(fields), err))
		return -1;
	snprintf(r->format, sizeof(r->format), "%s", format);
	return 0;
}

static int send_recipe(struct push *p, struct err *err)
{
	AUTO_BUF struct buf bytes = BUF_INIT(RECIPE_BYTES_MAX);
	struct digest name;
	struct api_reply reply;
	if (recipe_encode(p->recipe, &bytes, &name, err) || buf_ok(&bytes, "recipe", err))
		return -1;
	const struct api_request q = {.method = "POST", .path = "/admin/v1/store/recipes",
				      .bytes = bytes.data, .len = bytes.len};
	if (api_call(p->api, &q, &reply, err))
		return -1;
	int bad = read_result(&p->result, reply.body.data, reply.body.len, err);
	api_reply_done(&reply);
	if (!bad && !digest_eq(&p->result.sha256, &p->recipe->sha256))
		return err_set(err, ERR_CORRUPT, "the daemon stored another file than was sent");
	p->result.chunks = p->recipe->count;
	return bad;
}

static void push_done(struct push *p)
{
	recipe_free(p->recipe);
	encoder_free(p->encoder);
	free(p->missing);
	if (p->fd >= 0)
		close(p->fd);
}

int push_file(struct cli *cli, struct api *api, const char *path, struct push_result *ret_result,
	      struct err *err)
{
	struct push p = {.cli = cli, .api = api, .path = path, .fd = -1,
			 .encoder = encoder_new()};
	int bad = p.encoder ? open_file(&p, err) : err_nomem(err);
	bad = bad || cut_file(&p, err) || ask_missing(&p, err) || send_missing(&p, err) ||
	      send_recipe(&p, err);
	push_done(&p);
	if (bad)
		return -1;
	*ret_result = p.result;
	return 0;
}

/* ---- raw ---- */

struct streaming {
	struct progress *progress;
	int64_t base;
};

static void on_sent(void *arg, int64_t sent)
{
	const struct streaming *s = arg;
	progress_set(s->progress, s->base + sent);
}

static int hash_file(struct push *p, struct digest *ret, struct err *err)
{
	AUTO(digest_free) struct digest_ctx *ctx = digest_begin();
	uint8_t *buffer = malloc(READ_BYTES);
	int bad = ctx && buffer ? 0 : err_nomem(err);
	for (int64_t at = 0; !bad && at < p->length;) {
		const int64_t left = p->length - at;
		const size_t len = left < READ_BYTES ? (size_t)left : READ_BYTES;
		bad = file_pread_all(p->fd, buffer, len, at, err);
		if (!bad)
			digest_add(ctx, buffer, len);
		at += (int64_t)len;
	}
	free(buffer);
	if (!bad)
		digest_end(ctx, ret);
	return bad;
}

static int stream_from(struct push *p, const char *id, int64_t offset, struct err *err)
{
	char path[256], header[64];
	struct api_reply reply;
	struct streaming s = {&p->progress, offset};
	FILE *file = fopen(p->path, "rb");
	if (!file || fseeko(file, (off_t)offset, SEEK_SET)) {
		if (file)
			fclose(file);
		return err_sys(err, "%s", p->path);
	}
	snprintf(path, sizeof(path), "/admin/v1/store/uploads/%s", id);
	snprintf(header, sizeof(header), "Upload-Offset: %lld", (long long)offset);
	const struct api_request q = {.method = "PATCH", .path = path, .file = file,
				      .file_len = p->length - offset, .headers = {header},
				      .progress = on_sent, .progress_arg = &s};
	int bad = api_call(p->api, &q, &reply, err);
	fclose(file);
	if (!bad)
		api_reply_done(&reply);
	return bad;
}

/* Send the rest, again from where the daemon stands, a few times. */
static int stream(struct push *p, const char *id, struct err *err)
{
	char path[256];
	int bad = -1;
	snprintf(path, sizeof(path), "/admin/v1/store/uploads/%s", id);
	for (unsigned tries = 0; bad && tries < 5; tries++) {
		json_auto_t *state = NULL;
		if (api_get(p->api, path, &state, err))
			return -1;
		const int64_t offset = json_integer_value(json_object_get(state, "offset"));
		if (offset >= p->length)
			return 0;
		bad = stream_from(p, id, offset, err);
		if (bad && err->status != ERR_NETWORK)
			return -1;
	}
	return bad;
}

static int stream_all(struct push *p, const struct digest *sha256, struct err *err)
{
	char hex[DIGEST_HEX], path[256];
	json_auto_t *upload = NULL, *done = NULL;
	digest_hex(sha256, hex);
	json_auto_t *create = json_pack("{s:I, s:s}", "length", (json_int_t)p->length, "sha256", hex);
	if (api_send(p->api, "POST", "/admin/v1/store/uploads", create, &upload, err))
		return -1;
	const char *id = json_string_value(json_object_get(upload, "id"));
	if (!id)
		return err_set(err, ERR_CORRUPT, "the daemon gave no upload id");
	progress_start(&p->progress, p->cli, "sending", p->length);
	int bad = stream(p, id, err);
	progress_end(&p->progress);
	snprintf(path, sizeof(path), "/admin/v1/store/uploads/%s/finish", id);
	json_auto_t *finish = json_pack("{s:s}", "sha256", hex);
	if (bad || api_send(p->api, "POST", path, finish, &done, err))
		return -1;
	char *text = json_text(done);
	bad = text ? read_result(&p->result, text, strlen(text), err) : err_nomem(err);
	free(text);
	p->result.sent = p->length;
	return bad;
}

int push_raw(struct cli *cli, struct api *api, const char *path, struct push_result *ret_result,
	     struct err *err)
{
	struct push p = {.cli = cli, .api = api, .path = path, .fd = -1};
	struct digest sha256;
	int bad = open_file(&p, err) || hash_file(&p, &sha256, err) ||
		  stream_all(&p, &sha256, err);
	push_done(&p);
	if (bad)
		return -1;
	*ret_result = p.result;
	return 0;
}
