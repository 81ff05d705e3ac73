#include "manifest/catalog.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#define FILES_MAX 32 /* of one variant */
#define REF_MAX VARIANT_TEXT_MAX

enum {
	Q_CHANNEL_ADD,
	Q_CHANNEL_GET,
	Q_CHANNEL_LIST,
	Q_MODEL_ADD,
	Q_MODEL_GET,
	Q_MODEL_LIST,
	Q_RELEASE_ADD,
	Q_RELEASE_GET,
	Q_RELEASE_LIST,
	Q_RELEASE_PUBLISH,
	Q_VARIANT_PUT,
	Q_VARIANT_DELETE,
	Q_VARIANT_KNOWN,
	Q_TIER_KNOWN,
	Q_VARIANT_COUNT,
	Q_VARIANTS,
	Q_FILE_PUT,
	Q_FILE_DELETE,
	Q_FILES,
	Q_RECIPES,
	Q_COUNT
};
#define RELEASE_COLUMNS                                                                     \
	"model, release, state, checkpoint, notes, created, published,"                          \
	" (SELECT COALESCE(MAX(counter), 0) FROM variants v WHERE v.model = r.model"             \
	" AND v.release = r.release)"
#define OF_TIER " WHERE model = $model AND release = $release AND tier = $tier"
/* clang-format off */
static const char *const sql[Q_COUNT] = {
	[Q_CHANNEL_ADD] = "INSERT INTO channels (name, created) VALUES ($name, $now)",
	[Q_CHANNEL_GET] = "SELECT 1 FROM channels WHERE name = $name",
	[Q_CHANNEL_LIST] =
		"SELECT name, created FROM channels WHERE name > $after ORDER BY name LIMIT $limit",
	[Q_MODEL_ADD] = "INSERT INTO models (name, created) VALUES ($name, $now)",
	[Q_MODEL_GET] = "SELECT 1 FROM models WHERE name = $name",
	[Q_MODEL_LIST] =
		"SELECT name, created FROM models WHERE name > $after ORDER BY name LIMIT $limit",
	[Q_RELEASE_ADD] =
		"INSERT INTO releases (model, release, state, checkpoint, notes, created)"
		" VALUES ($model, $release, 'draft', $checkpoint, $notes, $now)",
	[Q_RELEASE_GET] =
		"SELECT " RELEASE_COLUMNS " FROM releases r"
		" WHERE model = $model AND release = $release",
	[Q_RELEASE_LIST] =
		"SELECT " RELEASE_COLUMNS " FROM releases r"
		" WHERE model = $model ORDER BY created, release",
	[Q_RELEASE_PUBLISH] =
		"UPDATE releases SET state = 'published', published = $now"
		" WHERE model = $model AND release = $release AND state = 'draft'",
	[Q_VARIANT_PUT] =
		"INSERT INTO variants (model, release, tier, format, requires, evals, meta, created)"
		" VALUES ($model, $release, $tier, $format, $requires, $evals, $meta, $now)"
		" ON CONFLICT (model, release, tier) DO UPDATE SET format = excluded.format,"
		" requires = excluded.requires, evals = excluded.evals, meta = excluded.meta,"
		" attest = NULL,"
		" envelope = NULL, counter = NULL, floor = NULL, publisher = NULL",
	[Q_VARIANT_DELETE] = "DELETE FROM variants" OF_TIER,
	[Q_VARIANT_KNOWN] =
		"SELECT 1 FROM variants v JOIN releases r ON r.model = v.model"
		" AND r.release = v.release WHERE v.model = $model AND v.release = $release"
		" AND v.tier = $tier AND r.state = 'published'",
	[Q_TIER_KNOWN] = "SELECT 1 FROM variants WHERE tier = $name LIMIT 1",
	[Q_VARIANT_COUNT] =
		"SELECT COUNT(*) FROM variants WHERE model = $model AND release = $release",
	[Q_VARIANTS] =
		"SELECT tier, format, requires, evals, attest, counter, floor, publisher, meta"
		" FROM variants"
		" WHERE model = $model AND release = $release ORDER BY tier",
	[Q_FILE_PUT] =
		"INSERT INTO files (model, release, tier, name, length, sha256, recipe, stored)"
		" VALUES ($model, $release, $tier, $name, $length, $sha256, $recipe, $stored)",
	[Q_FILE_DELETE] = "DELETE FROM files" OF_TIER,
	[Q_FILES] = "SELECT name, length, sha256, recipe, stored FROM files" OF_TIER " ORDER BY name",
	[Q_RECIPES] = "SELECT DISTINCT recipe FROM files",
};
/* clang-format on */
const struct sql_set catalog_sql = {"catalog", sql, Q_COUNT};

/* ---- names: channels and models ---- */

static int name_add(struct db *db, unsigned id, const char *what, const char *name, int64_t now,
		    struct err *err)
{
	STMT(q, db, &catalog_sql, id);
	stmt_text(q, "$name", name);
	stmt_int(q, "$now", now);
	if (!stmt_run(q, err))
		return 0;
	if (err->status == ERR_CONFLICT)
		err_set(err, ERR_CONFLICT, "%s %s exists already", what, name);
	return -1;
}

static int name_known(struct db *db, unsigned id, const char *name, bool *ret_known,
		      struct err *err)
{
	STMT(q, db, &catalog_sql, id);
	stmt_text(q, "$name", name);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	*ret_known = got;
	return 0;
}

static int name_list(struct db *db, unsigned id, const char *after, int64_t limit,
		     json_t **ret_items, struct err *err)
{
	json_auto_t *items = json_array();
	STMT(q, db, &catalog_sql, id);
	stmt_text(q, "$after", after ? after : "");
	stmt_int(q, "$limit", limit);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		json_t *item = json_pack("{s:s, s:I}", "name", stmt_col_text(q, 0), "created",
					 (json_int_t)stmt_col_int(q, 1));
		if (json_array_append_new(items, item))
			return err_nomem(err);
	}
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}

int catalog_channel_add(struct db *db, const char *name, int64_t now, struct err *err)
{
	return name_add(db, Q_CHANNEL_ADD, "channel", name, now, err);
}

int catalog_channel_known(struct db *db, const char *name, bool *ret_known, struct err *err)
{
	return name_known(db, Q_CHANNEL_GET, name, ret_known, err);
}

int catalog_model_add(struct db *db, const char *name, int64_t now, struct err *err)
{
	return name_add(db, Q_MODEL_ADD, "model", name, now, err);
}

int catalog_model_known(struct db *db, const char *name, bool *ret_known, struct err *err)
{
	return name_known(db, Q_MODEL_GET, name, ret_known, err);
}

int catalog_channel_list(struct db *db, const char *after, int64_t limit, json_t **ret_items,
			 struct err *err)
{
	return name_list(db, Q_CHANNEL_LIST, after, limit, ret_items, err);
}

int catalog_model_list(struct db *db, const char *after, int64_t limit, json_t **ret_items,
		       struct err *err)
{
	return name_list(db, Q_MODEL_LIST, after, limit, ret_items, err);
}

/* ---- releases ---- */

static void bind_release(struct stmt *q, const char *model, const char *release)
{
	stmt_text(q, "$model", model);
	stmt_text(q, "$release", release);
}

int catalog_release_add(struct db *db, const struct release_spec *spec, int64_t now,
			struct err *err)
{
	bool known;
	if (catalog_model_known(db, spec->model, &known, err))
		return -1;
	if (!known)
		return err_set(err, ERR_NOT_FOUND, "model %s does not exist; make it first",
			       spec->model);
	STMT(q, db, &catalog_sql, Q_RELEASE_ADD);
	bind_release(q, spec->model, spec->release);
	stmt_text(q, "$checkpoint", spec->checkpoint);
	stmt_text(q, "$notes", spec->notes);
	stmt_int(q, "$now", now);
	if (!stmt_run(q, err))
		return 0;
	if (err->status == ERR_CONFLICT)
		err_set(err, ERR_CONFLICT, "release %s@%s exists already", spec->model,
			spec->release);
	return -1;
}

/* The release's state; ERR_NOT_FOUND. */
static int release_draft(struct db *db, const char *model, const char *release, bool *ret_draft,
			 struct err *err)
{
	STMT(q, db, &catalog_sql, Q_RELEASE_GET);
	bind_release(q, model, release);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND, "release %s@%s does not exist", model, release);
	*ret_draft = !strcmp(stmt_col_text(q, 2), "draft");
	return 0;
}

static int need_draft(struct db *db, const char *model, const char *release, struct err *err)
{
	bool draft;
	if (release_draft(db, model, release, &draft, err))
		return -1;
	return draft ? 0
		     : err_set(err, ERR_CONFLICT,
			       "release %s@%s is published and immutable; make a new release", model,
			       release);
}

int catalog_release_need(struct db *db, const char *model, const char *release, struct err *err)
{
	bool draft;
	if (release_draft(db, model, release, &draft, err))
		return -1;
	return draft ? err_set(err, ERR_CONFLICT,
			       "release %s@%s is still a draft; publish it first", model, release)
		     : 0;
}

static int variant_count(struct db *db, const char *model, const char *release, int64_t *ret,
			 struct err *err)
{
	STMT(q, db, &catalog_sql, Q_VARIANT_COUNT);
	bind_release(q, model, release);
	const int got = stmt_step(q, err);
	if (got <= 0)
		return got ? -1 : err_set(err, ERR_SYSTEM, "database: no count");
	*ret = stmt_col_int(q, 0);
	return 0;
}

int catalog_release_publish(struct db *db, const char *model, const char *release, int64_t now,
			    struct err *err)
{
	bool draft;
	int64_t count;
	if (release_draft(db, model, release, &draft, err) ||
	    variant_count(db, model, release, &count, err))
		return -1;
	if (!count)
		return err_set(err, ERR_CONFLICT,
			       "release %s@%s has no variant; push one before publishing", model,
			       release);
	STMT(q, db, &catalog_sql, Q_RELEASE_PUBLISH);
	bind_release(q, model, release);
	stmt_int(q, "$now", now);
	return stmt_run(q, err);
}

static json_t *release_row(struct stmt *q)
{
	return json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:I, s:I, s:I}", "model", stmt_col_text(q, 0),
			 "release", stmt_col_text(q, 1), "state", stmt_col_text(q, 2),
			 "checkpoint", stmt_col_text(q, 3), "notes", stmt_col_text(q, 4),
			 "created", (json_int_t)stmt_col_int(q, 5), "published",
			 (json_int_t)stmt_col_int(q, 6), "counter", (json_int_t)stmt_col_int(q, 7));
}

int catalog_release_list(struct db *db, const char *model, json_t **ret_items, struct err *err)
{
	json_auto_t *items = json_array();
	STMT(q, db, &catalog_sql, Q_RELEASE_LIST);
	stmt_text(q, "$model", model);
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (json_array_append_new(items, release_row(q)))
			return err_nomem(err);
	if (got < 0)
		return -1;
	*ret_items = json_incref(items);
	return 0;
}

/* ---- a release whole ---- */

static void bind_tier(struct stmt *q, const char *model, const char *release, const char *tier)
{
	bind_release(q, model, release);
	stmt_text(q, "$tier", tier);
}

static int file_row(struct stmt *q, json_t *files, struct err *err)
{
	struct digest sha256, recipe;
	char sha256_hex[DIGEST_HEX], recipe_hex[DIGEST_HEX];
	if (stmt_col_digest(q, 2, &sha256, err) || stmt_col_digest(q, 3, &recipe, err))
		return -1;
	digest_hex(&sha256, sha256_hex);
	digest_hex(&recipe, recipe_hex);
	json_t *file = json_pack("{s:s, s:I, s:s, s:s, s:I}", "name", stmt_col_text(q, 0), "length",
				 (json_int_t)stmt_col_int(q, 1), "sha256", sha256_hex, "recipe",
				 recipe_hex, "stored", (json_int_t)stmt_col_int(q, 4));
	return json_array_append_new(files, file) ? err_nomem(err) : 0;
}

static int add_files(struct db *db, const char *model, const char *release, json_t *variant,
		     struct err *err)
{
	json_t *files = json_array();
	STMT(q, db, &catalog_sql, Q_FILES);
	bind_tier(q, model, release, json_string_value(json_object_get(variant, "tier")));
	int got;
	while ((got = stmt_step(q, err)) > 0)
		if (file_row(q, files, err)) {
			got = -1;
			break;
		}
	if (json_object_set_new(variant, "files", files) && !got)
		return err_nomem(err);
	return got;
}

static json_t *column_json(struct stmt *q, int col)
{
	struct err ignored;
	const char *text = stmt_col_text(q, col);
	json_t *value = text ? json_parse(text, strlen(text), "database", &ignored) : NULL;
	return value ? value : json_object();
}

/* What the publisher signed of it, when it is signed. */
static int add_signature(struct stmt *q, json_t *variant, struct err *err)
{
	struct digest attest;
	char hex[DIGEST_HEX];
	if (stmt_col_null(q, 4))
		return 0;
	if (stmt_col_digest(q, 4, &attest, err))
		return -1;
	digest_hex(&attest, hex);
	json_auto_t *more = json_pack("{s:s, s:I, s:I, s:s?}", "attest", hex, "counter",
				      (json_int_t)stmt_col_int(q, 5), "floor",
				      (json_int_t)stmt_col_int(q, 6), "publisher",
				      stmt_col_text(q, 7));
	return json_object_update(variant, more) ? err_nomem(err) : 0;
}

static int list_variants(struct db *db, const char *model, const char *release, json_t *variants,
			 struct err *err)
{
	STMT(q, db, &catalog_sql, Q_VARIANTS);
	bind_release(q, model, release);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		json_t *variant = json_pack("{s:s, s:s, s:o, s:o, s:o}", "tier",
					    stmt_col_text(q, 0), "format", stmt_col_text(q, 1),
					    "requires", column_json(q, 2), "evals",
					    column_json(q, 3), "meta", column_json(q, 8));
		if (json_array_append_new(variants, variant))
			return err_nomem(err);
		if (add_signature(q, variant, err))
			return -1;
	}
	return got;
}

static int fill_release(struct db *db, const char *model, const char *release, json_t *object,
			struct err *err)
{
	size_t i;
	json_t *variant, *variants = json_array();
	if (json_object_set_new(object, "variants", variants))
		return err_nomem(err);
	if (list_variants(db, model, release, variants, err))
		return -1;
	json_array_foreach (variants, i, variant)
		if (add_files(db, model, release, variant, err))
			return -1;
	return 0;
}

static int get_row(struct db *db, const char *model, const char *release, json_t **ret,
		   struct err *err)
{
	STMT(q, db, &catalog_sql, Q_RELEASE_GET);
	bind_release(q, model, release);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	if (!got)
		return err_set(err, ERR_NOT_FOUND, "release %s@%s does not exist", model, release);
	*ret = release_row(q);
	return *ret ? 0 : err_nomem(err);
}

int catalog_release_get(struct db *db, const char *model, const char *release, json_t **ret,
			struct err *err)
{
	json_auto_t *object = NULL;
	if (get_row(db, model, release, &object, err) ||
	    fill_release(db, model, release, object, err))
		return -1;
	*ret = json_incref(object);
	return 0;
}

/* ---- variants ---- */

struct variant_body {
	const char *format;
	json_t *files, *requires, *evals, *meta;
	json_t *envelope; /* publisher_envelope_put()'s */
};

/* What a file says of itself is for people to read; nothing is decided by it. */
static int check_meta(const json_t *meta, struct err *err)
{
	const char *text = NULL;
	int64_t number = 0;
	const struct json_field fields[] = {
		FIELD_TEXT("architecture", &text, .optional = true, .max = 64),
		FIELD_TEXT("name", &text, .optional = true, .max = 128),
		FIELD_TEXT("quantization", &text, .optional = true, .max = 128),
		FIELD_INT("parameters", &number, .optional = true),
		FIELD_INT("tensors", &number, .optional = true),
		FIELD_INT("context_length", &number, .optional = true),
		FIELD_INT("layers", &number, .optional = true),
		FIELD_INT("heads", &number, .optional = true),
	};
	return json_read(meta, fields, COUNT_OF(fields), err) ? err_in(err, "meta") : 0;
}

static int read_variant(struct variant_body *body, const json_t *object, struct err *err)
{
	struct requires requires;
	*body = (struct variant_body){.format = NULL};
	const struct json_field fields[] = {
		FIELD_NAME("format", &body->format),
		FIELD_ARRAY("files", &body->files, .min = 1, .max = FILES_MAX),
		FIELD_OBJECT("requires", &body->requires, .optional = true),
		FIELD_OBJECT("evals", &body->evals, .optional = true),
		FIELD_OBJECT("meta", &body->meta, .optional = true),
		FIELD_OBJECT("envelope", &body->envelope, .optional = true),
	};
	AUTO(arena_free) struct arena *arena = arena_new(65536);
	if (!arena)
		return err_nomem(err);
	if (json_read(object, fields, COUNT_OF(fields), err))
		return -1;
	if (body->requires && requires_parse_strict(&requires, body->requires, arena, err))
		return err_in(err, "requires");
	return body->meta ? check_meta(body->meta, err) : 0;
}

static char *object_text(const json_t *object)
{
	return object ? json_text(object) : strdup("{}");
}

static int put_row(struct db *db, const char *model, const char *release, const char *tier,
		   const struct variant_body *body, int64_t now, struct err *err)
{
	char *requires = object_text(body->requires), *evals = object_text(body->evals);
	char *meta = object_text(body->meta);
	int bad = requires && evals && meta ? 0 : err_nomem(err);
	if (!bad) {
		STMT(q, db, &catalog_sql, Q_VARIANT_PUT);
		bind_tier(q, model, release, tier);
		stmt_text(q, "$format", body->format);
		stmt_text(q, "$requires", requires);
		stmt_text(q, "$evals", evals);
		stmt_text(q, "$meta", meta);
		stmt_int(q, "$now", now);
		bad = stmt_run(q, err);
	}
	free(requires);
	free(evals);
	free(meta);
	return bad;
}

/* Who puts a variant, and where. */
struct putting {
	struct db *db;
	const char *model, *release, *tier;
	catalog_lookup *lookup;
	void *arg;
};

static int put_file(const struct putting *p, const json_t *object, struct err *err)
{
	const char *name = NULL;
	struct digest recipe = {{0}};
	struct catalog_file file;
	const struct json_field fields[] = {
		FIELD_TEXT("name", &name, .min = 1, .max = MANIFEST_FILE_NAME),
		FIELD_DIGEST("recipe", &recipe),
	};
	if (json_read(object, fields, COUNT_OF(fields), err))
		return -1;
	if (!manifest_file_name_ok(name))
		return err_set(err, ERR_INVALID,
			       "name: must be letters, digits, '.', '_', '-', starting with a letter or"
			       " digit");
	if (p->lookup(p->arg, &recipe, &file, err))
		return err_in(err, "recipe");
	STMT(q, p->db, &catalog_sql, Q_FILE_PUT);
	bind_tier(q, p->model, p->release, p->tier);
	stmt_text(q, "$name", name);
	stmt_int(q, "$length", file.length);
	stmt_int(q, "$stored", file.stored);
	stmt_digest(q, "$sha256", &file.sha256);
	stmt_digest(q, "$recipe", &recipe);
	if (!stmt_run(q, err))
		return 0;
	return err->status == ERR_CONFLICT ? err_set(err, ERR_INVALID, "name: %s stands twice", name)
					   : -1;
}

static int delete_files(struct db *db, const char *model, const char *release, const char *tier,
			struct err *err)
{
	STMT(q, db, &catalog_sql, Q_FILE_DELETE);
	bind_tier(q, model, release, tier);
	return stmt_run(q, err);
}

int catalog_variant_put(struct db *db, const char *model, const char *release, const char *tier,
			const json_t *body, catalog_lookup *lookup, void *arg, int64_t now,
			struct err *err)
{
	const struct putting p = {db, model, release, tier, lookup, arg};
	struct variant_body variant;
	size_t i;
	json_t *file;
	if (!json_name_ok(tier))
		return err_set(err, ERR_INVALID, "tier: %s is not a name", tier);
	if (read_variant(&variant, body, err) || need_draft(db, model, release, err) ||
	    put_row(db, model, release, tier, &variant, now, err) ||
	    delete_files(db, model, release, tier, err))
		return -1;
	json_array_foreach (variant.files, i, file)
		if (put_file(&p, file, err))
			return err_in(err, "files[%zu]", i);
	return 0;
}

int catalog_variant_delete(struct db *db, const char *model, const char *release, const char *tier,
			   struct err *err)
{
	int64_t changed;
	if (need_draft(db, model, release, err) || delete_files(db, model, release, tier, err))
		return -1;
	STMT(q, db, &catalog_sql, Q_VARIANT_DELETE);
	bind_tier(q, model, release, tier);
	if (stmt_changes(q, &changed, err))
		return -1;
	return changed ? 0
		       : err_set(err, ERR_NOT_FOUND, "release %s@%s has no tier %s", model, release,
				 tier);
}

int catalog_tier_known(struct db *db, const char *tier, bool *ret_known, struct err *err)
{
	return name_known(db, Q_TIER_KNOWN, tier, ret_known, err);
}

int catalog_variant_known(struct db *db, const char *ref, bool *ret_known, struct err *err)
{
	char copy[REF_MAX + 1];
	if (strlen(ref) > REF_MAX)
		return err_set(err, ERR_INVALID, "variant: too long");
	strcpy(copy, ref);
	char *at = strchr(copy, '@');
	char *slash = at ? strchr(at, '/') : NULL;
	*ret_known = false;
	if (!slash)
		return 0;
	*at = *slash = 0;
	STMT(q, db, &catalog_sql, Q_VARIANT_KNOWN);
	bind_tier(q, copy, at + 1, slash + 1);
	const int got = stmt_step(q, err);
	if (got < 0)
		return -1;
	*ret_known = got;
	return 0;
}

/* ---- for manifests ---- */

static int load_files(struct db *db, struct manifest_variant *v, struct arena *arena,
		      struct err *err)
{
	STMT(q, db, &catalog_sql, Q_FILES);
	bind_tier(q, v->ref.model, v->ref.release, v->ref.tier);
	v->files = arena_array(arena, FILES_MAX, sizeof(*v->files));
	if (!v->files)
		return err_nomem(err);
	int got;
	while ((got = stmt_step(q, err)) > 0 && v->file_count < FILES_MAX) {
		struct manifest_file *f = &v->files[v->file_count++];
		f->name = arena_strdup(arena, stmt_col_text(q, 0));
		f->length = stmt_col_int(q, 1);
		f->stored_cap = stmt_col_int(q, 4);
		if (!f->name)
			return err_nomem(err);
		if (stmt_col_digest(q, 2, &f->sha256, err) || stmt_col_digest(q, 3, &f->recipe, err))
			return -1;
	}
	return got < 0 ? -1 : 0;
}

static int load_variant(struct stmt *q, const char *model, const char *release,
			struct arena *arena, struct manifest_variant *v, struct err *err)
{
	*v = (struct manifest_variant){.format = arena_strdup(arena, stmt_col_text(q, 1))};
	json_auto_t *requires = column_json(q, 2);
	if (!v->format)
		return err_nomem(err);
	if (variant_make(&v->ref, model, release, stmt_col_text(q, 0), arena, err) ||
	    requires_parse(&v->requires, requires, arena, err))
		return -1;
	v->has_attest = !stmt_col_null(q, 4);
	return v->has_attest ? stmt_col_digest(q, 4, &v->attest, err) : 0;
}

/* Place in the order of preference; count when not preferred. */
static unsigned preference(const char *tier, const char *const *tiers, unsigned count)
{
	unsigned i = 0;
	while (i < count && strcmp(tiers[i], tier))
		i++;
	return i;
}

static int load_all(struct db *db, const char *model, const char *release, struct arena *arena,
		    struct manifest_variant *list, unsigned *count, struct err *err)
{
	STMT(q, db, &catalog_sql, Q_VARIANTS);
	bind_release(q, model, release);
	int got;
	while ((got = stmt_step(q, err)) > 0 && *count < MANIFEST_CHOICES)
		if (load_variant(q, model, release, arena, &list[(*count)++], err))
			return -1;
	return got < 0 ? -1 : 0;
}

int catalog_variants(struct db *db, const char *model, const char *release,
		     const char *const *tiers, unsigned tier_count, bool all, struct arena *arena,
		     struct manifest_variant **ret_variants, unsigned *ret_count, struct err *err)
{
	struct manifest_variant *list = arena_array(arena, MANIFEST_CHOICES, sizeof(*list));
	struct manifest_variant *ordered = arena_array(arena, MANIFEST_CHOICES, sizeof(*list));
	unsigned count = 0, taken = 0;
	if (!list || !ordered)
		return err_nomem(err);
	if (load_all(db, model, release, arena, list, &count, err))
		return -1;
	for (unsigned rank = 0; rank <= tier_count; rank++)
		for (unsigned i = 0; i < count; i++)
			if (preference(list[i].ref.tier, tiers, tier_count) == rank &&
			    (rank < tier_count || all))
				ordered[taken++] = list[i];
	for (unsigned i = 0; i < taken; i++)
		if (load_files(db, &ordered[i], arena, err))
			return -1;
	*ret_variants = ordered;
	*ret_count = taken;
	return 0;
}

int catalog_recipes(struct db *db, int (*fn)(void *arg, const struct digest *recipe), void *arg,
		    struct err *err)
{
	STMT(q, db, &catalog_sql, Q_RECIPES);
	int got;
	while ((got = stmt_step(q, err)) > 0) {
		struct digest recipe;
		if (stmt_col_digest(q, 0, &recipe, err))
			return -1;
		if (fn(arg, &recipe))
			return err_nomem(err);
	}
	return got;
}
