#include "manifest/attest.h"

#include "base/json.h"
#include "manifest/canon.h"

#include <string.h>

#define STATEMENT "https://in-toto.io/Statement/v1"

static int subject_read(struct attest_file *file, const json_t *object, struct arena *arena,
			struct err *err)
{
	const char *name = NULL;
	json_t *digest = NULL;
	const struct json_field fields[] = {
		FIELD_TEXT("name", &name, .min = 1, .max = MANIFEST_FILE_NAME),
		FIELD_OBJECT("digest", &digest),
	};
	const struct json_field hash[] = {FIELD_DIGEST("sha256", &file->sha256)};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0)
		return -1;
	if (json_read_loose(digest, hash, COUNT_OF(hash), err) < 0)
		return err_in(err, "digest");
	file->name = arena_strdup(arena, name);
	return file->name ? 0 : err_nomem(err);
}

static int subjects_read(struct attest *out, const json_t *subjects, struct arena *arena,
			 struct err *err)
{
	const size_t count = json_array_size(subjects);
	out->files = arena_array(arena, count + 1, sizeof out->files[0]);
	if (!out->files)
		return err_nomem(err);
	for (; out->file_count < count; out->file_count++)
		if (subject_read(&out->files[out->file_count],
				 json_array_get(subjects, out->file_count), arena, err) < 0)
			return err_in(err, "subject[%u]", out->file_count);
	return 0;
}

static int channels_read(struct attest *out, const json_t *channels, struct arena *arena,
			 struct err *err)
{
	const size_t count = json_array_size(channels);
	out->channels = arena_array(arena, count + 1, sizeof out->channels[0]);
	if (!out->channels)
		return err_nomem(err);
	for (; out->channel_count < count; out->channel_count++) {
		const char *name = json_string_value(json_array_get(channels, out->channel_count));
		if (!name || !json_name_ok(name))
			return err_set(err, ERR_INVALID, "channels[%u]: must be a name",
				       out->channel_count);
		out->channels[out->channel_count] = arena_strdup(arena, name);
		if (!out->channels[out->channel_count])
			return err_nomem(err);
	}
	return 0;
}

/* Texts still belong to the document: copies take their place. */
static int keep(const char **text, struct arena *arena, struct err *err)
{
	if (*text && !(*text = arena_strdup(arena, *text)))
		return err_nomem(err);
	return 0;
}

static int predicate_read(struct attest *out, const json_t *predicate, struct arena *arena,
			  struct err *err)
{
	json_t *channels = NULL, *requires = NULL;
	const struct json_field fields[] = {
		FIELD_NAME("model", &out->model),
		FIELD_NAME("release", &out->release),
		FIELD_NAME("tier", &out->tier),
		FIELD_NAME("format", &out->format),
		FIELD_TEXT("base", &out->base, .min = 1, .max = VARIANT_TEXT_MAX, .optional = true),
		FIELD_ARRAY("channels", &channels, .min = 1, .max = ATTEST_CHANNELS,
			    .optional = true),
		FIELD_OBJECT("requires", &requires, .optional = true),
		FIELD_INT("counter", &out->counter, .min = 1),
		FIELD_INT("floor", &out->floor),
	};
	if (json_read_loose(predicate, fields, COUNT_OF(fields), err) < 0)
		return -1;
	if (out->floor > out->counter)
		return err_set(err, ERR_INVALID, "floor: must not be above the counter");
	if (keep(&out->model, arena, err) || keep(&out->release, arena, err) ||
	    keep(&out->tier, arena, err) || keep(&out->format, arena, err) ||
	    keep(&out->base, arena, err) || channels_read(out, channels, arena, err))
		return -1;
	if (requires_parse(&out->requires, requires, arena, err))
		return err_in(err, "requires");
	return 0;
}

static int statement_read(struct attest *out, const json_t *statement, struct arena *arena,
			  struct err *err)
{
	const char *type = "", *predicate_type = "";
	json_t *subjects = NULL, *predicate = NULL;
	const struct json_field fields[] = {
		FIELD_TEXT("_type", &type),
		FIELD_TEXT("predicateType", &predicate_type),
		FIELD_ARRAY("subject", &subjects, .min = 1, .max = ATTEST_FILES),
		FIELD_OBJECT("predicate", &predicate),
	};
	if (json_read_loose(statement, fields, COUNT_OF(fields), err) < 0)
		return -1;
	if (strcmp(type, STATEMENT) != 0)
		return err_set(err, ERR_INVALID, "_type: must be \"%s\"", STATEMENT);
	if (strcmp(predicate_type, ATTEST_PREDICATE) != 0)
		return err_set(err, ERR_INVALID, "predicateType: must be \"%s\"", ATTEST_PREDICATE);
	if (subjects_read(out, subjects, arena, err) < 0)
		return -1;
	return predicate_read(out, predicate, arena, err) < 0 ? err_in(err, "predicate") : 0;
}

int attest_parse(struct attest *attest, const struct dsse *dsse, struct arena *arena,
		 struct err *err)
{
	struct attest out = {0};
	if (strcmp(dsse->type, ATTEST_PAYLOAD) != 0)
		return err_set(err, ERR_INVALID, "payloadType: must be \"%s\"", ATTEST_PAYLOAD);
	json_auto_t *statement = json_parse(dsse->payload.data ? dsse->payload.data : "",
					    dsse->payload.len, "statement", err);
	if (!statement || statement_read(&out, statement, arena, err) < 0)
		return -1;
	*attest = out;
	return 0;
}

/* ---- making one ---- */

static json_t *subjects_json(const struct attest *attest)
{
	json_auto_t *subjects = json_array();
	for (unsigned i = 0; i < attest->file_count; i++) {
		char hex[DIGEST_HEX];
		digest_hex(&attest->files[i].sha256, hex);
		if (json_array_append_new(subjects, json_pack("{s:s, s:{s:s}}", "name",
							      attest->files[i].name, "digest",
							      "sha256", hex)) < 0)
			return NULL;
	}
	return TAKE(subjects);
}

static json_t *channels_json(const struct attest *attest)
{
	json_auto_t *channels = json_array();
	for (unsigned i = 0; i < attest->channel_count; i++)
		if (json_array_append_new(channels, json_string(attest->channels[i])) < 0)
			return NULL;
	return TAKE(channels);
}

static json_t *predicate_json(const struct attest *a)
{
	json_auto_t *object =
		json_pack("{s:s, s:s, s:s, s:s, s:s*, s:I, s:I}", "model", a->model, "release",
			  a->release, "tier", a->tier, "format", a->format, "base", a->base,
			  "counter", (json_int_t)a->counter, "floor", (json_int_t)a->floor);
	json_auto_t *requires = requires_json(&a->requires);
	int failed = !object || !requires;
	if (a->channel_count)
		failed |= json_object_set_new(object, "channels", channels_json(a)) < 0;
	if (json_object_size(requires))
		failed |= json_object_set(object, "requires", requires) < 0;
	return failed ? NULL : TAKE(object);
}

json_t *attest_json(const struct attest *attest, struct err *err)
{
	struct attest read = {0};
	AUTO(arena_free) struct arena *arena = arena_new(ATTEST_ARENA);
	json_auto_t *statement =
		json_pack("{s:s, s:o, s:s, s:o}", "_type", STATEMENT, "subject",
			  subjects_json(attest), "predicateType", ATTEST_PREDICATE, "predicate",
			  predicate_json(attest));
	if (!statement || !arena) {
		err_nomem(err);
		return NULL;
	}
	return statement_read(&read, statement, arena, err) < 0 ? NULL : TAKE(statement);
}

int attest_sign(const struct attest *attest, const struct sign_key *key, struct buf *out,
		struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(DSSE_MAX);
	json_auto_t *statement = attest_json(attest, err);
	if (!statement || canon_write(statement, &text, err) < 0)
		return -1;
	return dsse_sign(ATTEST_PAYLOAD, text.data, text.len, key, out, err);
}

/* ---- comparing ---- */

static int differs(struct err *err, const char *what, const char *signed_, const char *offered)
{
	return err_set(err, ERR_UNTRUSTED, "%s: the publisher signed %.64s, not %.64s", what, signed_,
		       offered);
}

static const struct attest_file *file_find(const struct attest *attest, const char *name)
{
	for (unsigned i = 0; i < attest->file_count; i++)
		if (!strcmp(attest->files[i].name, name))
			return &attest->files[i];
	return NULL;
}

static int files_cover(const struct attest *attest, const struct manifest_variant *variant,
		       struct err *err)
{
	if (attest->file_count != variant->file_count)
		return err_set(err, ERR_UNTRUSTED, "files: the publisher signed %u, not %u",
			       attest->file_count, variant->file_count);
	for (unsigned i = 0; i < variant->file_count; i++) {
		const struct manifest_file *file = &variant->files[i];
		const struct attest_file *found = file_find(attest, file->name);
		if (!found || !digest_eq(&found->sha256, &file->sha256))
			return err_set(err, ERR_UNTRUSTED,
				       "files: %s is not the one that the publisher signed",
				       file->name);
	}
	return 0;
}

static bool requires_equal(const struct requires *a, const struct requires *b)
{
	json_auto_t *left = requires_json(a), *right = requires_json(b);
	const char *more = a->unknown ? a->unknown : "", *other = b->unknown ? b->unknown : "";
	return left && right && json_equal(left, right) && !strcmp(more, other);
}

int attest_covers(const struct attest *attest, const struct manifest_variant *variant,
		  struct err *err)
{
	const struct variant_ref *ref = &variant->ref;
	if (strcmp(attest->model, ref->model) != 0)
		return differs(err, "model", attest->model, ref->model);
	if (strcmp(attest->release, ref->release) != 0)
		return differs(err, "release", attest->release, ref->release);
	if (strcmp(attest->tier, ref->tier) != 0)
		return differs(err, "tier", attest->tier, ref->tier);
	if (strcmp(attest->format, variant->format) != 0)
		return differs(err, "format", attest->format, variant->format);
	if (!requires_equal(&attest->requires, &variant->requires))
		return err_set(err, ERR_UNTRUSTED,
			       "requires: not the requirements that the publisher signed");
	return files_cover(attest, variant, err);
}

int attest_permits(const struct attest *attest, const char *channel, struct err *err)
{
	for (unsigned i = 0; i < attest->channel_count; i++)
		if (!strcmp(attest->channels[i], channel))
			return 0;
	if (!attest->channel_count)
		return 0;
	return err_set(err, ERR_UNTRUSTED, "channels: the publisher did not sign it for channel %s",
		       channel);
}
