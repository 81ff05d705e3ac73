#include "manifest/doc.h"

#include "base/buf.h"
#include "base/json.h"
#include "manifest/canon.h"
#include "manifest/tuf_internal.h"

#include <string.h>

#define DAY 86400
#define YEAR (366LL * DAY)
#define STAGES 64

bool manifest_file_name_ok(const char *name)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";
	size_t len = strlen(name);
	return len >= 1 && len <= MANIFEST_FILE_NAME && !strchr("._-", name[0]) &&
	       strspn(name, allowed) == len;
}

void manifest_init(struct manifest *manifest)
{
	*manifest = (struct manifest){
		.poll_s = 3600,
		.candidate_poll_s = 600,
		.telemetry = {.window_s = 3600,
			      .jitter_s = 300,
			      .windows = 24,
			      .outcome_deadline_s = DAY},
	};
}

/* *text, borrowed from JSON, becomes the arena's own. */
static int keep(const char **text, struct arena *arena, struct err *err)
{
	if (*text && !(*text = arena_strdup(arena, *text)))
		return err_nomem(err);
	return 0;
}

static int refs_read(struct variant_ref **ret_refs, unsigned *ret_count, const json_t *array,
		     const char *model, struct arena *arena, struct err *err)
{
	size_t count = json_array_size(array);
	struct variant_ref *refs = arena_array(arena, count + 1, sizeof refs[0]);
	if (!refs)
		return err_nomem(err);
	for (size_t i = 0; i < count; i++) {
		const char *text = json_string_value(json_array_get(array, i));
		if (!text)
			return err_set(err, ERR_INVALID, "%zu: must be a text", i);
		if (variant_parse(&refs[i], text, arena, err) < 0)
			return -1;
		if (strcmp(refs[i].model, model) != 0)
			return err_set(err, ERR_INVALID, "%s: is of another model", refs[i].text);
	}
	*ret_refs = refs;
	*ret_count = (unsigned)count;
	return 0;
}

/* [lo, hi] with 0 <= lo <= hi <= BUCKETS. */
static int slice_read(struct slice *slice, const json_t *array, const char *name, struct err *err)
{
	const json_t *lo = json_array_get(array, 0), *hi = json_array_get(array, 1);
	struct slice out = {.lo = json_integer_value(lo), .hi = json_integer_value(hi)};
	if (json_array_size(array) != 2 || !json_is_integer(lo) || !json_is_integer(hi) ||
	    out.lo < 0 || out.lo > out.hi || out.hi > BUCKETS)
		return err_set(err, ERR_INVALID, "entering: %s: must be [low, high] within 0..%d",
			       name, BUCKETS);
	*slice = out;
	return 0;
}

static enum manifest_state state_of(const char *text)
{
	if (text && strcmp(text, "running") == 0)
		return MANIFEST_RUNNING;
	return text && strcmp(text, "holding") == 0 ? MANIFEST_HOLDING : MANIFEST_STATE_OTHER;
}

static int rollout_read(struct manifest_rollout *out, const json_t *object, struct arena *arena,
			struct err *err)
{
	const char *state = NULL;
	json_t *entering = NULL, *candidate = NULL, *control = NULL;
	const struct json_field fields[] = {
		FIELD_NAME("id", &out->id),
		FIELD_TEXT("salt", &out->salt, .min = 1, .max = BUCKET_SALT_MAX),
		FIELD_INT("stage", &out->stage, .min = 1, .max = STAGES),
		FIELD_TEXT("state", &state),
		FIELD_INT("candidate_ppm", &out->candidate_ppm, .max = BUCKETS),
		FIELD_OBJECT("entering", &entering, .optional = true),
	};
	const struct json_field slices[] = {
		FIELD_ARRAY("candidate", &candidate),
		FIELD_ARRAY("control", &control),
	};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0)
		return -1;
	if (entering && (json_read_loose(entering, slices, COUNT_OF(slices), err) < 0 ||
			 slice_read(&out->candidate, candidate, "candidate", err) < 0 ||
			 slice_read(&out->control, control, "control", err) < 0))
		return -1;
	out->state = state_of(state);
	return keep(&out->id, arena, err) < 0 ? -1 : keep(&out->salt, arena, err);
}

static int spread_read(struct manifest_spread *out, const json_t *object, struct arena *arena,
		       struct err *err)
{
	const struct json_field fields[] = {
		FIELD_INT("since", &out->since),
		FIELD_INT("s", &out->s, .max = YEAR),
		FIELD_TEXT("salt", &out->salt, .max = BUCKET_SALT_MAX),
	};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0)
		return -1;
	return keep(&out->salt, arena, err);
}

static int model_read(struct manifest_model *model, const json_t *object, struct arena *arena,
		      struct err *err)
{
	json_t *stable = NULL, *candidate = NULL, *spread = NULL, *rollout = NULL;
	const struct json_field fields[] = {
		FIELD_ARRAY("stable", &stable, .max = MANIFEST_CHOICES),
		FIELD_ARRAY("candidate", &candidate, .max = MANIFEST_CHOICES, .optional = true),
		FIELD_OBJECT("spread", &spread, .optional = true),
		FIELD_OBJECT("rollout", &rollout, .optional = true),
	};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0)
		return -1;
	if (refs_read(&model->stable, &model->stable_count, stable, model->name, arena, err) < 0)
		return err_in(err, "stable");
	if (refs_read(&model->candidate, &model->candidate_count, candidate, model->name, arena,
		      err) < 0)
		return err_in(err, "candidate");
	if (spread && spread_read(&model->spread, spread, arena, err) < 0)
		return err_in(err, "spread");
	if (rollout && rollout_read(&model->rollout, rollout, arena, err) < 0)
		return err_in(err, "rollout");
	model->has_rollout = rollout != NULL;
	if (model->has_rollout != (model->candidate_count > 0))
		return err_set(err, ERR_INVALID,
			       "candidate: there must be one if and only if there is a rollout");
	return 0;
}

static int models_read(struct manifest *out, const json_t *object, struct arena *arena,
		       struct err *err)
{
	const char *name;
	json_t *value;
	size_t count = json_object_size(object);
	if (count > MANIFEST_MODELS)
		return err_set(err, ERR_TOO_LARGE, "models: at most %d", MANIFEST_MODELS);
	if (!(out->models = arena_array(arena, count + 1, sizeof out->models[0])))
		return err_nomem(err);
	/* jansson iterates through a pointer that is not const, but changes nothing. */
	json_object_foreach((json_t *)(uintptr_t)object, name, value) {
		struct manifest_model *model = &out->models[out->model_count];
		if (!json_name_ok(name))
			return err_set(err, ERR_INVALID, "models: \"%.64s\" is not a name", name);
		if (!(model->name = arena_strdup(arena, name)))
			return err_nomem(err);
		if (model_read(model, value, arena, err) < 0)
			return err_in(err, "models: %s", name);
		out->model_count++;
	}
	return 0;
}

static int revoked_read(struct manifest *out, const json_t *array, struct arena *arena,
			struct err *err)
{
	size_t count = json_array_size(array);
	if (count > MANIFEST_REVOKED)
		return err_set(err, ERR_TOO_LARGE, "revoked: at most %d", MANIFEST_REVOKED);
	if (!(out->revoked = arena_array(arena, count + 1, sizeof out->revoked[0])))
		return err_nomem(err);
	for (; out->revoked_count < count; out->revoked_count++) {
		const char *text = json_string_value(json_array_get(array, out->revoked_count));
		if (!text || strncmp(text, "sha256:", 7) != 0 ||
		    digest_parse(&out->revoked[out->revoked_count], text + 7) < 0)
			return err_set(err, ERR_INVALID,
				       "revoked: %u: must be \"sha256:\" and 64 lower-case hex "
				       "digits",
				       out->revoked_count);
	}
	return 0;
}

static int install_read(struct manifest_install *out, const json_t *object, struct err *err)
{
	json_t *hours = NULL;
	const struct json_field fields[] = {
		FIELD_BOOL("metered", &out->metered, .optional = true),
		FIELD_BOOL("charging", &out->charging, .optional = true),
		FIELD_BOOL("idle", &out->idle, .optional = true),
		FIELD_ARRAY("hours", &hours, .optional = true),
		FIELD_INT("disk_mib", &out->disk_mib, .optional = true),
	};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0)
		return -1;
	const json_t *from = json_array_get(hours, 0), *to = json_array_get(hours, 1);
	out->hour_from = json_integer_value(from);
	out->hour_to = json_integer_value(to);
	if (hours && (json_array_size(hours) != 2 || !json_is_integer(from) ||
		      !json_is_integer(to) || out->hour_from < 0 || out->hour_from > 23 ||
		      out->hour_to < 0 || out->hour_to > 24))
		return err_set(err, ERR_INVALID, "hours: must be [from, to], as in [22,6]");
	return 0;
}

static int telemetry_read(struct manifest_telemetry *out, const json_t *object, struct err *err)
{
	const struct json_field fields[] = {
		FIELD_INT("window_s", &out->window_s, .min = 1, .max = YEAR, .optional = true),
		FIELD_INT("jitter_s", &out->jitter_s, .max = YEAR, .optional = true),
		FIELD_INT("windows", &out->windows, .min = 1, .max = 1000, .optional = true),
		FIELD_INT("outcome_deadline_s", &out->outcome_deadline_s, .min = 1, .max = YEAR,
			  .optional = true),
	};
	return json_read_loose(object, fields, COUNT_OF(fields), err);
}

/* A policy for the app, which we carry as text. */
static int extra_read(const char **ret_text, const json_t *value, struct arena *arena,
		      struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(MANIFEST_EXTRA);
	if (!value)
		return 0;
	if (canon_write(value, &text, err) < 0)
		return -1;
	*ret_text = arena_dup(arena, text.data, text.len);
	return *ret_text ? 0 : err_nomem(err);
}

static int flotilla_read(struct manifest *out, const json_t *object, struct arena *arena,
			 struct err *err)
{
	int64_t schema = 0;
	json_t *models = NULL, *revoked = NULL, *install = NULL, *telemetry = NULL;
	json_t *routing = NULL, *probes = NULL;
	const struct json_field fields[] = {
		FIELD_INT("schema", &schema, .min = 1, .max = 1),
		FIELD_NAME("channel", &out->channel),
		FIELD_NAME("class", &out->class),
		FIELD_INT("index_version", &out->index_version),
		FIELD_INT("poll_s", &out->poll_s, .min = 1, .max = YEAR, .optional = true),
		FIELD_INT("candidate_poll_s", &out->candidate_poll_s, .min = 1, .max = YEAR,
			  .optional = true),
		FIELD_BOOL("development", &out->development, .optional = true),
		FIELD_OBJECT("models", &models),
		FIELD_ARRAY("revoked", &revoked, .optional = true),
		FIELD_OBJECT("install", &install, .optional = true),
		FIELD_OBJECT("telemetry", &telemetry, .optional = true),
		FIELD_OBJECT("routing", &routing, .optional = true),
		FIELD_OBJECT("probes", &probes, .optional = true),
	};
	if (json_read_loose(object, fields, COUNT_OF(fields), err) < 0 ||
	    keep(&out->channel, arena, err) < 0 || keep(&out->class, arena, err) < 0 ||
	    models_read(out, models, arena, err) < 0 ||
	    revoked_read(out, revoked, arena, err) < 0)
		return -1;
	if (install && install_read(&out->install, install, err) < 0)
		return err_in(err, "install");
	if (telemetry && telemetry_read(&out->telemetry, telemetry, err) < 0)
		return err_in(err, "telemetry");
	if (extra_read(&out->routing, routing, arena, err) < 0)
		return err_in(err, "routing");
	return extra_read(&out->probes, probes, arena, err) < 0 ? err_in(err, "probes") : 0;
}

/* model/release/tier/name, as the reference and the name. */
static int path_read(struct variant_ref *ref, const char **ret_name, const char *path,
		     struct arena *arena, struct err *err)
{
	char *parts[4] = {arena_strdup(arena, path)};
	unsigned count = 1;
	if (!parts[0])
		return err_nomem(err);
	for (char *slash = parts[0]; (slash = strchr(slash, '/')); count++) {
		*slash++ = 0;
		if (count < COUNT_OF(parts))
			parts[count] = slash;
	}
	if (count != COUNT_OF(parts) || !manifest_file_name_ok(parts[3]))
		return err_set(err, ERR_INVALID, "the path must be model/version/tier/file");
	*ret_name = parts[3];
	return variant_make(ref, parts[0], parts[1], parts[2], arena, err);
}

static bool same(const json_t *a, const json_t *b, const char *member)
{
	const json_t *left = json_object_get(a, member), *right = json_object_get(b, member);
	return left == right || json_equal(left, right);
}

static int variant_read(struct manifest_variant *variant, const json_t *custom,
			struct arena *arena, struct err *err)
{
	json_t *requires = NULL;
	const struct json_field fields[] = {
		FIELD_NAME("format", &variant->format),
		FIELD_OBJECT("requires", &requires, .optional = true),
		FIELD_DIGEST("attest", &variant->attest, .optional = true,
			     .ret_present = &variant->has_attest),
	};
	if (json_read_loose(custom, fields, COUNT_OF(fields), err) < 0 ||
	    keep(&variant->format, arena, err) < 0)
		return -1;
	if (requires_parse(&variant->requires, requires, arena, err) < 0)
		return err_in(err, "requires");
	return 0;
}

/* What reading the targets needs to remember. */
struct targets_reader {
	struct manifest *out;
	const json_t **customs; /* of each variant's first file */
	unsigned *filled;	/* files of each variant read so far */
	struct arena *arena;
};

/* Find the target's variant, or add it; every file of a variant must say the same of it. */
static int target_variant(struct targets_reader *reader, const char *path, const json_t *custom,
			  unsigned *ret_variant, const char **ret_name, struct err *err)
{
	struct manifest *out = reader->out;
	struct variant_ref ref;
	const char *named = tuf_text(custom, "variant");
	unsigned i = 0;
	if (path_read(&ref, ret_name, path, reader->arena, err) < 0)
		return -1;
	if (!named || strcmp(named, ref.text) != 0)
		return err_set(err, ERR_INVALID, "custom: variant: must be \"%s\", as the path",
			       ref.text);
	while (i < out->variant_count && !variant_eq(&out->variants[i].ref, &ref))
		i++;
	*ret_variant = i;
	if (i < out->variant_count) {
		if (!same(custom, reader->customs[i], "format") ||
		    !same(custom, reader->customs[i], "requires") ||
		    !same(custom, reader->customs[i], "attest"))
			return err_set(err, ERR_INVALID,
				       "custom: differs from that of another file of %s",
				       ref.text);
		return 0;
	}
	out->variants[i].ref = ref;
	reader->customs[i] = custom;
	if (variant_read(&out->variants[i], custom, reader->arena, err) < 0)
		return err_in(err, "custom");
	out->variant_count++;
	return 0;
}

static int file_read_target(struct manifest_file *file, const char *name,
			    const struct tuf_target *target, struct err *err)
{
	const struct json_field fields[] = {
		FIELD_DIGEST("recipe", &file->recipe),
		FIELD_INT("stored_cap", &file->stored_cap),
	};
	file->name = name;
	file->length = target->length;
	file->sha256 = target->sha256;
	if (json_read_loose(target->custom, fields, COUNT_OF(fields), err) < 0)
		return err_in(err, "custom");
	return 0;
}

/* First pass: the variants, and how many files each has.  Second pass: the files. */
static int target_pass(struct targets_reader *reader, const char *path, const json_t *entry,
		       bool second, struct err *err)
{
	struct tuf_target target;
	const char *name = NULL;
	unsigned at = 0;
	if (tuf_target_read(&target, entry, err) < 0 ||
	    target_variant(reader, path, target.custom, &at, &name, err) < 0)
		return -1;
	struct manifest_variant *variant = &reader->out->variants[at];
	if (second)
		return file_read_target(&variant->files[reader->filled[at]++], name, &target,
					err);
	variant->file_count++;
	return 0;
}

static int targets_pass(struct targets_reader *reader, const json_t *targets, bool second,
			struct err *err)
{
	const char *path;
	json_t *entry;
	json_object_foreach((json_t *)(uintptr_t)targets, path, entry)
		if (target_pass(reader, path, entry, second, err) < 0)
			return err_in(err, "targets: %.100s", path);
	return 0;
}

static int targets_read(struct manifest *out, const json_t *targets, struct arena *arena,
			struct err *err)
{
	size_t count = json_object_size(targets);
	if (!json_is_object(targets))
		return err_set(err, ERR_INVALID, "targets: must be an object");
	if (count > MANIFEST_TARGETS)
		return err_set(err, ERR_TOO_LARGE, "targets: at most %d", MANIFEST_TARGETS);
	struct targets_reader reader = {
		.out = out,
		.customs = arena_array(arena, count + 1, sizeof reader.customs[0]),
		.filled = arena_array(arena, count + 1, sizeof reader.filled[0]),
		.arena = arena,
	};
	out->variants = arena_array(arena, count + 1, sizeof out->variants[0]);
	if (!out->variants || !reader.customs || !reader.filled)
		return err_nomem(err);
	if (targets_pass(&reader, targets, false, err) < 0)
		return -1;
	for (unsigned i = 0; i < out->variant_count; i++) {
		struct manifest_variant *variant = &out->variants[i];
		variant->files = arena_array(arena, variant->file_count, sizeof variant->files[0]);
		if (!variant->files)
			return err_nomem(err);
	}
	return targets_pass(&reader, targets, true, err);
}

static int refs_check(const struct manifest *out, const struct variant_ref *refs, unsigned count,
		      struct err *err)
{
	for (unsigned i = 0; i < count; i++)
		if (!manifest_variant_find(out, &refs[i]))
			return err_set(err, ERR_INVALID, "models: %s has no targets", refs[i].text);
	return 0;
}

int manifest_parse(struct manifest *manifest, const json_t *body, struct arena *arena,
		   struct err *err)
{
	struct manifest out;
	manifest_init(&out);
	if (flotilla_read(&out, json_object_get(body, "flotilla"), arena, err) < 0)
		return err_in(err, "flotilla");
	if (targets_read(&out, json_object_get(body, "targets"), arena, err) < 0)
		return -1;
	for (unsigned i = 0; i < out.model_count; i++) {
		const struct manifest_model *model = &out.models[i];
		if (refs_check(&out, model->stable, model->stable_count, err) < 0 ||
		    refs_check(&out, model->candidate, model->candidate_count, err) < 0)
			return -1;
	}
	*manifest = out;
	return 0;
}

const struct manifest_model *manifest_model_find(const struct manifest *manifest,
						 const char *name)
{
	for (unsigned i = 0; i < manifest->model_count; i++)
		if (strcmp(manifest->models[i].name, name) == 0)
			return &manifest->models[i];
	return NULL;
}

const struct manifest_variant *manifest_variant_find(const struct manifest *manifest,
						     const struct variant_ref *ref)
{
	for (unsigned i = 0; i < manifest->variant_count; i++)
		if (variant_eq(&manifest->variants[i].ref, ref))
			return &manifest->variants[i];
	return NULL;
}

bool manifest_revoked(const struct manifest *manifest, const struct digest *sha256)
{
	for (unsigned i = 0; i < manifest->revoked_count; i++)
		if (digest_eq(&manifest->revoked[i], sha256))
			return true;
	return false;
}

enum manifest_arm manifest_place(const struct manifest_model *model, int64_t bucket,
				 bool *ret_enters)
{
	const struct manifest_rollout *r = &model->rollout;
	bool running = model->has_rollout && r->state == MANIFEST_RUNNING;
	*ret_enters = false;
	if (!model->has_rollout)
		return ARM_NONE;
	if (bucket < r->candidate_ppm) {
		*ret_enters = running && bucket_in(bucket, r->candidate);
		return ARM_CANDIDATE;
	}
	if (!bucket_in(bucket, r->control))
		return ARM_NONE;
	*ret_enters = running;
	return ARM_CONTROL;
}

const struct manifest_variant *manifest_choose(const struct manifest *manifest,
					       const struct variant_ref *list, unsigned count,
					       const struct attrs *attrs,
					       const struct facts *facts, struct err *why)
{
	err_set(why, ERR_INVALID, "there is no variant to choose from");
	for (unsigned i = 0; i < count; i++) {
		const struct manifest_variant *variant = manifest_variant_find(manifest, &list[i]);
		if (variant && requires_met(&variant->requires, attrs, facts, why))
			return variant;
	}
	return NULL;
}
