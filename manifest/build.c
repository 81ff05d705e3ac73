#include "manifest/build.h"

#include "base/arena.h"
#include "base/json.h"
#include "manifest/canon.h"
#include "manifest/catalog.h"
#include "manifest/class_store.h"
#include "manifest/doc.h"
#include "manifest/offer.h"
#include "manifest/publish.h"
#include "manifest/publisher_store.h"

#include <stdlib.h>
#include <string.h>

#define FILE_MAX (4 << 20)
#define CHANNELS_MAX (BUILD_INDEX_FILES - 2)

/* ---- a class's manifest ---- */

/* What making one manifest needs at every depth. */
struct building {
	struct db *db;
	struct arena *arena;
	struct class_settings settings;
	struct manifest manifest;
	struct err *err;
};

static void add_variants(struct manifest *m, const struct manifest_variant *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!manifest_variant_find(m, &list[i].ref))
			m->variants[m->variant_count++] = list[i];
}

/* The refs of a release's variants that fit the class; they join the manifest's variants. */
static int take_release(struct building *b, const char *model, const char *release,
			struct variant_ref **ret_refs, unsigned *ret_count)
{
	struct manifest_variant *list;
	unsigned count;
	if (catalog_variants(b->db, model, release, b->settings.tiers, b->settings.tier_count,
			     !b->settings.tier_count, b->arena, &list, &count, b->err))
		return -1;
	struct variant_ref *refs = arena_array(b->arena, count + 1, sizeof(*refs));
	if (!refs)
		return err_nomem(b->err);
	for (unsigned i = 0; i < count; i++)
		refs[i] = list[i].ref;
	if (b->manifest.variant_count + count > MANIFEST_TARGETS)
		return err_set(b->err, ERR_TOO_LARGE, "a manifest names at most %d files",
			       MANIFEST_TARGETS);
	add_variants(&b->manifest, list, count);
	*ret_refs = refs;
	*ret_count = count;
	return 0;
}

static void set_rollout(struct manifest_model *model, const struct offer *offer)
{
	model->has_rollout = true;
	model->rollout = (struct manifest_rollout){
		.id = offer->rollout, .salt = offer->salt, .stage = offer->stage,
		.state = strcmp(offer->state, "running") ? MANIFEST_HOLDING : MANIFEST_RUNNING,
		.candidate_ppm = offer->candidate_ppm, .candidate = offer->enter,
		.control = offer->control};
}

static int add_offer(struct building *b, const struct offer *offer)
{
	struct manifest_model *model = &b->manifest.models[b->manifest.model_count];
	*model = (struct manifest_model){
		.name = offer->model,
		.spread = {offer->stable_since, offer->spread_s, offer->spread_salt}};
	if (take_release(b, offer->model, offer->stable, &model->stable, &model->stable_count))
		return -1;
	if (offer->rollout) {
		if (take_release(b, offer->model, offer->candidate, &model->candidate,
				 &model->candidate_count))
			return -1;
		if (model->candidate_count)
			set_rollout(model, offer);
	}
	/* A model of which no tier fits this class is not offered here. */
	if (model->stable_count)
		b->manifest.model_count++;
	return 0;
}

static int add_offers(struct building *b, const char *channel, const char *class)
{
	struct offer *offers;
	unsigned count;
	if (offer_list(b->db, channel, class, b->arena, &offers, &count, b->err))
		return -1;
	if (count > MANIFEST_MODELS)
		return err_set(b->err, ERR_TOO_LARGE, "class %s: more than %d models", class,
			       MANIFEST_MODELS);
	b->manifest.models = arena_array(b->arena, count + 1, sizeof(*b->manifest.models));
	b->manifest.variants =
		arena_array(b->arena, MANIFEST_TARGETS, sizeof(*b->manifest.variants));
	if (!b->manifest.models || !b->manifest.variants)
		return err_nomem(b->err);
	for (unsigned i = 0; i < count; i++)
		if (offers[i].stable && add_offer(b, &offers[i]))
			return -1;
	return 0;
}

static int add_settings(struct building *b)
{
	const struct class_settings *s = &b->settings;
	b->manifest.poll_s = s->poll_s;
	b->manifest.candidate_poll_s = s->candidate_poll_s;
	b->manifest.install.disk_mib = s->disk_mib;
	b->manifest.telemetry = (struct manifest_telemetry){s->window_s, s->jitter_s, s->windows,
							    s->outcome_deadline_s};
	return class_rules_version(b->db, &b->manifest.index_version, b->err);
}

static int build(struct building *b, const char *channel, const char *class, json_t **ret)
{
	json_auto_t *settings = NULL;
	int64_t version;
	if (class_get(b->db, class, &b->settings, &settings, &version, b->err) ||
	    add_settings(b) || add_offers(b, channel, class) ||
	    publisher_revoked(b->db, b->arena, &b->manifest.revoked, &b->manifest.revoked_count,
			      b->err))
		return -1;
	*ret = manifest_json(&b->manifest, b->err);
	return *ret ? 0 : -1;
}

int build_manifest(struct db *db, const char *channel, const char *class, bool development,
		   json_t **ret_content, struct err *err)
{
	AUTO(arena_free) struct arena *arena = arena_new(MANIFEST_ARENA);
	struct building b = {.db = db, .arena = arena, .err = err};
	if (!arena)
		return err_nomem(err);
	manifest_init(&b.manifest);
	b.manifest.channel = channel;
	b.manifest.class = class;
	b.manifest.development = development;
	if (build(&b, channel, class, ret_content))
		return err_in(err, "manifest of %s/%s", channel, class);
	return 0;
}

/* ---- the index ---- */

static int fill(struct build_file *file, const char *path, const json_t *content, struct err *err)
{
	AUTO_BUF struct buf text = BUF_INIT(FILE_MAX);
	snprintf(file->path, sizeof(file->path), "%s", path);
	if (canon_write(content, &text, err) || buf_ok(&text, path, err))
		return -1;
	file->bytes = buf_take(&text, &file->len);
	return file->bytes ? 0 : err_nomem(err);
}

static int publishers_file(struct db *db, struct build_file *file, struct err *err)
{
	json_auto_t *content = NULL;
	if (publisher_wanted(db, &content, err))
		return -1;
	return fill(file, PUBLISHERS_PATH, content, err);
}

static int roots_file(struct db *db, const char *channel, struct build_file *file,
		      struct err *err)
{
	char path[160];
	json_t *roots = json_object();
	json_auto_t *content =
		json_pack("{s:i, s:s, s:o}", "schema", 1, "channel", channel, "roots", roots);
	if (!content)
		return err_nomem(err);
	if (publish_first_roots(db, channel, roots, err))
		return -1;
	snprintf(path, sizeof(path), "roots/%s.json", channel);
	return fill(file, path, content, err);
}

int build_index_files(struct db *db, struct build_file files[static BUILD_INDEX_FILES],
		      unsigned *ret_count, struct err *err)
{
	json_auto_t *channels = NULL;
	size_t i;
	json_t *channel;
	unsigned count = 0;
	if (catalog_channel_list(db, "", CHANNELS_MAX, &channels, err))
		return -1;
	int bad = publishers_file(db, &files[count++], err);
	json_array_foreach (channels, i, channel)
		if (!bad)
			bad = roots_file(db, json_string_value(json_object_get(channel, "name")),
					 &files[count++], err);
	if (bad) {
		build_files_free(files, count);
		return -1;
	}
	*ret_count = count;
	return 0;
}

int build_rules_file(struct db *db, struct build_file *file, struct err *err)
{
	int64_t version;
	json_auto_t *rules = NULL;
	if (class_rules_get(db, &rules, &version, err))
		return -1;
	return fill(file, "rules.json", rules, err);
}

void build_files_free(struct build_file *files, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		free(files[i].bytes);
}
