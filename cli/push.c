#include "cli/push_internal.h"

#include "base/file.h"
#include "base/json.h"
#include "base/map.h"
#include "cli/local.h"
#include "cli/sender.h"
#include "store/codec.h"
#include "store/format.h"
#include "store/pack.h"
#include "store/recipe.h"
#include "store/survey.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One push under way. */
struct push {
	struct cli *cli;
	struct api *api;
	struct push_file file;
	int64_t pack; /* bytes after which one is sent */
	struct recipe *recipe;
	uint8_t *missing; /* bitmap over the recipe's chunks, each content once */
	int64_t missing_raw; /* bytes of those */
	struct encoder *encoder;
	struct sender *sender;
	struct progress progress;
	char label[25];
	struct push_result result;
};

int push_open(struct push_file *file, const char *path, struct err *err)
{
	uint64_t bytes;
	file->path = path;
	if (local_open(path, &file->fd, &bytes, err))
		return -1;
	file->length = (int64_t)bytes;
	return bytes ? 0 : err_set(err, ERR_INVALID, "%s is empty", path);
}

void push_close(struct push_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

/* ---- first pass: cut and hash ---- */

static void have_read(void *arg, uint64_t bytes)
{
	struct push *p = arg;
	progress_set(&p->progress, (int64_t)bytes);
}

static int cut_file(struct push *p, struct err *err)
{
	const struct source source = source_fd(&p->file.fd, (uint64_t)p->file.length);
	progress_start(&p->progress, p->cli, "reading", p->file.length);
	const int bad = survey_source(&source, have_read, p, &p->recipe, err);
	progress_end(&p->progress);
	return bad ? err_in(err, "%s", p->file.path) : 0;
}

/* ---- what is missing ---- */

static bool is_missing(const struct push *p, uint32_t i)
{
	return p->missing[i / 8] >> (i % 8) & 1;
}

/* Chunks that stand twice in the file are sent once. */
static int count_missing(struct push *p, struct err *err)
{
	AUTO(map_free) struct map *seen = map_new(NULL);
	if (!seen)
		return err_nomem(err);
	for (uint32_t i = 0; i < p->recipe->count; i++) {
		const struct recipe_chunk *c = &p->recipe->chunks[i];
		if (!is_missing(p, i))
			continue;
		if (map_get(seen, c->digest.bytes, DIGEST_LEN)) {
			p->missing[i / 8] &= (uint8_t)~(1u << i % 8);
			continue;
		}
		if (map_put(seen, c->digest.bytes, DIGEST_LEN, seen))
			return err_nomem(err);
		p->result.missing++;
		p->missing_raw += c->len;
	}
	return 0;
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
				      .bytes = digests, .len = (size_t)count * DIGEST_LEN,
				      .timeout_s = PUSH_CHECK_S(p->file.length),
				      .patience_s = PATIENCE_S};
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
	return count_missing(p, err);
}

/* ---- second pass: encode and send ---- */

/* A pack being filled: an unlinked temporary file. */
struct filling {
	int fd;
	struct pack_writer *writer;
	int64_t stored, raw; /* bytes in it */
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

/* Hands the pack over; returns when one of the connections has it. */
static int send_pack(struct push *p, struct filling *f, struct err *err)
{
	char hex[DIGEST_HEX];
	struct digest name;
	uint32_t bytes;
	struct parcel parcel = {.raw = f->raw};
	if (pack_writer_finish(f->writer, &name, &bytes, err))
		return -1;
	digest_hex(&name, hex);
	snprintf(parcel.path, sizeof(parcel.path), "/admin/v1/store/packs/%s", hex);
	parcel.len = bytes;
	parcel.file = fdopen(f->fd, "rb");
	if (!parcel.file)
		return err_sys(err, "temporary file");
	f->fd = -1;
	filling_done(f);
	return sender_put(p->sender, &parcel, err);
}

static int add_chunk(struct push *p, struct filling *f, uint32_t i, uint8_t *raw,
		     struct err *err)
{
	const struct recipe_chunk *c = &p->recipe->chunks[i];
	struct coded coded;
	if (file_pread_all(p->file.fd, raw, c->len, (int64_t)c->at, err) ||
	    codec_encode(p->encoder, c->type, raw, c->len, &coded, err))
		return err_in(err, "%s", p->file.path);
	if (f->writer &&
	    (f->stored + coded.len > p->pack || !pack_writer_fits(f->writer, coded.len)) &&
	    send_pack(p, f, err))
		return -1;
	if (!f->writer && filling_new(f, err))
		return -1;
	f->stored += coded.len;
	f->raw += c->len;
	return pack_writer_add(f->writer, &c->digest, c->len, &coded, NULL, err);
}

static void show_sent(void *arg)
{
	struct push *p = arg;
	int64_t sent, raw;
	sender_sums(p->sender, &sent, &raw);
	progress_set(&p->progress, raw);
}

static int send_chunks(struct push *p, struct err *err)
{
	struct filling f = {.fd = -1};
	uint8_t *raw = malloc(CHUNK_RAW_MAX);
	int bad = raw ? 0 : err_nomem(err);
	for (uint32_t i = 0; !bad && i < p->recipe->count; i++) {
		if (!is_missing(p, i))
			continue;
		bad = add_chunk(p, &f, i, raw, err);
		show_sent(p);
	}
	if (!bad && f.writer)
		bad = send_pack(p, &f, err);
	filling_done(&f);
	free(raw);
	return bad;
}

/* Only what the daemon lacks is in the bar; what it has is told beside it. */
static int send_missing(struct push *p, struct err *err)
{
	int64_t raw;
	if (!p->missing_raw)
		return 0;
	if (sender_open(&p->sender, p->api, show_sent, p, err))
		return -1;
	const double known = 1 - (double)p->missing_raw / (double)p->file.length;
	snprintf(p->label, sizeof(p->label), known >= 0.001 ? "sending, %.1f %% there" : "sending",
		 100 * known);
	progress_start(&p->progress, p->cli, p->label, p->missing_raw);
	const int bad = send_chunks(p, err) || sender_drain(p->sender, err);
	sender_sums(p->sender, &p->result.sent, &raw);
	progress_end(&p->progress);
	return bad ? -1 : 0;
}

/* ---- the recipe ---- */

int push_read_result(struct push_result *r, const char *bytes, size_t len, struct err *err)
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
				      .bytes = bytes.data, .len = bytes.len,
				      .timeout_s = PUSH_CHECK_S(p->file.length),
				      .patience_s = PATIENCE_S};
	if (api_call(p->api, &q, &reply, err))
		return -1;
	int bad = push_read_result(&p->result, reply.body.data, reply.body.len, err);
	api_reply_done(&reply);
	if (!bad && !digest_eq(&p->result.sha256, &p->recipe->sha256))
		return err_set(err, ERR_CORRUPT, "the daemon stored another file than was sent");
	p->result.chunks = p->recipe->count;
	p->result.known = p->file.length - p->missing_raw;
	return bad;
}

static void push_done(struct push *p)
{
	sender_close(p->sender);
	recipe_free(p->recipe);
	encoder_free(p->encoder);
	free(p->missing);
	push_close(&p->file);
}

int push_chunks(struct cli *cli, struct api *api, const char *path, int64_t pack,
		struct push_result *ret_result, struct err *err)
{
	struct push p = {.cli = cli, .api = api, .file = {.fd = -1}, .pack = pack,
			 .encoder = encoder_new()};
	int bad = p.encoder ? push_open(&p.file, path, err) : err_nomem(err);
	bad = bad || cut_file(&p, err) || ask_missing(&p, err) || send_missing(&p, err) ||
	      send_recipe(&p, err);
	push_done(&p);
	if (bad)
		return -1;
	*ret_result = p.result;
	return 0;
}
